"""Sounds that satisfy the design of a listener."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from otoscope.data.synthetic.building_blocks import Array, add_at, noise
from otoscope.designs import Design, Part

_RAMP_S = 0.02
_ONSET_DECAY_S = 0.012
_ONSET_REACH_S = 0.06
"""Time after an onset at which its sound has decayed by 43 dB."""


@dataclass(frozen=True, eq=False)
class CueSound:
    """A cue and the parts of the plane in which it counts.

    Attributes:
        wave: Sound of any level, shape (samples,).
        regions: Parts in which the sound makes the listener decide.
    """

    wave: Array
    regions: tuple[Part, ...]


def make_cue(rng: np.random.Generator, rules: Design, label: str, samples: int, sample_rate_hz: int) -> CueSound:
    """Return a sound for which a listener decides for a class.

    Args:
        rng: Random generator.
        rules: Design of the listener.
        label: Class.
        samples: Length of the clip.
        sample_rate_hz: Sample rate.
    """
    parts, clip_s = rules.parts[label], samples / sample_rate_hz
    wave = np.zeros(samples)
    delay_s = 0.0 if rules.delay_s is None else rules.delay_s[label]

    def add(part: Part, start_s: float, duration_s: float) -> None:
        sound = band_sound(rng, part, round(duration_s * sample_rate_hz), sample_rate_hz)
        add_at(wave, sound, round(start_s * sample_rate_hz))

    if rules.rule == "onset":
        (part,), start_s = parts, rng.uniform(0.1, clip_s - 0.2)
        add_at(wave, _struck(rng, part, sample_rate_hz), round(start_s * sample_rate_hz))
        return CueSound(wave, (replace(part, start_s=start_s - 0.015, end_s=start_s + _ONSET_REACH_S),))
    if rules.rule == "rhythm":
        return _pulses(rng, parts[0], delay_s, samples, sample_rate_hz)
    if rules.rule == "sequence":
        duration_s = rng.uniform(0.12, 0.18)
        start_s = rng.uniform(0.05, clip_s - delay_s - duration_s - 0.05)
        add(parts[0], start_s, duration_s)
        add(parts[1], start_s + delay_s, duration_s)
        return CueSound(wave, _around(parts, [start_s, start_s + delay_s], duration_s))
    windowed = parts[0].end_s < clip_s
    duration_s = parts[0].end_s - parts[0].start_s if windowed else rng.uniform(0.35, 0.7)
    start_s = parts[0].start_s if windowed else rng.uniform(0.05, clip_s - duration_s - 0.05)
    if rules.rule == "all":
        for part in parts:
            add_at(
                wave,
                _tone(rng, (part.low_hz + part.high_hz) / 2, duration_s, sample_rate_hz),
                round(start_s * sample_rate_hz),
            )
        return CueSound(wave, parts)
    sounding = parts[:1]
    if rules.rule == "either":
        # both parts in half of the cases: each alone would be enough
        sounding = parts[rng.integers(2) :][:1] if rng.random() < 0.5 else parts
    for part in sounding:
        add(part, start_s, duration_s)
    return CueSound(wave, tuple(sounding))


def band_sound(rng: np.random.Generator, part: Part, samples: int, sample_rate_hz: int) -> Array:
    """Return tones or noise inside a band, with a smooth begin and end and an RMS of about 1, shape (samples,)."""
    # away from the edges of the band, which the ramps and the window of the STFT blur
    low_hz, high_hz = part.low_hz + 60, part.high_hz - 60
    if rng.random() < 0.5:
        count = 3
        pitches = rng.uniform(low_hz, high_hz, count)
        time_s = np.arange(samples) / sample_rate_hz
        phases = rng.uniform(0, 2 * np.pi, count)
        tones = np.sin(2 * np.pi * pitches[:, None] * time_s + phases[:, None])
        return ramped(tones.sum(0) * np.sqrt(2 / count), sample_rate_hz)
    return ramped(band_noise(rng, low_hz, high_hz, samples, sample_rate_hz), sample_rate_hz)


def band_noise(rng: np.random.Generator, low_hz: float, high_hz: float, samples: int, sample_rate_hz: int) -> Array:
    """Return Gaussian noise without energy outside a band, RMS 1, shape (samples,)."""
    return noise(rng, samples, lambda hz: ((hz >= low_hz) & (hz <= high_hz)).astype(np.float64), sample_rate_hz)


def ramped(wave: Array, sample_rate_hz: int, ramp_s: float = _RAMP_S) -> Array:
    """Fade a sound in and out with half a period of a cosine, shape (samples,)."""
    length = min(round(ramp_s * sample_rate_hz), wave.size // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(length, 1))
    envelope = np.ones(wave.size)
    envelope[:length], envelope[wave.size - length :] = ramp, ramp[::-1]
    return wave * envelope


def _tone(rng: np.random.Generator, pitch_hz: float, duration_s: float, sample_rate_hz: int) -> Array:
    time_s = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
    return ramped(np.sin(2 * np.pi * pitch_hz * time_s + rng.uniform(0, 2 * np.pi)), sample_rate_hz)


def _struck(rng: np.random.Generator, part: Part, sample_rate_hz: int) -> Array:
    """Return tones in a band that begin at once and decay quickly."""
    time_s = np.arange(round(2 * _ONSET_REACH_S * sample_rate_hz)) / sample_rate_hz
    pitches = rng.uniform(part.low_hz + 100, part.high_hz - 100, 4)
    tones = np.sin(2 * np.pi * pitches[:, None] * time_s).sum(0)
    return np.asarray(tones * np.exp(-time_s / _ONSET_DECAY_S) * (1 - np.exp(-time_s / 0.001)))


def _pulses(rng: np.random.Generator, part: Part, period_s: float, samples: int, sample_rate_hz: int) -> CueSound:
    clip_s, count = samples / sample_rate_hz, 4
    duration_s = 0.05
    start_s = rng.uniform(0.05, clip_s - 0.05 - (count - 1) * period_s - duration_s)
    starts_s = [start_s + k * period_s for k in range(count)]
    wave = np.zeros(samples)
    for pulse_s in starts_s:
        sound = band_sound(rng, part, round(duration_s * sample_rate_hz), sample_rate_hz)
        add_at(wave, sound, round(pulse_s * sample_rate_hz))
    return CueSound(wave, (part,))


def _around(parts: tuple[Part, ...], starts_s: list[float], duration_s: float) -> tuple[Part, ...]:
    """Return the parts, each limited to the time of its sound and the blur of the STFT."""
    return tuple(
        replace(part, start_s=start_s - 0.015, end_s=start_s + duration_s + 0.015)
        for part, start_s in zip(parts, starts_s, strict=True)
    )
