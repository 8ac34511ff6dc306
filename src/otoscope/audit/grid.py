"""The cues that every audit tries, whatever the data."""

from __future__ import annotations

from otoscope.audit.cues import INFRASOUND_HZ, LOWEST_HZ, BandCue, CandidateCue, ClickCue, HumCue, SegmentCue

SEGMENTS_S = (0.1, 0.25, 0.5)
MAINS_HZ = (50.0, 60.0)
_BAND_OCTAVES, _WIDE_OCTAVES, _STEP_OCTAVES = 0.4, 0.7, 0.25
_WIDE_FROM_HZ = 1000.0
"""Frequency from which wide bands are tried beside narrow ones."""


def grid(sample_rate_hz: int, clip_s: float) -> list[CandidateCue]:
    """Return the cues that every audit tries: bands on a logarithmic grid, hum, infrasound, begin and end, clicks.

    Args:
        sample_rate_hz: Sample rate.
        clip_s: Length of the shortest clip.

    Example:
        >>> cues = grid(16_000, 5.0)
        >>> len(cues), cues[0].name, cues[-1].name
        (55, 'the band 0-20 Hz', 'clicks')
    """
    bands = [BandCue(0.0, INFRASOUND_HZ), *_bands(LOWEST_HZ, _BAND_OCTAVES, sample_rate_hz)]
    # A hiss that is wider than a band raises the level beside it as well, so that it does not stand out there.
    bands += _bands(_WIDE_FROM_HZ, _WIDE_OCTAVES, sample_rate_hz)
    lengths_s = [length_s for length_s in SEGMENTS_S if length_s < clip_s / 3]
    starts = [SegmentCue(0.0, length_s) for length_s in lengths_s]
    ends = [SegmentCue(-length_s, 0.0) for length_s in lengths_s]
    return [*bands, *(HumCue(hz) for hz in MAINS_HZ), *starts, *ends, ClickCue()]


def _bands(low_hz: float, octaves: float, sample_rate_hz: int) -> list[BandCue]:
    """Return bands of one width from a frequency up to half the sample rate, where the last ones are cut."""
    bands = []
    while low_hz * 2 ** (octaves / 2) < sample_rate_hz / 2:
        high_hz = min(low_hz * 2**octaves, sample_rate_hz / 2)
        bands.append(BandCue(_rounded(low_hz), _rounded(high_hz)))
        low_hz *= 2**_STEP_OCTAVES
    return bands


def _rounded(hz: float) -> float:
    return float(f"{hz:.3g}")  # three digits
