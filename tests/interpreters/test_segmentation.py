"""Segments: borders lie where the sound is softest, and every bin belongs to one segment."""

import numpy as np
import pytest
import torch

from otoscope.interpreters.segmentation import bands, cut_at_valleys, patches, slices


@pytest.fixture
def tones():
    """Two steady tones and a click, on soft noise."""
    log_magnitude = 0.05 * torch.rand(60, 40, generator=torch.Generator().manual_seed(0))
    log_magnitude[10:13] += 2
    log_magnitude[41:43] += 1
    log_magnitude[:, 25] += 1.5
    return log_magnitude


def test_each_tone_has_a_band_of_its_own(tones):
    numbers = bands(tones, 3)
    assert (numbers == numbers[:, :1]).all()
    first, second = numbers[10:13, 0].unique(), numbers[41:43, 0].unique()
    assert len(first) == len(second) == 1
    assert first != second


def test_a_click_is_in_one_slice(tones):
    numbers = slices(tones, 4)
    assert (numbers == numbers[:1]).all()
    sizes = numbers[0].bincount()
    assert sizes[numbers[0, 25]] < 40 - 3


@pytest.mark.parametrize("shape", [(60, 40), (1, 1), (3, 200), (200, 2)])
@pytest.mark.parametrize("count", [1, 2, 7, 50])
def test_segments_are_numbered_without_gaps(shape, count):
    log_magnitude = torch.rand(shape)
    for numbers, most in (
        (bands(log_magnitude, count), min(count, shape[0])),
        (slices(log_magnitude, count), min(count, shape[1])),
        (patches(log_magnitude, (count, 3)), min(count, shape[0]) * min(3, shape[1])),
    ):
        assert numbers.shape == shape
        assert numbers.unique().tolist() == list(range(most))


def test_patches_lie_in_bands_and_have_borders_of_their_own():
    log_magnitude = torch.zeros(40, 60)
    log_magnitude[5, 10:20] = 1
    log_magnitude[30, 40:50] = 1
    numbers = patches(log_magnitude, (2, 3))
    low, high = numbers[5], numbers[30]
    assert set(low.tolist()).isdisjoint(high.tolist())
    assert low.diff().nonzero().flatten().tolist() != high.diff().nonzero().flatten().tolist()


def test_silence_is_cut_into_equal_parts():
    assert cut_at_valleys(np.zeros(8), 4) == [0, 2, 4, 6, 8]


def test_the_shallowest_valleys_are_filled_first():
    profile = np.array([9.0, 0.0, 5.0, 4.5, 5.0, 2.0, 8.0])
    assert [cut_at_valleys(profile, count) for count in (4, 3, 2, 1)] == [
        [0, 1, 3, 5, 7],
        [0, 1, 5, 7],
        [0, 1, 7],
        [0, 7],
    ]
