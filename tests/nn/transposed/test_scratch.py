"""Scratch memory, and batches of matrix products."""

import pytest
import torch

from otoscope.nn.transposed.scratch import Buffer, multiply, side_by_side


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("add", [False, True])
def test_products_in_a_batch_or_one_by_one(threads, add, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    first, second, result = (torch.randn(3, *size, dtype=torch.double) for size in ((4, 5), (5, 6), (4, 6)))
    expected = first @ second + (result if add else 0)
    if not add:
        result.fill_(float("nan"))  # as uninitialised memory may be
    multiply(first, second, result, add)
    torch.testing.assert_close(result, expected)


def test_a_buffer_is_reused_and_grows():
    buffer = Buffer(torch.zeros(0, dtype=torch.double))
    first = buffer(3, 4)
    assert buffer(2, 5).data_ptr() == first.data_ptr()
    assert buffer(5, 4).shape == (5, 4)
    assert buffer(5, 4).dtype == torch.double


def test_clips_side_by_side_are_padded_with_zeros():
    values = torch.randn(3, 4, 5, 2)
    matrix = side_by_side(values)
    assert matrix.shape == (4, 32)
    assert torch.equal(matrix[:, :30].view(4, 3, 5, 2).transpose(0, 1), values)
    assert matrix[:, 30:].count_nonzero() == 0
