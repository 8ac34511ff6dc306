"""Building blocks of synthetic sounds (curves, harmonics, damped modes, noise), and the backgrounds.

Blocks work in float64 and return arrays of shape (samples,); `finish` turns the sum into the float32
sound that the rest of the house expects. Nothing here puts energy above the Nyquist frequency.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Sound = NDArray[np.float32]
Response = Callable[[Array], Array]
EventFunction = Callable[[np.random.Generator, int, int], Sound]  # of (rng, samples, sample_rate_hz)
Whole = int | np.integer[Any]

# The highest partial, as a share of the sample rate: leaves room for the sidebands of vibrato and of onsets.
HIGHEST_PARTIAL = 0.47


def finish(wave: Array) -> Sound:
    """Scale a sound to a peak of one and make it float32; silence stays silence."""
    peak = float(np.abs(wave).max(initial=0.0))
    return (wave / peak if peak > 0 else wave).astype(np.float32)


def span(rng: np.random.Generator, low_s: float, high_s: float, samples: int, sample_rate_hz: int) -> int:
    """Draw a length in samples, at most nine tenths of the clip; a multiple of 128, so that FFTs are fast."""
    return 128 * max(1, int(min(rng.uniform(low_s, high_s) * sample_rate_hz, 0.9 * samples) / 128))


def onsets(rng: np.random.Generator, samples: int, count: Whole, gap: float, length: int) -> list[int]:
    """Draw where `count` sounds of `length` samples start, about `gap` samples apart, inside the clip.

    What does not fit is left out, but never the first. The rhythm is human: gaps err by up to 8 %.
    """
    offsets = np.arange(count) * gap + gap * rng.uniform(-0.08, 0.08, count)
    offsets = (offsets - offsets[0]).astype(int)
    offsets = offsets[(offsets >= 0) & (offsets + length <= samples)]
    return [int(start) for start in offsets + rng.integers(0, samples - offsets[-1] - length + 1)]


def place(clip: Array, sound: Array, start: Whole) -> None:
    """Add a sound into the clip, in place; what hangs over the end is cut."""
    part = sound[: max(0, clip.size - start)]
    clip[start : start + part.size] += part


def somewhere(rng: np.random.Generator, sound: Array, samples: int) -> Array:
    """Make a clip that is silent but for one sound at a random position."""
    clip = np.zeros(samples)
    place(clip, sound, rng.integers(0, samples - sound.size + 1))
    return clip


def curve(samples: int, times: Sequence[float] | Array, values: ArrayLike) -> Array:
    """Draw a smooth curve through points, flat at each of them, for pitch and loudness.

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
    # Curves are slow, so every eighth sample is worked out and the rest lies on straight lines between.
    coarse = np.linspace(0, 1, samples if samples < 256 else samples // 8)
    position = np.interp(coarse, times, np.arange(heights.size))
    left = np.minimum(position.astype(np.intp), heights.size - 2)
    share = position - left
    bends = heights[left] + np.diff(heights)[left] * share * share * (3 - 2 * share)
    return bends if bends.size == samples else np.interp(np.linspace(0, 1, samples), coarse, bends)


def wander(rng: np.random.Generator, samples: int, sample_rate_hz: int, speed_hz: float) -> Array:
    """Draw a random slow curve in [-1, 1] with about `speed_hz` changes of direction a second."""
    points = max(3, int(samples / sample_rate_hz * speed_hz) + 2)
    return curve(samples, np.linspace(0, 1, points), rng.uniform(-1, 1, points))


def harmonics(pitch_hz: Array, amplitudes: Array | NDArray[np.complex128], sample_rate_hz: int) -> Array:
    """Sum the harmonics of a gliding pitch, leaving out those that would pass the Nyquist frequency.

    Args:
        pitch_hz: Fundamental frequency at each sample. Shape (samples,).
        amplitudes: Amplitude of each harmonic from the first; complex to shift phases. Shape (harmonics,).
        sample_rate_hz: Sample rate.

    Returns:
        The sum of cosines. Shape (samples,).
    """
    cycles = np.cumsum(pitch_hz) / sample_rate_hz
    cycles -= np.floor(cycles)  # float32 has no digits to spare for whole turns
    phase = (2 * np.pi * cycles).astype(np.float32)
    turn = np.cos(phase) + 1j * np.sin(phase)
    total = np.zeros_like(turn)
    audible = int(HIGHEST_PARTIAL * sample_rate_hz / pitch_hz.max())
    # Horner's rule on powers of one rotation: a harmonic costs a product and not a cosine.
    for amplitude in amplitudes[:audible][::-1]:
        total += amplitude
        total *= turn
    return total.real.astype(np.float64)


def modes(
    samples: int, frequencies_hz: ArrayLike, decays_s: ArrayLike, amplitudes: ArrayLike, sample_rate_hz: int
) -> Array:
    """Ring a struck body: a sum of exponentially damped sines, each starting from zero.

    Args:
        samples: Length of the sound.
        frequencies_hz: Frequency of each mode; none near the Nyquist frequency is kept. Shape (modes,).
        decays_s: Time in which each mode falls to 1/e. Shape (modes,) or scalar.
        amplitudes: Amplitude of each mode. Shape (modes,) or scalar.
        sample_rate_hz: Sample rate.

    Returns:
        The sum. Shape (samples,).
    """
    frequencies = np.asarray(frequencies_hz, dtype=np.float64)
    rate = (-1 / np.asarray(decays_s) + 2j * np.pi * frequencies) / sample_rate_hz
    weight = np.where(frequencies < HIGHEST_PARTIAL * sample_rate_hz, amplitudes, 0.0)
    # exp(r (64 i + j)) = exp(64 r i) exp(r j): two small tables of exponentials and one matrix product.
    blocks = np.exp(np.multiply.outer(np.arange(-(-samples // 64)) * 64, rate)) * weight
    steps = np.exp(np.multiply.outer(rate, np.arange(64)))
    return np.asarray((blocks @ steps).imag.ravel()[:samples])


def band(low_hz: float, high_hz: float) -> Response:
    """Response of a gentle band-pass, 24 dB per octave outside [low_hz, high_hz]."""

    def response(frequencies_hz: Array) -> Array:
        low = np.square(np.square(low_hz / np.maximum(frequencies_hz, 1.0)))
        high = np.square(np.square(frequencies_hz / high_hz))
        return np.asarray(1 / np.sqrt((1 + low * low) * (1 + high * high)))

    return response


def tilt(slope_db: float, low_hz: float = 40.0) -> Response:
    """Response that changes by `slope_db` per octave above `low_hz` and is flat below."""
    return lambda frequencies_hz: np.maximum(frequencies_hz / low_hz, 1.0) ** (slope_db / (20 * np.log10(2)))


def formants(centres_hz: Sequence[float], sharpness: float) -> Response:
    """Response of a throat or a box: resonances of equal height over a floor at -30 dB.

    Args:
        centres_hz: Frequencies of the resonances.
        sharpness: Quality factor: centre frequency divided by bandwidth.
    """

    def response(frequencies_hz: Array) -> Array:
        power = np.zeros_like(frequencies_hz)
        for centre_hz in centres_hz:
            ratio = np.maximum(frequencies_hz, 20.0) / centre_hz
            power += 1 / (1 + np.square(sharpness * (ratio - 1 / ratio)))
        return 0.03 + np.sqrt(power)

    return response


def filtered(wave: Array, response: Response, sample_rate_hz: int) -> Array:
    """Shape the spectrum of a sound without moving it in time (zero phase). Shape (samples,) in and out."""
    length = wave.size + 512  # what rings out at the end must not come in again at the start
    bins: Array = np.fft.rfftfreq(length, 1 / sample_rate_hz).astype(np.float64)
    return np.asarray(np.fft.irfft(np.fft.rfft(wave, length) * response(bins), length)[: wave.size])


def noise(rng: np.random.Generator, samples: int, response: Response, sample_rate_hz: int) -> Array:
    """Gaussian noise whose spectrum follows `response`, scaled to an RMS of one. Shape (samples,)."""
    bins: Array = np.fft.rfftfreq(samples, 1 / sample_rate_hz).astype(np.float64)
    spectrum = rng.standard_normal(2 * bins.size).view(np.complex128) * response(bins)
    spectrum[0] = 0
    wave = np.fft.irfft(spectrum, samples)
    return np.asarray(wave / np.sqrt(np.mean(wave**2)))


def echoes(rng: np.random.Generator, wave: Array, decay_s: float, wet: float, sample_rate_hz: int) -> Array:
    """Add the sparse reverberation of a room: a dozen copies, up to 2.5 `decay_s` late, of random sign."""
    result = wave.copy()
    for delay_s in rng.uniform(0.012, 2.5 * decay_s, 12):
        delay, gain = int(delay_s * sample_rate_hz), wet * np.exp(-delay_s / decay_s)
        result[delay:] += gain * (1 if rng.random() < 0.5 else -1) * wave[: -delay or None]
    return result


def coloured_noise(slope_db: float) -> EventFunction:
    """Make the background of noise that changes by about `slope_db` (drawn within 1 dB) per octave."""

    def background(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
        wave = noise(rng, samples, tilt(slope_db + rng.uniform(-1, 1)), sample_rate_hz)
        return finish(wave + _floor(rng, samples))

    return background


def hiss(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """The high noise of tape or of a leaking pipe, with a slight swell."""
    wave = noise(rng, samples, band(rng.uniform(1500, 4000), 0.6 * sample_rate_hz), sample_rate_hz)
    wave *= 1 + 0.15 * wander(rng, samples, sample_rate_hz, 2)
    return finish(wave + _floor(rng, samples))


def mains_hum(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Hum of mains at 50 or 60 Hz with random harmonics, the higher ones weaker."""
    amplitudes = np.exp(2j * np.pi * rng.random(30)) * rng.uniform(0.1, 1, 30)
    amplitudes /= np.arange(1, 31) ** rng.uniform(1, 2)
    hum = harmonics(np.full(samples, rng.choice([50.0, 60.0])), amplitudes, sample_rate_hz)
    return finish(hum / hum.std() + 2 * _floor(rng, samples))


def babble(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Many voices at once: noise of the spectrum of speech, low and high bands swelling like syllables."""
    wave = _floor(rng, samples)
    for low_hz, high_hz, level in ((120, 700, 1.0), (700, 3500, 0.5)):
        voices = noise(rng, samples, band(low_hz, high_hz), sample_rate_hz)
        wave += level * voices * (1 + 0.6 * wander(rng, samples, sample_rate_hz, rng.uniform(6, 12)))
    return finish(wave)


def rumble(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Traffic far away: noise below some hundreds of hertz that comes and goes slowly."""
    wave = noise(rng, samples, band(30, rng.uniform(120, 400)), sample_rate_hz)
    wave *= 1 + 0.6 * wander(rng, samples, sample_rate_hz, rng.uniform(1, 3))
    return finish(wave + 2 * _floor(rng, samples))


def _floor(rng: np.random.Generator, samples: int) -> Array:
    # No real recording has empty bands; in one, the faintest tail of an event would count as audible.
    return 0.05 * rng.standard_normal(samples)


BACKGROUNDS: dict[str, EventFunction] = {
    "white_noise": coloured_noise(0.0),
    "pink_noise": coloured_noise(-3.0),
    "brown_noise": coloured_noise(-6.0),
    "hiss": hiss,
    "mains_hum": mains_hum,
    "babble": babble,
    "rumble": rumble,
}
