"""Padding of batches with clips of different lengths."""

import pytest
import torch

from otoscope.audio import frame_counts, masked_mean, valid_frames, zero_padding


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 5), (3, 2, 7, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_valid_frames_broadcast(shape, dtype):
    like = torch.full(shape, 2, dtype=dtype)
    valid = valid_frames(torch.tensor([1, 5, 3]), like)
    assert valid.dtype == dtype
    assert valid.shape == (3, *[1] * (len(shape) - 2), 5)
    for row, frames in zip(like * valid, (1, 5, 3), strict=True):
        assert (row[..., :frames] == 2).all()
        assert (row[..., frames:] == 0).all()


def test_counts_above_the_number_of_frames_mean_all_frames():
    assert valid_frames(torch.tensor([9]), torch.zeros(1, 2, 3)).tolist() == [[[1.0, 1.0, 1.0]]]


def test_without_padding_there_is_no_mask():
    assert valid_frames(None, torch.zeros(2, 3)) is None


@pytest.mark.parametrize("axis", [-1, -2, 1])
def test_zero_padding_along_each_axis(axis):
    values = torch.rand(3, 4, 5, 6) + 1
    padded = zero_padding(values, torch.tensor([1, 3, 9]), axis)
    for row, clip, count in zip(padded, values, (1, 3, 9), strict=True):
        row, clip = row.movedim(axis if axis < 0 else axis - 1, 0), clip.movedim(axis if axis < 0 else axis - 1, 0)
        assert torch.equal(row[:count], clip[:count])
        assert row[count:].count_nonzero() == 0


def test_zero_padding_without_frames_returns_the_same_tensor():
    values = torch.rand(2, 3)
    assert zero_padding(values, None) is values


def test_zero_padding_gives_padding_no_gradient():
    values = torch.rand(2, 3, requires_grad=True)
    zero_padding(values, torch.tensor([1, 3])).sum().backward()
    assert values.grad.tolist() == [[1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize(("frames", "counts"), [(None, [6, 6, 6]), ((6, 1, 4), [6, 1, 4])])
def test_frame_counts_are_integers(frames, counts):
    frames = None if frames is None else torch.tensor(frames)
    assert frame_counts(torch.zeros(3, 2, 6), frames) == counts


@pytest.mark.parametrize("shape", [(3, 6), (3, 4, 6), (3, 2, 4, 6)])
def test_masked_mean_ignores_padding(shape):
    values, frames = torch.randn(shape), (6, 1, 4)
    valid = [
        float(value) for clip, length in zip(values, frames, strict=True) for value in clip[..., :length].flatten()
    ]
    for clip, length in zip(values, frames, strict=True):
        clip[..., length:] = torch.nan
    assert masked_mean(values, torch.tensor(frames)).item() == pytest.approx(sum(valid) / len(valid), abs=1e-6)


def test_masked_mean_without_padding_is_the_mean():
    values = torch.randn(3, 4, 6)
    torch.testing.assert_close(masked_mean(values, None), values.mean())
    torch.testing.assert_close(masked_mean(values, torch.tensor([6, 6, 6])), values.mean())


def test_masked_mean_gives_padding_no_gradient():
    values = torch.full((2, 3), torch.inf)
    values[:, 0] = 1
    values.requires_grad_()
    masked_mean(values, torch.tensor([1, 1])).backward()
    assert values.grad.tolist() == [[0.5, 0, 0], [0.5, 0, 0]]
