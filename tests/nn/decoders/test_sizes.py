"""Changes of size, which treat each clip of a padded batch as if it were alone."""

import pytest
import torch
from torch.nn import functional as F

from otoscope.nn.decoders.sizes import (
    decode_each,
    double_columns,
    fit_columns,
    fit_frames,
    halvings_of,
    resize_columns,
    valid_columns,
)


@pytest.mark.parametrize(
    ("columns", "halvings"),
    [(512, 0), (256, 1), (64, 3), (32, 4), (16, 5), (8, 6), (4, 4), (1, 4), (14, 4), (600, 4)],
)
def test_halvings_of_a_representation(columns, halvings):
    assert halvings_of(columns) == halvings


def test_valid_columns_of_halved_and_of_resized_maps():
    frames = torch.tensor([100, 47, 3])
    assert valid_columns(6, 100, None) is None
    assert valid_columns(6, 100, frames).tolist() == [6, 2, 1]  # 100 >> 4, at least 1
    assert valid_columns(7, 100, frames).tolist() == [7, 4, 1]  # shares of 7, rounded up


@pytest.mark.parametrize("columns", [1, 3, 14, 50])
@pytest.mark.parametrize(("frames", "halvings"), [(431, 4), (431, 3), (40, 2), (20, 4)])
def test_resizing_equals_that_of_torch_for_each_clip(columns, frames, halvings):
    sequence = torch.randn(4, 2, columns)
    valid = torch.tensor([frames, frames - 1, frames // 2, 16]).clamp(min=1 << halvings)
    resized = resize_columns(sequence, frames >> halvings, frames, valid, halvings)
    sources, targets = valid_columns(columns, frames, valid).tolist(), (valid >> halvings).tolist()
    for row, clip, source, target in zip(resized, sequence, sources, targets, strict=True):
        expected = F.interpolate(clip[None, :, :source], target, mode="linear")[0]
        torch.testing.assert_close(row[:, :target], expected, rtol=1e-4, atol=1e-4)
        assert row[:, target:].count_nonzero() == 0
    whole = F.interpolate(sequence, frames >> halvings, mode="linear")
    assert torch.equal(resize_columns(sequence, frames >> halvings, frames, None, halvings), whole)


def test_doubling_repeats_the_last_column_of_each_clip():
    sequence = torch.tensor([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]])
    assert double_columns(sequence, 7, None).tolist() == [[[1, 1, 2, 2, 3, 3, 3]], [[4, 4, 5, 5, 6, 6, 6]]]
    padded = double_columns(sequence, 7, torch.tensor([7, 5]))
    assert padded.tolist() == [[[1, 1, 2, 2, 3, 3, 3]], [[4, 4, 5, 5, 5, 0, 0]]]


def test_sequences_are_cut_or_their_last_column_is_held():
    sequence = torch.tensor([[[1.0, 2.0, 3.0]]]).repeat(2, 1, 1)
    assert fit_columns(sequence, 2, None).tolist() == [[[1, 2]]] * 2
    assert fit_columns(sequence, 5, None).tolist() == [[[1, 2, 3, 3, 3]]] * 2
    assert fit_columns(sequence, 5, torch.tensor([3, 1])).tolist() == [[[1, 2, 3, 3, 3]], [[1, 1, 1, 1, 1]]]


def test_maps_are_cut_or_held_along_both_axes():
    decoded = torch.arange(6.0).reshape(1, 2, 3)  # two frames of three bins
    assert fit_frames(decoded, 4, 3, None).tolist() == [[[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5]]]
    assert fit_frames(decoded, 2, 3, torch.tensor([1])).tolist() == [[[0, 1], [0, 1], [0, 1]]]


def test_each_clip_is_decoded_at_its_length():
    values = torch.rand(2, 1, 1)

    def decode(clips, frames):
        return values[clips] * torch.arange(1.0, frames + 1)

    decoded = decode_each(decode, 6, torch.tensor([6, 2]))
    torch.testing.assert_close(decoded[0, 0], values[0, 0] * torch.arange(1.0, 7))
    torch.testing.assert_close(decoded[1, 0], values[1, 0] * torch.tensor([1.0, 2, 0, 0, 0, 0]))
    trained = decode_each(decode, 6, torch.tensor([6, 2]), training=True)
    # 1 ... 6 resized to two columns
    torch.testing.assert_close(trained[1, 0], values[1, 0] * torch.tensor([2.0, 5, 0, 0, 0, 0]))
