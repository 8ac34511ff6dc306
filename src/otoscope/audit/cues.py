"""Candidate cues: what a classifier may decide by instead of the sound that its classes are named after.

Each can be removed, transplanted into another clip, and has controls of equal size elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio.level import active_level, sounding_level
from otoscope.audit import interventions
from otoscope.audit.result import Place

LOWEST_HZ = 22.0
INFRASOUND_HZ = 20.0
_WIDEST_OCTAVES = 0.75
"""Width beyond which a band is rather the sound of a class than a cue beside it."""
_LONGEST_S = 0.6
_HARMONICS = 10
_TOOTH_HZ = 5.0
_MAINS_TOLERANCE = 0.03
_CONTROL_OCTAVES = 1.0
_SHORT_WINDOW_S = 0.064
_STEADY = 0.7
"""Ratio of the root mean square of a sound to that of its loudest moments from which it is steady: -3 dB."""


@dataclass(frozen=True)
class CandidateCue(ABC):
    """Base class of all cues: what they need is `removed`; the rest follows from what it removes."""

    kind: ClassVar[str]
    is_sound: ClassVar[bool] = True
    """Whether the cue is a sound, and not the absence of one."""
    loudest_db: ClassVar[float] = 3.0
    """Level over that of the rest of the clip above which a cue may be the sound of the class itself."""
    is_brief: ClassVar[bool] = False
    """Whether the cue sounds only now and then, so that its removal must not change the sound between."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in plain words, such as ``the band 95-105 Hz``."""

    @property
    def removal_text(self) -> str:
        """What its removal is called, such as ``removing the band 95-105 Hz``."""
        return f"removing {self.name}"

    @property
    def transplant_text(self) -> str:
        """What its transplant is called."""
        return "adding it to other clips"

    @property
    def key(self) -> str:
        """Text that identifies the cue and its options."""
        return repr(self)

    @property
    def place(self) -> Place:
        """Where the cue lies."""
        return Place()

    @property
    def is_narrow(self) -> bool:
        """Whether the cue is a small part of a clip; a large one may be the sound of the class itself."""
        return True

    @property
    def family(self) -> str:
        """Cues of one family are alternatives to each other; neighbours are merged."""
        return self.kind

    @abstractmethod
    def removed(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        """Return a sound without the cue.

        Args:
            waveform: Sound, shape (samples,).
            sample_rate_hz: Sample rate.
        """

    def transplanted(self, receiver: Tensor, source: Tensor, sample_rate_hz: int) -> Tensor:
        """Return a sound with the cue of another one, as loud beside it as in the source.

        Args:
            receiver: Sound without the cue, shape (samples,).
            source: Sound with the cue, shape (samples',).
            sample_rate_hz: Sample rate.
        """
        content = self.content(source, sample_rate_hz)
        return self._added(receiver, content, source - content, sample_rate_hz)

    def content(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        """Return what the removal takes out of a sound, shape (samples,)."""
        return waveform - self.removed(waveform, sample_rate_hz)

    def removed_elsewhere(self, waveform: Tensor, sample_rate_hz: int) -> Tensor | None:
        """Return the sound after a removal of equal size elsewhere; None if there is no such control."""
        return None

    def transplanted_elsewhere(self, receiver: Tensor, source: Tensor, sample_rate_hz: int) -> Tensor | None:
        """Return a sound with the content of the cue moved to where it is no cue, with equal energy.

        None if there is no such control.
        """
        content = self.content(source, sample_rate_hz)
        return self._added(receiver, self.moved(content, sample_rate_hz), source - content, sample_rate_hz)

    def moved(self, content: Tensor, sample_rate_hz: int) -> Tensor:
        """Return content of the cue with other frequencies, and equal energy and envelope."""
        return interventions.shifted(content, sample_rate_hz, 0.13 * sample_rate_hz)

    def bands_hz(self, sample_rate_hz: int) -> list[tuple[float, float]]:
        """Return the bands outside which the removal changes nothing; none without a limit."""
        return []

    def _added(self, receiver: Tensor, content: Tensor, rest: Tensor, sample_rate_hz: int) -> Tensor:
        # As loud beside the receiver as beside the rest of the source. What sounds all the time is compared with
        # all that sounds, as a signal-to-noise ratio is; an event with the loudest moments, which are its own.
        measure = sounding_level if _is_steady(content, sample_rate_hz) else active_level
        levels = [measure(sound, sample_rate_hz) for sound in (receiver, rest)]
        if min(levels) <= 1e-6 * max(*levels, 1e-12):
            levels = [1.0, 1.0]
        content = levels[0] / levels[1] * content
        return receiver + self._aligned(content, receiver.numel())

    def _aligned(self, content: Tensor, samples: int) -> Tensor:
        return interventions.repeated(content, samples)


@dataclass(frozen=True)
class BandCue(CandidateCue):
    """What stands out in a band, in the whole clip or in a part of it.

    Args:
        low_hz: Lower border.
        high_hz: Upper border.
        start_s: Begin of the part; counted from the end of the clip if it is negative.
        end_s: End of the part, counted alike.
    """

    kind: ClassVar[str] = "band"
    low_hz: float
    high_hz: float
    start_s: float | None = None
    end_s: float | None = None

    @property
    def name(self) -> str:
        """Name in plain words."""
        name = f"the band {_hz_text(self.low_hz, self.high_hz)}"
        return name if self.start_s is None or self.end_s is None else f"{name} {_time_text(self.place)}"

    @property
    def place(self) -> Place:
        """Band, and part of the clip."""
        return Place(self.low_hz, self.high_hz, self.start_s, self.end_s)

    @property
    def octaves(self) -> float:
        """Width."""
        return float(torch.tensor(self.high_hz / max(self.low_hz, self.high_hz / 8)).log2())

    @property
    def is_narrow(self) -> bool:
        """Whether the width is less than three quarters of an octave, or all of it below `INFRASOUND_HZ`."""
        return self.octaves <= _WIDEST_OCTAVES or self.high_hz <= 2 * INFRASOUND_HZ

    @override
    def removed(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        bands = [(self.low_hz, self.high_hz)]
        if self.start_s is None or self.end_s is None:
            return interventions.lower_bands(waveform, sample_rate_hz, bands)
        less = interventions.lower_bands(waveform, sample_rate_hz, bands, _SHORT_WINDOW_S)
        span_s = span_in(self.place, waveform.numel() / sample_rate_hz)
        return waveform - interventions.within(waveform - less, sample_rate_hz, *span_s)

    @override
    def removed_elsewhere(self, waveform: Tensor, sample_rate_hz: int) -> Tensor | None:
        return self.elsewhere(sample_rate_hz).removed(waveform, sample_rate_hz)

    def elsewhere(self, sample_rate_hz: int) -> BandCue:
        """Return a band of equal width in octaves, an octave away from this one."""
        factor = 2 ** (max(self.octaves, 0.1) + _CONTROL_OCTAVES)
        if self.high_hz * factor >= 0.45 * sample_rate_hz:
            factor = 1 / factor
        return BandCue(max(self.low_hz, LOWEST_HZ / 2) * factor, self.high_hz * factor, self.start_s, self.end_s)

    @override
    def moved(self, content: Tensor, sample_rate_hz: int) -> Tensor:
        other = self.elsewhere(sample_rate_hz)
        middles = [(band.low_hz + band.high_hz) / 2 for band in (other, self)]
        return interventions.shifted(content, sample_rate_hz, middles[0] - middles[1])

    @override
    def bands_hz(self, sample_rate_hz: int) -> list[tuple[float, float]]:
        return [(self.low_hz, self.high_hz)]

    @override
    def _aligned(self, content: Tensor, samples: int) -> Tensor:
        if self.start_s is None:
            return interventions.repeated(content, samples)
        return interventions.fitted(content, samples, at_end=self.start_s < 0)


@dataclass(frozen=True)
class HumCue(CandidateCue):
    """Hum of the mains: its frequency and harmonics, found in each clip within 3 %.

    Args:
        mains_hz: Frequency of the mains.
    """

    kind: ClassVar[str] = "hum"
    mains_hz: float = 50.0

    @property
    def name(self) -> str:
        """Name in plain words."""
        return f"a hum of {self.mains_hz:.0f} Hz with its harmonics"

    @property
    def place(self) -> Place:
        """From below the fundamental to beyond the highest harmonic."""
        return Place(self.mains_hz * (1 - _MAINS_TOLERANCE), self.mains_hz * (_HARMONICS + 0.5))

    @override
    def removed(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        return self._comb(waveform, sample_rate_hz, self._fundamental_hz(waveform, sample_rate_hz))

    @override
    def removed_elsewhere(self, waveform: Tensor, sample_rate_hz: int) -> Tensor | None:
        # a comb of equally many teeth whose fundamental is no harmonic or neighbour of the mains
        return self._comb(waveform, sample_rate_hz, 1.37 * self.mains_hz)

    @override
    def moved(self, content: Tensor, sample_rate_hz: int) -> Tensor:
        return interventions.shifted(content, sample_rate_hz, 0.1 * sample_rate_hz)

    @override
    def bands_hz(self, sample_rate_hz: int) -> list[tuple[float, float]]:
        return [(0.9 * self.mains_hz, (_HARMONICS + 0.5) * self.mains_hz)]

    def _comb(self, waveform: Tensor, sample_rate_hz: int, fundamental_hz: float) -> Tensor:
        teeth = [
            (order * fundamental_hz - _TOOTH_HZ, order * fundamental_hz + _TOOTH_HZ)
            for order in range(1, _HARMONICS + 1)
            if order * fundamental_hz + _TOOTH_HZ < sample_rate_hz / 2
        ]
        return interventions.lower_bands(waveform, sample_rate_hz, teeth, window_s=0.512)

    def _fundamental_hz(self, waveform: Tensor, sample_rate_hz: int) -> float:
        """Return the frequency near that of the mains whose harmonics are loudest in the whole clip."""
        points = max(waveform.numel(), 4 * sample_rate_hz)
        window = torch.hann_window(waveform.numel(), device=waveform.device)
        power = torch.fft.rfft(waveform * window, points).abs().square()
        bin_hz = sample_rate_hz / points
        tried_hz = torch.arange(-_MAINS_TOLERANCE, _MAINS_TOLERANCE, 0.1 / self.mains_hz)
        tried_hz = self.mains_hz * (1 + tried_hz)
        orders = torch.arange(1, _HARMONICS + 1)
        bins = (tried_hz[:, None] * orders / bin_hz).round().long().clamp(max=len(power) - 1)
        # the sum of logarithms, so that one loud harmonic of another sound does not decide
        scores = (power[bins] + 1e-12 * power.max().clamp(min=1e-20)).log().sum(1)
        return float(tried_hz[int(scores.argmax())])


@dataclass(frozen=True)
class SegmentCue(CandidateCue):
    """What stands out in a part of the clip, such as its begin.

    Args:
        start_s: Begin; counted from the end of the clip if it is negative.
        end_s: End, counted alike.
    """

    kind: ClassVar[str] = "segment"
    start_s: float
    end_s: float

    @property
    def name(self) -> str:
        """Name in plain words."""
        return f"what is heard {_time_text(self.place)}"

    @property
    def place(self) -> Place:
        """Part of the clip."""
        return Place(start_s=self.start_s, end_s=self.end_s)

    @property
    def is_narrow(self) -> bool:
        """Whether the part is shorter than 0.6 s."""
        return self.end_s - self.start_s <= _LONGEST_S

    @override
    def removed(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        span_s = span_in(self.place, waveform.numel() / sample_rate_hz)
        return interventions.lower_segment(waveform, sample_rate_hz, *span_s)

    @override
    def removed_elsewhere(self, waveform: Tensor, sample_rate_hz: int) -> Tensor | None:
        length_s = waveform.numel() / sample_rate_hz
        start_s, end_s = span_in(self.place, length_s)
        middle_s, half_s = length_s / 2, (end_s - start_s) / 2
        if abs((start_s + end_s) / 2 - middle_s) < 2 * half_s:  # the middle itself is the part
            middle_s = length_s / 4
        return interventions.lower_segment(
            waveform, sample_rate_hz, max(0, middle_s - half_s), min(length_s, middle_s + half_s)
        )

    @override
    def _aligned(self, content: Tensor, samples: int) -> Tensor:
        return interventions.fitted(content, samples, at_end=self.start_s < 0)


@dataclass(frozen=True)
class ClickCue(CandidateCue):
    """Clicks, single ones or trains of them."""

    kind: ClassVar[str] = "clicks"
    # Clocks tick and fires crackle: clicks are a cue beside the sound only where they are much quieter than it.
    loudest_db: ClassVar[float] = -9.0
    is_brief: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Name in plain words."""
        return "clicks"

    @override
    def removed(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        return interventions.lower_clicks(waveform, sample_rate_hz)

    @override
    def moved(self, content: Tensor, sample_rate_hz: int) -> Tensor:
        return interventions.scrambled(content)


def span_in(place: Place, length_s: float) -> tuple[float, float]:
    """Return begin and end of a part in a clip of a length.

    Example:
        >>> span_in(Place(start_s=-0.25, end_s=0.0), 5.0), span_in(Place(start_s=0.0, end_s=9.0), 5.0)
        ((4.75, 5.0), (0.0, 5.0))
    """
    start_s, end_s = place.start_s or 0.0, place.end_s if place.end_s is not None else length_s
    if start_s < 0:
        start_s, end_s = start_s + length_s, end_s + length_s
    return min(max(start_s, 0.0), length_s), min(max(end_s, 0.0), length_s)


def _is_steady(content: Tensor, sample_rate_hz: int) -> bool:
    """Return whether a sound is hardly louder in its loudest moments than on average."""
    return float(content.square().mean().sqrt()) > _STEADY * active_level(content, sample_rate_hz)


def _hz_text(low_hz: float, high_hz: float) -> str:
    """Return a band in words.

    Example:
        >>> _hz_text(95.2, 105), _hz_text(2800, 3520), _hz_text(0, 20)
        ('95.2-105 Hz', '2.8-3.52 kHz', '0-20 Hz')
    """
    if low_hz >= 1000:
        return f"{low_hz / 1000:.3g}-{high_hz / 1000:.3g} kHz"
    return f"{low_hz:.3g}-{high_hz:.4g} Hz"


def _time_text(place: Place) -> str:
    start_s, end_s = place.start_s or 0.0, place.end_s or 0.0
    if start_s < 0:
        return f"in the last {-start_s:.3g} s" if end_s == 0 else f"{-start_s:.3g} to {-end_s:.3g} s before the end"
    return f"in the first {end_s:.3g} s" if start_s == 0 else f"from {start_s:.3g} to {end_s:.3g} s"
