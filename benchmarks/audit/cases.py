"""Cases of the benchmark: which cue is planted into which class, drawn from a seed, and when it counts as found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from otoscope.audit import Suspect
from otoscope.data.planted import Cue

LEVELS_DB = {
    "tone": (-20.0, -12.0),
    "hum": (-12.0, -6.0),
    "hiss": (-14.0, -8.0),
    "clicks": (-8.0, -2.0),
    "beep": (-2.0, 4.0),  # quieter ones are too short to be learnt at all
    "infrasound": (-12.0, -6.0),
    "low_pass": (0.0, 0.0),
}
"""Two levels of each kind, over that of the clip; a low-pass edge has none, so that two edges are drawn."""
FREQUENCIES_HZ = {
    "tone": (700.0, 5500.0),
    "hiss": (2500.0, 6800.0),
    "clicks": (5.0, 10.0),
    "beep": (900.0, 4500.0),
    "infrasound": (11.0, 18.0),
    "low_pass": (2200.0, 5200.0),
}
"""Range that the frequency of each kind is drawn from; that of the mains is 50 or 60 Hz."""
KINDS = tuple(LEVELS_DB)
_NEAR = 1.06
MOST_DRAWS = 5


@dataclass(frozen=True)
class Case:
    """A classifier to audit.

    Attributes:
        name: Name, also of its folder.
        seed: Seed of its training and of its cues.
        label: Class that carries the cue; None for a clean classifier.
        cue: Cue; None for a clean classifier.
    """

    name: str
    seed: int
    label: str | None = None
    cue: Cue | None = None


def make_cases(seed: int, labels: Sequence[str], clean: int, kinds: Sequence[str] = KINDS) -> list[list[Case]]:
    """Return planted classifiers, two of each kind, and clean ones.

    A training may ignore its cue. So each planted classifier can be drawn several times, with another class,
    frequency and training, until one relies on its cue.

    Args:
        seed: Seed that all classes, frequencies and trainings are drawn from.
        labels: Classes of the data.
        clean: Number of clean classifiers.
        kinds: Kinds of cues.

    Returns:
        The draws of each classifier; one of a clean classifier.
    """
    cases = [
        [planted_case(seed, labels, kind, level, draw) for draw in range(MOST_DRAWS)]
        for kind in kinds
        for level in range(len(LEVELS_DB[kind]))
    ]
    # Clean ones among the others, so that a part of the cases has both.
    for number in range(clean):
        cases.insert(min(3 * number + 2, len(cases)), [Case(f"clean-{number}", seed + 10_000 + number)])
    return cases


def planted_case(seed: int, labels: Sequence[str], kind: str, level: int, draw: int) -> Case:
    """Return one draw of a planted classifier.

    Args:
        seed: Seed of all cases.
        labels: Classes of the data.
        kind: Kind of the cue.
        level: Index of its level.
        draw: Number of the draw.
    """
    # a generator of its own for each case and draw, whatever the others
    rng = np.random.default_rng([seed, KINDS.index(kind), level, *([draw] if draw else [])])
    label = labels[int(rng.integers(len(labels)))]
    if kind == "hum":
        frequency_hz = float(rng.choice([50.0, 60.0]))
    else:
        low_hz, high_hz = FREQUENCIES_HZ[kind]
        frequency_hz = round(float(low_hz * (high_hz / low_hz) ** rng.uniform()), 1)
    name = f"{kind}-{'low' if level == 0 else 'high'}" + (f"-{draw + 1}" if draw else "")
    cue = Cue(kind, LEVELS_DB[kind][level], frequency_hz)  # type: ignore[arg-type]
    return Case(name, seed + 100 * KINDS.index(kind) + level + 1000 * draw, label, cue)


def is_right(suspect: Suspect, case: Case) -> bool:
    """Return whether a suspect names the class of a case, and the band or the time of its cue."""
    if case.cue is None or suspect.label != case.label:
        return False
    kind, place, frequency_hz = case.cue.kind, suspect.place, case.cue.frequency_hz or 0.0
    low_hz, high_hz = place.low_hz or 0.0, place.high_hz or np.inf
    if kind == "clicks":
        return suspect.kind == "clicks"
    if kind == "low_pass":
        return suspect.kind == "edge" and abs(low_hz / frequency_hz - 1) < 0.15
    if kind == "hum" and suspect.kind == "hum":
        return low_hz <= frequency_hz <= high_hz and abs(low_hz / frequency_hz - 1) < 0.1
    narrow = high_hz <= 2 * max(low_hz, 20.0)
    if kind == "hum":
        return suspect.kind == "band" and narrow and low_hz < 9 * frequency_hz and high_hz > 0.9 * frequency_hz
    in_band = suspect.kind == "band" and narrow and low_hz / _NEAR <= frequency_hz <= high_hz * _NEAR
    if kind == "beep":
        in_time = place.start_s == 0 and (place.end_s or np.inf) <= 0.6
        return in_band or (suspect.kind == "segment" and in_time)
    return in_band
