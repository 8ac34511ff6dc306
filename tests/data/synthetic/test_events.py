"""Synthetic events and backgrounds: well-formed, deterministic, varied, without aliasing."""

import numpy as np
import pytest

from otoscope.data.synthetic.backgrounds import BACKGROUNDS
from otoscope.data.synthetic.building_blocks import EventFunction
from otoscope.data.synthetic.events import EVENTS

RATE_HZ = 16000
SAMPLES = 2 * RATE_HZ
SOUNDS = {**EVENTS, **BACKGROUNDS}


def draw(make: EventFunction, seed: int, samples: int = SAMPLES, rate_hz: int = RATE_HZ) -> np.ndarray:
    return make(np.random.default_rng(seed), samples, rate_hz)


def assert_well_formed(wave: np.ndarray, samples: int) -> None:
    assert wave.shape == (samples,)
    assert wave.dtype == np.float32
    assert np.isfinite(wave).all()
    assert np.abs(wave).max() == pytest.approx(1.0)


def test_there_are_sixteen_events_and_seven_backgrounds_with_different_labels():
    assert len(EVENTS) == 16
    assert len(BACKGROUNDS) == 7
    assert not set(EVENTS) & set(BACKGROUNDS)


@pytest.mark.parametrize("label", SOUNDS)
def test_sound_is_well_formed_and_determined_by_its_seed(label):
    waves = [draw(SOUNDS[label], seed) for seed in range(10)]
    for wave in waves:
        assert_well_formed(wave, SAMPLES)
    np.testing.assert_array_equal(draw(SOUNDS[label], 1), waves[1])
    assert abs(np.corrcoef(waves[1], waves[2])[0, 1]) < 0.5


@pytest.mark.parametrize(("samples", "rate_hz"), [(8000, 16000), (16001, 16000), (44100, 44100), (110250, 22050)])
def test_sounds_of_other_lengths_and_rates_are_well_formed(samples, rate_hz):
    for make in SOUNDS.values():
        for seed in range(10):
            assert_well_formed(draw(make, seed, samples, rate_hz), samples)


def test_events_have_no_offset_and_little_energy_near_the_nyquist_frequency():
    hertz = np.fft.rfftfreq(SAMPLES, 1 / RATE_HZ)
    for label, make in EVENTS.items():
        for seed in range(10):
            power = np.abs(np.fft.rfft(draw(make, seed))) ** 2
            assert power[hertz < 20].sum() < 0.02 * power.sum(), (label, seed)
            assert power[hertz > 7800].sum() < 0.02 * power.sum(), (label, seed)


@pytest.mark.parametrize("label", ["rooster", "crying_baby", "siren", "car_horn", "chirping_birds", "crickets"])
def test_tonal_event_is_the_same_sound_at_a_higher_sample_rate(label):
    """Aliased partials would move to other frequencies, and so would partials placed by sample numbers."""
    spectra = []
    for rate_hz in (16000, 32000):
        wave = draw(EVENTS[label], 0, 2 * rate_hz, rate_hz)
        power = np.abs(np.fft.rfft(wave))[: 2 * 7000] ** 2  # both spectra have bins of 0.5 Hz
        spectra.append(power.reshape(-1, 100).sum(axis=1) / power.sum())
    assert np.abs(spectra[0] - spectra[1]).sum() < 0.5
    assert np.corrcoef(spectra)[0, 1] > 0.8


@pytest.mark.parametrize(
    ("label", "lowest_db", "highest_db"),
    [("white_noise", -1.2, 1.2), ("pink_noise", -4.2, -1.5), ("brown_noise", -7, -3)],
)
def test_coloured_noise_has_its_slope(label, lowest_db, highest_db):
    hertz = np.fft.rfftfreq(SAMPLES, 1 / RATE_HZ)
    octaves = [(hertz >= low) & (hertz < 2 * low) for low in (100, 200, 400, 800, 1600)]
    for seed in range(10):
        power = np.abs(np.fft.rfft(draw(BACKGROUNDS[label], seed))) ** 2
        levels_db = [10 * np.log10(power[octave].mean()) for octave in octaves]
        assert lowest_db < np.polyfit(range(5), levels_db, 1)[0] < highest_db
