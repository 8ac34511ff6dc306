"""Loud sounds that a listener must not care about, because they lie where its design does not look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from otoscope.data.planted.cue_sounds import band_noise, ramped
from otoscope.data.synthetic.building_blocks import Array, add_at
from otoscope.designs import Design, Part

_GUARD_HZ = 250.0
"""Distance from the parts of a design: the window of the STFT blurs a loud sound by less."""
_NARROW_GUARD_HZ = 100.0
"""The same for designs whose parts lie close together, where distractors are steady tones."""
_GUARD_S = 0.08
_LOWEST_HZ, _HIGHEST_HZ = 150.0, 7500.0
_COUNT = 3
_WIDEST_HZ = 400.0


def make_distractors(
    rng: np.random.Generator, rules: Design, busy: Sequence[Part], samples: int, sample_rate_hz: int
) -> Array:
    """Return distractors for a design, of any level, shape (samples,).

    Args:
        rng: Random generator.
        rules: Design of the listener.
        busy: Regions of the cues in the scene.
        samples: Length of the clip.
        sample_rate_hz: Sample rate.
    """
    parts = [part for of_label in rules.parts.values() for part in of_label]
    clip_s, wave = samples / sample_rate_hz, np.zeros(samples)
    if any(part.end_s < clip_s for part in parts):
        gaps_s = _gaps([(part.start_s, part.end_s) for part in parts], 0.0, clip_s, _GUARD_S, 0.15)
        # the longest two gaps, so that the distractors surround the windows
        for start_s, end_s in sorted(gaps_s, key=lambda gap: gap[0] - gap[1])[:2]:
            _add(rng, wave, (_LOWEST_HZ, _HIGHEST_HZ), start_s, end_s, sample_rate_hz, tone=not wave.any())
        return wave
    guard_hz = _NARROW_GUARD_HZ if rules.rule == "all" else _GUARD_HZ
    bands_hz = _gaps([(part.low_hz, part.high_hz) for part in parts], _LOWEST_HZ, _HIGHEST_HZ, guard_hz, 40.0)
    for count, place in enumerate(rng.permutation(len(bands_hz))[:_COUNT]):
        duration_s = rng.uniform(0.3, 0.9) * clip_s
        start_s = rng.uniform(0, clip_s - duration_s)
        # the first is a tone, which is louder than any cue in its bins
        _add(rng, wave, bands_hz[place], start_s, start_s + duration_s, sample_rate_hz, tone=count == 0)
    if rules.rule == "onset":
        _add_swells(rng, wave, parts, busy, sample_rate_hz)
    return wave


def _add(
    rng: np.random.Generator,
    wave: Array,
    band_hz: tuple[float, float],
    start_s: float,
    end_s: float,
    sample_rate_hz: int,
    tone: bool,
) -> None:
    """Add a loud sound: a tone, or one of a random kind."""
    samples = round((end_s - start_s) * sample_rate_hz)
    # a narrow part of the band: energy that is spread over a wide one is not loud in any bin
    width_hz = min(band_hz[1] - band_hz[0], _WIDEST_HZ)
    low_hz = rng.uniform(band_hz[0], band_hz[1] - width_hz)
    high_hz = low_hz + width_hz
    kind = rng.integers(3) if width_hz >= 200 and not tone else 0
    time_s = np.arange(samples) / sample_rate_hz
    if kind == 0:
        sound = np.sqrt(2) * np.sin(2 * np.pi * rng.uniform(low_hz, high_hz) * time_s)
    elif kind == 1:
        sound = band_noise(rng, low_hz, high_hz, samples, sample_rate_hz)
    else:
        # a glide through the band and back, phase = 2 pi times the integral of the frequency
        middle_hz, reach_hz = (low_hz + high_hz) / 2, (high_hz - low_hz) / 2
        glide_hz = middle_hz + reach_hz * np.sin(2 * np.pi * rng.uniform(0.5, 2) * time_s)
        sound = np.sqrt(2) * np.sin(2 * np.pi * np.cumsum(glide_hz) / sample_rate_hz)
    add_at(wave, ramped(sound, sample_rate_hz), round(start_s * sample_rate_hz))


def _add_swells(
    rng: np.random.Generator, wave: Array, parts: Sequence[Part], busy: Sequence[Part], sample_rate_hz: int
) -> None:
    """Add sound inside the parts that begins slowly, away from the onsets: only a sudden begin counts."""
    clip_s = wave.size / sample_rate_hz
    gaps_s = _gaps([(part.start_s, part.end_s) for part in busy], 0.0, clip_s, 0.1, 0.6)
    for part in parts:
        if not gaps_s:
            return
        start_s, end_s = gaps_s[rng.integers(len(gaps_s))]
        samples = round((end_s - start_s) * sample_rate_hz)
        # level in dB rises and falls evenly, 60 dB in half of the time, so that no frame is a sudden begin
        envelope = 10 ** (-3 * np.abs(np.linspace(-1, 1, samples)))
        pitch_hz = rng.uniform(part.low_hz + 200, part.high_hz - 200)
        tone = np.sin(2 * np.pi * pitch_hz * np.arange(samples) / sample_rate_hz)
        add_at(wave, 0.5 * envelope * tone, round(start_s * sample_rate_hz))


def _gaps(
    taken: Sequence[tuple[float, float]], low: float, high: float, guard: float, least: float
) -> list[tuple[float, float]]:
    """Return the intervals between ``low`` and ``high`` that keep a distance from all that are taken.

    Example:
        >>> _gaps([(3.0, 4.0), (6.0, 7.0)], 0.0, 10.0, guard=0.5, least=1.0)
        [(0.0, 2.5), (4.5, 5.5), (7.5, 10.0)]
    """
    gaps, edge = [], low
    for start, end in sorted(taken):
        if start - guard - edge >= least:
            gaps.append((edge, start - guard))
        edge = max(edge, end + guard)
    return [*gaps, (edge, high)] if high - edge >= least else gaps
