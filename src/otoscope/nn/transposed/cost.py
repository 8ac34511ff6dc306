"""Choice among PyTorch's routine, the folded way and tiles, by a model of their cost.

The cost of each way is its multiply-adds, plus `MULADDS_PER_ACCESS` for each number that it reads from or writes to
memory. It depends on sizes alone, so the same layer and size always take the same way. See docs/fast_transposed.md.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from otoscope.nn.products import convolutions_are_faster
from otoscope.nn.transposed.functions import FoldedTransposed, TiledTransposed, TorchTransposed
from otoscope.nn.transposed.geometry import FINITE_POINTS, Axis, Grid

TILES = (1, 2, 4)
"""Outputs of each phase in a tile, along each axis. Larger tiles save more products and round more."""
MULADDS_PER_ACCESS = 64
"""Multiply-adds in the time of one memory access, where products are MKL's; measured."""
FAST_MULADDS = 2
"""Times as many multiply-adds in that time, where products are convolutions; measured."""
TORCH_OVERHEAD = 1.2
"""Time of a multiply-add in PyTorch's routine, relative to one in a matrix product; measured."""


class Choice(NamedTuple):
    """The autograd function to apply, and its last argument."""

    function: Any
    settings: Any


def choose(layer: nn.ConvTranspose2d, hidden: Tensor, extra: list[int]) -> Choice:
    """Choose the cheapest way for these sizes.

    Args:
        layer: Layer to compute.
        hidden: Inputs, shape (batch, channels, height, width).
        extra: Output padding of both axes.
    """
    torch_way = Choice(TorchTransposed, (layer.stride, layer.padding, layer.dilation, True, extra, layer.groups))
    # the other two ways are written for plain layers only
    plain = layer.groups == 1 and layer.dilation == (1, 1) and hidden.dtype in (torch.float32, torch.float64)
    if not plain or hidden.dim() != 4 or not hidden.numel():
        return torch_way
    shape = (len(hidden), layer.in_channels, layer.out_channels)
    axes: Any = zip(layer.kernel_size, layer.stride, layer.padding, hidden.shape[2:], extra, strict=True)
    grid, tiled_cost = cheapest_grid(shape, tuple(axes))
    if min(grid.rows.outputs, grid.columns.outputs) < 1:  # PyTorch raises the error
        return torch_way
    # both costs below count one multiply-add for each position, tap and pair of channels
    taps, pairs = math.prod(layer.kernel_size), layer.in_channels * layer.out_channels
    positions = hidden[:, 0].numel()
    muladds = positions * taps * pairs
    # the product writes what each position gives to each tap, the fold reads it; the weight is read once
    access = muladds_per_access()
    folded_cost = muladds + access * taps * (2 * positions * layer.out_channels + pairs)
    if convolutions_are_faster():
        folded_cost += (FAST_MULADDS - 1) * muladds  # this product remains MKL's
    # PyTorch reorders the weight twice, reading and writing it
    torch_cost = TORCH_OVERHEAD * muladds + access * 4 * taps * pairs
    if torch_cost < min(folded_cost, tiled_cost):
        return torch_way
    if folded_cost <= tiled_cost:
        return Choice(FoldedTransposed, (layer.stride, layer.padding, extra))
    return Choice(TiledTransposed, (grid, False))


@lru_cache
def cheapest_grid(
    shape: tuple[int, int, int], axes: tuple[tuple[int, int, int, int, int], ...]
) -> tuple[Grid, float]:
    """Find the tiles that cost least.

    Args:
        shape: Batch, input channels, output channels.
        axes: Kernel, stride, padding, inputs and output padding of height and width.

    Returns:
        The tiles and their cost in multiply-adds.
    """
    candidates = []
    for kernel, stride, padding, inputs, extra in axes:
        outputs = (inputs - 1) * stride - 2 * padding + kernel + extra
        options = [Axis(kernel, stride, padding, inputs, outputs, tile) for tile in TILES]
        # a window needs as many points as it is wide, infinity included; tiles of 1 need none
        candidates.append([axis for axis in options if axis.tile == 1 or axis.window <= len(FINITE_POINTS) + 1])
    grids = itertools.starmap(Grid, itertools.product(*candidates))
    return min(((grid, tiled_cost(grid, *shape)) for grid in grids), key=lambda pair: pair[1])


def tiled_cost(grid: Grid, batch: int, channels: int, outputs: int) -> float:
    """Cost of computing with these tiles: products of matrices, and memory accesses of the three transforms."""
    tiles, products = batch * grid.tiles, len(grid.product_points)
    tile_outputs = grid.rows.tile_outputs * grid.columns.tile_outputs
    taps = grid.rows.kernel * grid.columns.kernel
    # each number is written by one step and read by the next, hence the factors of 2
    accesses = tiles * (
        2 * grid.rows.window * grid.columns.window * channels + 2 * (products + tile_outputs) * outputs
    )
    accesses += channels * outputs * (taps + 2 * products)
    return tiles * products * channels * outputs + muladds_per_access() * accesses


def muladds_per_access() -> int:
    """Return the multiply-adds of a product in the time of one memory access."""
    return MULADDS_PER_ACCESS * (FAST_MULADDS if convolutions_are_faster() else 1)
