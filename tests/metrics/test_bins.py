"""Flattened bins and their padding."""

import pytest
import torch

from otoscope.errors import ShapeError
from otoscope.metrics.bins import area_in_bins, flatten_bins, frame_counts, result_dtype, valid_bins


def test_without_frames_every_bin_is_valid():
    assert valid_bins(torch.zeros(2, 3, 4), None).all()


def test_frames_mark_the_padding_of_each_clip():
    valid = valid_bins(torch.zeros(2, 3, 4), torch.tensor([4, 1]))
    assert valid.sum(dim=(1, 2)).tolist() == [12, 3]
    assert valid[1, :, 0].all()


def test_padding_may_hold_anything():
    mask = torch.tensor([[[1.0, torch.nan, torch.inf]]])
    bins = flatten_bins(mask, torch.tensor([1]), padding_value=-1.0)
    assert bins.values.tolist() == [[1.0, -1.0, -1.0]]
    assert bins.count.tolist() == [1.0]


def test_integers_and_half_precision_give_float32():
    assert result_dtype(torch.zeros(1, dtype=torch.bool)) == torch.float32
    assert result_dtype(torch.zeros(1, dtype=torch.float16)) == torch.float32
    assert result_dtype(torch.zeros(1, dtype=torch.float64)) == torch.float64


@pytest.mark.parametrize("shape", [(3, 4), (1, 1, 3, 4)])
def test_refuses_other_dimensions(shape):
    with pytest.raises(ShapeError, match="expected \\(batch, frequency, time\\)"):
        valid_bins(torch.zeros(shape), None)


def test_frame_counts_are_those_of_the_clips():
    assert frame_counts(torch.zeros(2, 3, 4), torch.tensor([4, 1])) == [4, 1]
    assert frame_counts(torch.zeros(2, 3, 4), None) == [4, 4]


@pytest.mark.parametrize("function", [valid_bins, frame_counts])
def test_refuses_frames_of_another_batch(function):
    with pytest.raises(ShapeError, match="each of 2 clips"):
        function(torch.zeros(2, 3, 4), torch.tensor([4]))


def test_area_in_bins_is_bounded_and_ignores_padding_and_nan():
    mask = torch.stack([torch.full((2, 3), 0.4), torch.full((2, 3), 7.0), torch.full((2, 3), -1.0)])
    mask[0, 0, 0] = torch.nan
    mask[:, :, 2] = torch.inf
    assert area_in_bins(mask, torch.tensor([2, 2, 2])).tolist() == [1, 4, 0]
