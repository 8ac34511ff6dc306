"""Designs of the listeners: the part of the sound that each designed classifier decides by.

A design is a rule over parts of the time-frequency plane. `otoscope.classifiers.ListenerClassifier` applies it, and
`otoscope.data.planted.scenes` makes sounds that satisfy it, so that both agree by construction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Rule = Literal["present", "all", "either", "and not", "sequence", "onset", "rhythm"]

OTHER = "other"
"""Label of a clip that holds the cue of no class; the last one of every listener."""


@dataclass(frozen=True)
class Part:
    """A rectangle of the time-frequency plane that a listener attends to.

    Attributes:
        low_hz: Lower edge.
        high_hz: Upper edge.
        start_s: Begin, counted from the begin of the clip.
        end_s: End.
    """

    low_hz: float
    high_hz: float
    start_s: float = 0.0
    end_s: float = math.inf


@dataclass(frozen=True)
class Design:
    """Rule of a designed listener.

    Attributes:
        rule: How the parts of a class are combined: ``present`` (sound in the part), ``all`` (in all parts at the
            same time), ``either`` (in any part), ``and not`` (in the first part, and none in the second),
            ``sequence`` (in the first part, and in the second one after a delay), ``onset`` (a sudden begin of
            sound in the part) or ``rhythm`` (pulses with a period).
        parts: Parts that each class depends on, by label.
        delay_s: Delay of a sequence, or period of a rhythm, by label.
        needed_s: Duration of sound that makes a class sure (to tanh(1) = 76 %).
    """

    rule: Rule
    parts: Mapping[str, tuple[Part, ...]]
    delay_s: Mapping[str, float] | None = None
    needed_s: float = 0.1

    @property
    def labels(self) -> list[str]:
        """Labels of the classes that have a cue, in the order of the logits."""
        return list(self.parts)


def _series(pitch_hz: float, first: int, last: int) -> tuple[Part, ...]:
    """Return narrow bands at the harmonics of a pitch."""
    return tuple(Part(k * pitch_hz - 40, k * pitch_hz + 40) for k in range(first, last + 1))


_LOW, _HIGH = Part(700, 1100), Part(2800, 3400)

LISTENER_DESIGNS: dict[str, Design] = {
    "band": Design("present", {"low band": (Part(500, 900),), "high band": (Part(3000, 3600),)}),
    "time_window": Design("present", {"early": (Part(200, 7000, 0.3, 0.6),), "late": (Part(200, 7000, 1.2, 1.5),)}),
    # 310 to 1240 Hz and 2080 to 3640 Hz: no harmonic of one series lies in the band of another.
    "harmonics": Design("all", {"series of 310 Hz": _series(310, 1, 4), "series of 520 Hz": _series(520, 4, 7)}),
    "onset": Design("onset", {"low onset": (Part(1000, 2000),), "high onset": (Part(4000, 5500),)}, needed_s=0.01),
    "and_not": Design(
        "and not",
        {
            "700 Hz without 1800 Hz": (Part(600, 1000), Part(1600, 2000)),
            "3 kHz without 5 kHz": (Part(3000, 3600), Part(5000, 5600)),
        },
    ),
    "either": Design(
        "either",
        {
            "500 Hz or 2400 Hz": (Part(400, 700), Part(2200, 2600)),
            "4 kHz or 6 kHz": (Part(3800, 4400), Part(6000, 6800)),
        },
    ),
    "sequence": Design(
        "sequence", {"rising": (_LOW, _HIGH), "falling": (_HIGH, _LOW)}, {"rising": 0.25, "falling": 0.25}
    ),
    "rhythm": Design(
        "rhythm",
        {"slow pulses": (Part(1200, 2000),), "fast pulses": (Part(3500, 4500),)},
        {"slow pulses": 0.4, "fast pulses": 0.2},
        needed_s=0.04,
    ),
}
"""Design of each listener by name."""
