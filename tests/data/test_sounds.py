"""Every event and background: a sound sound, deterministic, and told apart from the others."""

import numpy as np
import pytest

from otoscope.data.sounds import BACKGROUNDS, EVENTS, EventFunction
from otoscope.data.synthesis import curve, harmonics, modes, noise, onsets, tilt

RATE_HZ = 16000
SAMPLES = 2 * RATE_HZ
EVERY_SOUND = [pytest.param(make, id=label) for label, make in {**EVENTS, **BACKGROUNDS}.items()]


def draw(make: EventFunction, seed: int, samples: int = SAMPLES, rate_hz: int = RATE_HZ) -> np.ndarray:
    return make(np.random.default_rng(seed), samples, rate_hz)


def test_there_are_sixteen_events_and_seven_backgrounds_with_labels_of_their_own():
    assert len(EVENTS) == 16
    assert len(BACKGROUNDS) == 7
    assert not set(EVENTS) & set(BACKGROUNDS)


@pytest.mark.parametrize("make", EVERY_SOUND)
@pytest.mark.parametrize(
    ("samples", "rate_hz"),
    [(SAMPLES, RATE_HZ), (8000, 16000), (16001, 16000), (44100, 44100), (110250, 22050)],
)
def test_sound_is_finite_float32_of_the_asked_length_and_peaks_at_one(make, samples, rate_hz):
    for seed in range(10):
        wave = draw(make, seed, samples, rate_hz)
        assert wave.shape == (samples,)
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()
        assert np.abs(wave).max() == pytest.approx(1.0)


@pytest.mark.parametrize("make", EVERY_SOUND)
def test_same_seed_gives_the_same_sound_and_another_seed_another(make):
    first, again, other = draw(make, 1), draw(make, 1), draw(make, 2)
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.5


@pytest.mark.parametrize("make", [pytest.param(make, id=label) for label, make in EVENTS.items()])
def test_event_has_no_offset_and_little_energy_beside_the_nyquist_frequency(make):
    for seed in range(10):
        power = np.abs(np.fft.rfft(draw(make, seed))) ** 2
        hertz = np.fft.rfftfreq(SAMPLES, 1 / RATE_HZ)
        assert power[hertz < 20].sum() < 0.02 * power.sum()
        assert power[hertz > 7800].sum() < 0.02 * power.sum()


@pytest.mark.parametrize("label", ["rooster", "crying_baby", "siren", "car_horn", "chirping_birds", "crickets"])
def test_tonal_event_is_the_same_sound_at_a_higher_sample_rate(label):
    """Aliased partials would fold to other places, and so would any that is placed by samples."""
    spectra = []
    for rate_hz in (16000, 32000):
        wave = draw(EVENTS[label], 0, 2 * rate_hz, rate_hz)
        power = np.abs(np.fft.rfft(wave))[: 2 * 7000] ** 2  # both spectra have bins of 0.5 Hz
        spectra.append(power.reshape(-1, 100).sum(axis=1) / power.sum())
    assert np.abs(spectra[0] - spectra[1]).sum() < 0.5
    assert np.corrcoef(spectra)[0, 1] > 0.8


@pytest.mark.parametrize(
    ("label", "least_db", "most_db"),
    [("white_noise", -1.2, 1.2), ("pink_noise", -4.2, -1.5), ("brown_noise", -7, -3)],
)
def test_coloured_noise_falls_by_its_slope(label, least_db, most_db):
    hertz = np.fft.rfftfreq(SAMPLES, 1 / RATE_HZ)
    octaves = [(hertz >= low) & (hertz < 2 * low) for low in (100, 200, 400, 800, 1600)]
    for seed in range(10):
        power = np.abs(np.fft.rfft(draw(BACKGROUNDS[label], seed))) ** 2
        levels_db = [10 * np.log10(power[octave].mean()) for octave in octaves]
        assert least_db < np.polyfit(range(5), levels_db, 1)[0] < most_db


def test_harmonics_agree_with_a_sum_of_cosines_and_stop_below_nyquist():
    pitch = np.linspace(900, 1000, 4000)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    expected = sum(np.cos(k * phase) / k for k in range(1, 8))  # 7 kHz is the last below 0.47 x 16 kHz
    np.testing.assert_allclose(harmonics(pitch, 1 / np.arange(1, 30), RATE_HZ), expected, atol=1e-4)


def test_modes_agree_with_damped_sines_and_leave_out_what_would_alias():
    time = np.arange(1000) / RATE_HZ
    expected = 0.5 * np.exp(-time / 0.02) * np.sin(2 * np.pi * 440 * time)
    np.testing.assert_allclose(modes(1000, [440, 7900], [0.02, 0.1], 0.5, RATE_HZ), expected, atol=1e-9)


def test_curve_passes_through_its_points_without_jumps():
    bend = curve(4000, [0, 0.25, 1], [1, 3, 2])
    assert bend[[0, -1]].tolist() == [1, 2]
    assert bend[1000] == pytest.approx(3, abs=1e-3)
    assert np.abs(np.diff(bend)).max() < 0.004


def test_onsets_fit_in_the_clip_and_keep_at_least_one():
    for seed in range(50):
        starts = onsets(np.random.default_rng(seed), 10000, 8, 2500.0, 2000)
        assert 1 <= len(starts) <= 4
        assert min(starts) >= 0
        assert max(starts) + 2000 <= 10000


def test_noise_has_unit_power_and_no_offset():
    wave = noise(np.random.default_rng(0), 999, tilt(-3), RATE_HZ)
    assert np.mean(wave**2) == pytest.approx(1)
    assert np.mean(wave) == pytest.approx(0, abs=1e-9)
