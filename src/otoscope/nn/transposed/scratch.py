"""Scratch memory and matrix products shared by the forward and the backward pass."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from otoscope.nn.products import convolutions_are_faster, product
from otoscope.nn.transposed.geometry import ALIGNMENT


class Buffer:
    """Scratch memory that is reused block after block: the system is slow to hand out memory of that size.

    Args:
        like: Tensor whose dtype and device the memory has.
    """

    def __init__(self, like: Tensor) -> None:
        self.memory = like.new_empty(0)

    def __call__(self, *shape: int) -> Tensor:
        """Return a tensor of this shape in the buffer, uninitialised; it overwrites the one returned before."""
        size = math.prod(shape)
        if self.memory.numel() < size:
            self.memory = self.memory.new_empty(size)
        return self.memory[:size].view(shape)


def multiply(first: Tensor, second: Tensor, result: Tensor, add: bool = False) -> None:
    """Multiply batches of matrices into an existing tensor.

    PyTorch gives each thread whole matrices of a batch. If their number is no multiple of the threads, some threads
    would wait at the end; then the matrices are multiplied one at a time, each by all threads together.

    Args:
        first: Left factors, shape (batch, m, k).
        second: Right factors, shape (batch, k, n).
        result: Written in place, shape (batch, m, n).
        add: Add the products to `result` instead of overwriting it.
    """
    if convolutions_are_faster() and first.dtype == torch.float32:
        for first_matrix, second_matrix, target in zip(first, second, result, strict=True):
            value = product(first_matrix, second_matrix)
            target.add_(value) if add else target.copy_(value)
        return
    if len(result) % torch.get_num_threads() == 0:
        # with beta = 0 PyTorch ignores what `result` held, so it may be uninitialised
        torch.baddbmm(result, first, second, beta=float(add), out=result)
        return
    for first_matrix, second_matrix, target in zip(first, second, result, strict=True):
        torch.addmm(target, first_matrix, second_matrix, beta=float(add), out=target)


def side_by_side(values: Tensor) -> Tensor:
    """Join clips (batch, channels, ...) to one matrix (channels, batch * positions), zero-padded to `ALIGNMENT`."""
    # zeros change no product that sums over positions; from other products, callers cut the extra columns off
    matrix = values.flatten(2).transpose(0, 1).flatten(1)
    return F.pad(matrix, (0, -matrix.shape[1] % ALIGNMENT))
