"""Levels in dB, and means of bins that share a pixel."""

import numpy as np
import pytest

from otoscope.plots import decibels
from otoscope.plots.cells import pixel_means
from otoscope.plots.style import hz_to_mel, mel_to_hz


def test_decibels_relative_to_the_peak():
    magnitude = np.array([[100.0, 10.0], [0.5, 0.0]])
    assert decibels(np.log1p(magnitude)) == pytest.approx(np.array([[0, -20], [-46.0206, -80]]), abs=1e-3)
    assert decibels(np.log1p(magnitude), peak=1000)[0] == pytest.approx([-20, -40], abs=1e-3)
    assert decibels(np.log1p(magnitude), floor_db=-30).min() == pytest.approx(-30)


@pytest.mark.parametrize("peak", [None, 0.0])
def test_silence_lies_at_the_floor(peak):
    assert (decibels(np.zeros((3, 4)), peak) == -80).all()


@pytest.mark.parametrize("axis", ["mel", "log"])
def test_means_of_bins_that_share_a_pixel(axis):
    """Compared with means over a fine grid of frequencies."""
    rng = np.random.default_rng(0)
    values = rng.random((257, 3))
    means = pixel_means(values, 16_000, axis, pixels=100)
    to_scale, from_scale = (hz_to_mel, mel_to_hz) if axis == "mel" else (np.log, np.exp)
    lowest, top = to_scale(np.array([50.0 if axis == "log" else 0.0, 8000.0]))
    for index in (3, 100, 200, 250):
        center = to_scale(np.array(index * 31.25))
        low, high = from_scale(center + np.array([-0.5, 0.5]) * (top - lowest) / 100)
        low, high = min(low, (index - 0.5) * 31.25), max(high, (index + 0.5) * 31.25)
        grid = np.linspace(low, min(high, 8000 + 15.625), 100_001)
        expected = values[np.clip(np.round(grid / 31.25), 0, 256).astype(int)].mean(0)
        assert means[index] == pytest.approx(expected, abs=2e-4)
    assert np.array_equal(pixel_means(values, 16_000, "linear", 100), values)
