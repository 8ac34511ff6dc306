"""Building blocks against direct formulas."""

import numpy as np
import pytest

from otoscope.data.synthetic.building_blocks import curve, draw_onsets, harmonics, modes, noise, tilt

RATE_HZ = 16000


def test_harmonics_agree_with_a_sum_of_cosines_and_stop_below_nyquist():
    pitch = np.linspace(900, 1000, 4000)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    expected = sum(np.cos(k * phase) / k for k in range(1, 8))  # 7 kHz is the highest below 0.47 x 16 kHz
    np.testing.assert_allclose(harmonics(pitch, 1 / np.arange(1, 30), RATE_HZ), expected, atol=1e-4)


def test_modes_agree_with_damped_sines_and_drop_those_that_would_alias():
    time = np.arange(1000) / RATE_HZ
    expected = 0.5 * np.exp(-time / 0.02) * np.sin(2 * np.pi * 440 * time)
    np.testing.assert_allclose(modes(1000, [440, 7900], [0.02, 0.1], 0.5, RATE_HZ), expected, atol=1e-9)


def test_curve_passes_through_its_points_without_jumps():
    bend = curve(4000, [0, 0.25, 1], [1, 3, 2])
    assert bend[[0, -1]].tolist() == [1, 2]
    assert bend[1000] == pytest.approx(3, abs=1e-3)
    assert np.abs(np.diff(bend)).max() < 0.004


def test_onsets_fit_into_the_clip_and_include_the_first():
    for seed in range(50):
        starts = draw_onsets(np.random.default_rng(seed), 10000, 8, 2500.0, 2000)
        assert 1 <= len(starts) <= 4
        assert min(starts) >= 0
        assert max(starts) + 2000 <= 10000


def test_noise_has_unit_power_and_no_offset():
    wave = noise(np.random.default_rng(0), 999, tilt(-3), RATE_HZ)
    assert np.mean(wave**2) == pytest.approx(1)
    assert np.mean(wave) == pytest.approx(0, abs=1e-9)
