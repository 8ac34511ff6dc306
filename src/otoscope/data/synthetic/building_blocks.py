"""Building blocks of synthetic sounds: curves, harmonics, damped modes, noise, echoes.

The blocks compute in float64 and return arrays of shape (samples,); `finish` converts the sum to the float32
sound that the other modules expect. No block puts energy above the Nyquist frequency.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Sound = NDArray[np.float32]
Response = Callable[[Array], Array]
EventFunction = Callable[[np.random.Generator, int, int], Sound]  # arguments: rng, samples, sample_rate_hz
Whole = int | np.integer[Any]

# Highest partial as a share of the sample rate; below 0.5, so that sidebands of vibrato and onsets do not alias.
HIGHEST_PARTIAL = 0.47


def finish(wave: Array) -> Sound:
    """Scale a sound to a peak of 1 and convert it to float32; silence stays silence."""
    peak = float(np.abs(wave).max(initial=0.0))
    return (wave / peak if peak > 0 else wave).astype(np.float32)


def draw_length(rng: np.random.Generator, low_s: float, high_s: float, samples: int, sample_rate_hz: int) -> int:
    """Draw a length in samples, at most nine tenths of the clip."""
    # A multiple of 128, so that FFTs of this length are fast.
    return 128 * max(1, int(min(rng.uniform(low_s, high_s) * sample_rate_hz, 0.9 * samples) / 128))


def draw_onsets(rng: np.random.Generator, samples: int, count: Whole, gap: float, length: int) -> list[int]:
    """Draw the start positions of up to `count` sounds of `length` samples, about `gap` samples apart.

    Sounds that do not fit into the clip are dropped, except the first. Gaps vary by up to 8 %, as in a rhythm
    that is not produced by a machine.
    """
    offsets = np.arange(count) * gap + gap * rng.uniform(-0.08, 0.08, count)
    offsets = (offsets - offsets[0]).astype(int)
    offsets = offsets[(offsets >= 0) & (offsets + length <= samples)]
    # Shift the whole group to a random position at which its last sound still fits.
    return [int(start) for start in offsets + rng.integers(0, samples - offsets[-1] - length + 1)]


def add_at(clip: Array, sound: Array, start: Whole) -> None:
    """Add a sound to the clip in place, from `start` on; cut it at the end of the clip."""
    part = sound[: max(0, clip.size - start)]
    clip[start : start + part.size] += part


def at_random_position(rng: np.random.Generator, sound: Array, samples: int) -> Array:
    """Return a clip that is silent except for one sound at a random position."""
    clip = np.zeros(samples)
    add_at(clip, sound, rng.integers(0, samples - sound.size + 1))
    return clip


def curve(samples: int, times: Sequence[float] | Array, values: ArrayLike) -> Array:
    """Return a smooth curve through points, flat at each of them, for pitch and loudness.

    Args:
        samples: Length of the curve.
        times: Positions of the points, increasing from 0 to 1.
        values: Values at the points.

    Returns:
        The curve. Shape (samples,).

    Example:
        >>> curve(5, [0, 0.5, 1], [0, 1, 0]).tolist()
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    heights = np.asarray(values, dtype=np.float64)
    # Curves are slow, so only every eighth sample is computed; linear interpolation gives the others.
    coarse = np.linspace(0, 1, samples if samples < 256 else samples // 8)
    position = np.interp(coarse, times, np.arange(heights.size))
    segment = np.minimum(position.astype(np.intp), heights.size - 2)
    share = position - segment
    # Smoothstep 3 x^2 - 2 x^3 between neighbours: its slope is zero at both ends.
    values_at = heights[segment] + np.diff(heights)[segment] * share * share * (3 - 2 * share)
    return values_at if values_at.size == samples else np.interp(np.linspace(0, 1, samples), coarse, values_at)


def random_curve(rng: np.random.Generator, samples: int, sample_rate_hz: int, speed_hz: float) -> Array:
    """Return a slow random curve in [-1, 1] with about `speed_hz` changes of direction per second."""
    points = max(3, int(samples / sample_rate_hz * speed_hz) + 2)
    return curve(samples, np.linspace(0, 1, points), rng.uniform(-1, 1, points))


def harmonics(pitch_hz: Array, amplitudes: Array | NDArray[np.complex128], sample_rate_hz: int) -> Array:
    """Return the sum of the harmonics of a gliding pitch, without those near or above the Nyquist frequency.

    Args:
        pitch_hz: Fundamental frequency at each sample. Shape (samples,).
        amplitudes: Amplitude of each harmonic from the first; complex to shift phases. Shape (harmonics,).
        sample_rate_hz: Sample rate.

    Returns:
        The sum of cosines. Shape (samples,).
    """
    cycles = np.cumsum(pitch_hz) / sample_rate_hz
    # Whole turns are removed first: float32 would lose digits of the phase to them.
    cycles -= np.floor(cycles)
    phase = (2 * np.pi * cycles).astype(np.float32)
    rotation = np.cos(phase) + 1j * np.sin(phase)
    total = np.zeros_like(rotation)
    audible = int(HIGHEST_PARTIAL * sample_rate_hz / pitch_hz.max())
    # Harmonic k is rotation**k, so the sum is a polynomial in the rotation. Horner's rule evaluates it with one
    # product per harmonic instead of one cosine.
    for amplitude in amplitudes[:audible][::-1]:
        total += amplitude
        total *= rotation
    return total.real.astype(np.float64)


def modes(
    samples: int, frequencies_hz: ArrayLike, decays_s: ArrayLike, amplitudes: ArrayLike, sample_rate_hz: int
) -> Array:
    """Return the sound of a struck body: a sum of exponentially damped sines, each starting at zero.

    Args:
        samples: Length of the sound.
        frequencies_hz: Frequency of each mode; modes near or above the Nyquist frequency are dropped.
            Shape (modes,).
        decays_s: Time in which each mode falls to 1/e. Shape (modes,) or scalar.
        amplitudes: Amplitude of each mode. Shape (modes,) or scalar.
        sample_rate_hz: Sample rate.

    Returns:
        The sum. Shape (samples,).
    """
    frequencies = np.asarray(frequencies_hz, dtype=np.float64)
    rate = (-1 / np.asarray(decays_s) + 2j * np.pi * frequencies) / sample_rate_hz
    weight = np.where(frequencies < HIGHEST_PARTIAL * sample_rate_hz, amplitudes, 0.0)
    # With r = -1/decay + 2 pi i f per sample, exp(r (64 i + j)) = exp(64 r i) exp(r j): two small tables of
    # exponentials and one matrix product over the modes give all samples, without an exponential for each.
    blocks = np.exp(np.multiply.outer(np.arange(-(-samples // 64)) * 64, rate)) * weight
    steps = np.exp(np.multiply.outer(rate, np.arange(64)))
    return np.asarray((blocks @ steps).imag.ravel()[:samples])


def band(low_hz: float, high_hz: float) -> Response:
    """Response of a Butterworth-like band-pass that falls by 24 dB per octave outside [low_hz, high_hz]."""

    def response(frequencies_hz: Array) -> Array:
        # Magnitude 1 / sqrt(1 + x^8) of fourth-order filters: `low` and `high` are x^4.
        low = np.square(np.square(low_hz / np.maximum(frequencies_hz, 1.0)))
        high = np.square(np.square(frequencies_hz / high_hz))
        return np.asarray(1 / np.sqrt((1 + low * low) * (1 + high * high)))

    return response


def tilt(slope_db: float, low_hz: float = 40.0) -> Response:
    """Response that changes by `slope_db` per octave above `low_hz` and is flat below."""
    # f^a changes by 20 a log10(2) dB per octave.
    return lambda frequencies_hz: np.maximum(frequencies_hz / low_hz, 1.0) ** (slope_db / (20 * np.log10(2)))


def formants(centres_hz: Sequence[float], sharpness: float) -> Response:
    """Response of a throat or a resonant box: resonances of equal height over a floor at -30 dB.

    Args:
        centres_hz: Frequencies of the resonances.
        sharpness: Quality factor: centre frequency divided by bandwidth.
    """

    def response(frequencies_hz: Array) -> Array:
        power = np.zeros_like(frequencies_hz)
        for centre_hz in centres_hz:
            ratio = np.maximum(frequencies_hz, 20.0) / centre_hz
            # A resonance of quality Q has the power 1 / (1 + Q^2 (f / f0 - f0 / f)^2).
            power += 1 / (1 + np.square(sharpness * (ratio - 1 / ratio)))
        return 0.03 + np.sqrt(power)

    return response


def filtered(wave: Array, response: Response, sample_rate_hz: int) -> Array:
    """Filter a sound with zero phase, that is, without shifting it in time. Shape (samples,) in and out."""
    # A product of spectra is a circular convolution; zero-padding keeps the end from leaking into the start.
    length = wave.size + 512
    bins: Array = np.fft.rfftfreq(length, 1 / sample_rate_hz).astype(np.float64)
    return np.asarray(np.fft.irfft(np.fft.rfft(wave, length) * response(bins), length)[: wave.size])


def noise(rng: np.random.Generator, samples: int, response: Response, sample_rate_hz: int) -> Array:
    """Return Gaussian noise with the spectrum of `response`, scaled to an RMS of 1. Shape (samples,)."""
    bins: Array = np.fft.rfftfreq(samples, 1 / sample_rate_hz).astype(np.float64)
    # Gaussian real and imaginary parts in every bin, shaped by the response.
    spectrum = rng.standard_normal(2 * bins.size).view(np.complex128) * response(bins)
    spectrum[0] = 0  # no constant offset
    wave = np.fft.irfft(spectrum, samples)
    return np.asarray(wave / np.sqrt(np.mean(wave**2)))


def echoes(rng: np.random.Generator, wave: Array, decay_s: float, wet: float, sample_rate_hz: int) -> Array:
    """Add the sparse reverberation of a room: twelve copies of random sign, delayed by up to 2.5 `decay_s`."""
    result = wave.copy()
    for delay_s in rng.uniform(0.012, 2.5 * decay_s, 12):
        delay, gain = int(delay_s * sample_rate_hz), wet * np.exp(-delay_s / decay_s)
        # `or None`, because a slice up to -0 would be empty.
        result[delay:] += gain * (1 if rng.random() < 0.5 else -1) * wave[: -delay or None]
    return result
