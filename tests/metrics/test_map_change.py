"""Scores of how much maps change, against numpy and Quantus."""

import importlib.util
import math

import numpy as np
import pytest
import scipy.stats
import torch

from otoscope.errors import ShapeError
from otoscope.metrics.map_change import best_share_overlap, complexity_rise, map_entropy


def test_overlap_of_best_bins():
    values = torch.randn(20, 50)
    assert best_share_overlap(values, 2 * values.exp()) == 1
    assert best_share_overlap(values, -values) == 0
    assert best_share_overlap(values, torch.randn(20, 50)) == pytest.approx(0.2, abs=0.12)
    assert math.isnan(best_share_overlap(values, torch.full((20, 50), torch.nan)))
    with pytest.raises(ShapeError):
        best_share_overlap(values, values[:3])


def test_entropy_agrees_with_numpy():
    values = torch.randn(30, 40)
    counts, _ = np.histogram(values.double().numpy(), bins=100)
    assert map_entropy(values) == pytest.approx(scipy.stats.entropy(counts))
    assert map_entropy(torch.ones(5, 5)) == 0
    assert math.isnan(map_entropy(torch.full((2, 2), torch.inf)))


def test_rise_of_complexity():
    peaked, even = torch.zeros(20, 20), torch.linspace(0, 1, 400).view(20, 20)
    peaked[3, 4], peaked[5, 6] = 1.0, 0.5
    assert complexity_rise(peaked, even) > 1
    assert complexity_rise(even, peaked) < 0
    assert complexity_rise(even, even) == 0
    assert math.isnan(complexity_rise(torch.zeros(20, 20), even))


def test_rise_agrees_with_quantus():
    if importlib.util.find_spec("quantus") is None:
        pytest.skip("quantus is not installed; it comes with the extra [parity]")
    try:
        with np.errstate(all="ignore"):
            from quantus.functions.complexity_func import discrete_entropy
    except ImportError as error:
        pytest.skip(f"quantus cannot be imported: {error}")
    before, after = torch.randn(30, 40), torch.randn(30, 40).exp()
    # the score of its EfficientMPRT is (b - a) / a for these two
    a, b = (discrete_entropy(values.double().numpy(), None) for values in (before, after))
    assert complexity_rise(before, after) == pytest.approx((b - a) / a)
