"""Synthetic backgrounds: broadband noises, mains hum, babble and rumble.

The functions have the signature of those in `otoscope.data.synthetic.events`.
"""

import numpy as np

from otoscope.data.synthetic.building_blocks import (
    Array,
    EventFunction,
    Sound,
    band,
    finish,
    harmonics,
    noise,
    random_curve,
    tilt,
)


def coloured_noise(slope_db: float) -> EventFunction:
    """Return a background of noise whose level changes by about `slope_db` (drawn within 1 dB) per octave."""

    def background(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
        wave = noise(rng, samples, tilt(slope_db + rng.uniform(-1, 1)), sample_rate_hz)
        return finish(wave + _floor(rng, samples))

    return background


def hiss(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise high-frequency noise, as of a tape or a leaking pipe, with slight changes of level."""
    wave = noise(rng, samples, band(rng.uniform(1500, 4000), 0.6 * sample_rate_hz), sample_rate_hz)
    wave *= 1 + 0.15 * random_curve(rng, samples, sample_rate_hz, 2)
    return finish(wave + _floor(rng, samples))


def mains_hum(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise mains hum at 50 or 60 Hz with random harmonics, the higher ones weaker."""
    # Random phases, so that the harmonics do not add up to a train of pulses.
    amplitudes = np.exp(2j * np.pi * rng.random(30)) * rng.uniform(0.1, 1, 30)
    amplitudes /= np.arange(1, 31) ** rng.uniform(1, 2)
    hum = harmonics(np.full(samples, rng.choice([50.0, 60.0])), amplitudes, sample_rate_hz)
    return finish(hum / hum.std() + 2 * _floor(rng, samples))


def babble(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise many voices at once: noise in two bands of speech, each varying at the rate of syllables."""
    wave = _floor(rng, samples)
    for low_hz, high_hz, level in ((120, 700, 1.0), (700, 3500, 0.5)):
        voices = noise(rng, samples, band(low_hz, high_hz), sample_rate_hz)
        wave += level * voices * (1 + 0.6 * random_curve(rng, samples, sample_rate_hz, rng.uniform(6, 12)))
    return finish(wave)


def rumble(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise distant traffic: noise below a few hundred hertz whose level changes slowly."""
    wave = noise(rng, samples, band(30, rng.uniform(120, 400)), sample_rate_hz)
    wave *= 1 + 0.6 * random_curve(rng, samples, sample_rate_hz, rng.uniform(1, 3))
    return finish(wave + 2 * _floor(rng, samples))


def _floor(rng: np.random.Generator, samples: int) -> Array:
    # Real recordings have no empty bands. In an empty band even the faintest tail of an event would be audible.
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
