r"""Geometry of a transposed convolution in tiles, with the matrices of Toom and Cook (Winograd's convolution).

**One axis.** A transposed convolution of stride s spreads each input over its kernel:
:math:`y[o] = \sum x[i]\, w[k]` over all i, k with :math:`i s + k - p = o` (p is the padding). Write
:math:`o + p = s q + r`. The outputs with the same *phase* r are an ordinary convolution of the inputs with every
s-th tap of the kernel, :math:`w_r = w[r], w[r + s], \dots`:

.. math:: y_r[q] = \sum_j x[q - j]\, w_r[j].

So the axis is s ordinary convolutions that read the same inputs, of T = ceil(kernel / s) taps each, or one fewer.

**One tile** is m consecutive outputs of every phase. They depend on a *window* of n = m + T - 1 inputs. For each
phase they take m T products by definition, and only n by the algorithm of Toom and Cook. It rests on the product of
two polynomials a (m coefficients) and b (T coefficients): c = a b has n coefficients, hence is determined by its
values at n points, and at each point the value of c is the product of two numbers. With :math:`V_k` the matrix
that evaluates a polynomial of k coefficients at these points (Vandermonde; the last point is infinity, where the
value is the leading coefficient),

.. math:: c = V_n^{-1} \left[ (V_m a) \odot (V_T b) \right].

Filtering is the transpose of this map, for fixed b = taps (Winograd 1980; Lavin and Gray 2015, arXiv 1509.09308):

.. math:: y = V_m^T \left[ (V_T w_r) \odot (V_n^{-T} d) \right], \qquad d = \text{the window, last input first.}

The three matrices are the *weight transform* :math:`V_T`, the *input transform* :math:`V_n^{-T}` and the *output
transform* :math:`V_m^T` of `TileMatrices`. In two dimensions each is applied along both axes (a Kronecker
product). The numbers x, w and y are in fact vectors over channels, so that each product of two numbers becomes a
matrix product over channels. There the time is spent: the transforms cost little, and the products are fewer.

A tile of m = 1 needs no transform; it is the definition itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

FINITE_POINTS = (0.0, 1.0, -1.0, 2.0, -0.5, 0.5, -2.0, 4.0, -0.25)
"""Points at which polynomials are evaluated besides infinity, in the order of use: small powers round least."""
CHUNK_TILES = 320
"""Tiles or positions per matrix product: enough for full speed, few enough to stay in the cache."""
SHARED_TILES = 1024
"""Tiles whose transformed inputs are held in memory for all blocks of output channels."""
WEIGHT_BLOCK_BYTES = 96 << 20
"""Size of the transformed weight of one block of output channels."""
ALIGNMENT = 16
"""Sides of a matrix should be a multiple of this: others make products up to a third slower."""


@dataclass(frozen=True)
class Axis:
    """One axis of a transposed convolution, divided into tiles.

    Attributes:
        kernel: Taps of the kernel.
        stride: Outputs per input.
        padding: Outputs cut off at both ends.
        inputs: Inputs.
        outputs: Outputs that remain after cutting.
        tile: Outputs of each phase in a tile (m in the text above).
    """

    kernel: int
    stride: int
    padding: int
    inputs: int
    outputs: int
    tile: int

    @cached_property
    def window(self) -> int:
        """Inputs that a tile depends on (n), also the number of evaluation points."""
        # output q of a phase reads the T inputs q - T + 1 .. q, so m consecutive outputs read m + T - 1
        return self.tile + -(-self.kernel // self.stride) - 1

    @cached_property
    def first_input(self) -> int:
        """Input at which the first output that is not cut off starts."""
        # the q of output o = 0 in o + p = s q + r
        return self.padding // self.stride

    @cached_property
    def tiles(self) -> int:
        """Number of tiles that cover all outputs."""
        # from the q of the first output to that of the last one; the last tile may reach beyond it
        last_input = (self.outputs - 1 + self.padding) // self.stride
        return -(-(last_input + 1 - self.first_input) // self.tile)

    @property
    def tile_outputs(self) -> int:
        """Outputs of one tile, all phases together."""
        return self.tile * self.stride

    def matrices(self, dtype: torch.dtype) -> TileMatrices:
        """Return the transforms of the tiles."""
        return tile_matrices(self.kernel, self.stride, self.tile, dtype)

    def input_slices(self, chunk: slice) -> tuple[slice, slice, int]:
        """Locate the inputs of consecutive tiles, whose windows reach beyond both ends of the axis.

        Args:
            chunk: Range of tiles.

        Returns:
            Slice of the inputs, slice of a zero-padded buffer that they are copied to, and the buffer's length.
        """
        # the first output of the chunk already reads T - 1 = window - tile inputs before it
        start = self.first_input + chunk.start * self.tile - (self.window - self.tile)
        length = (chunk.stop - chunk.start) * self.tile + self.window - self.tile
        # the part of the windows that lies on the axis; it may be empty, hence the second bound of each end
        low = min(max(start, 0), self.inputs)
        high = max(min(start + length, self.inputs), low)
        return slice(low, high), slice(low - start, high - start), length

    def output_slice(self, chunk: slice) -> slice:
        """Return the outputs that consecutive tiles compute, without those that the padding cuts off."""
        # the first tile begins at phase 0 of the first q, which is p % s outputs before output 0
        cut = self.padding % self.stride
        start, stop = (tile * self.tile_outputs - cut for tile in (chunk.start, chunk.stop))
        return slice(max(start, 0), min(stop, self.outputs))

    def valid_slice(self, chunk: slice) -> slice:
        """Position of `output_slice` in all that the tiles compute."""
        outputs, start = self.output_slice(chunk), chunk.start * self.tile_outputs - self.padding % self.stride
        return slice(outputs.start - start, outputs.stop - start)


class TileMatrices(NamedTuple):
    """Transforms of one axis.

    Attributes:
        inputs: From a window to its values at the points, shape (window, window). None: the identity.
        weight: From the taps of the kernel to one factor per product, shape (products, kernel).
        outputs: From products to the outputs of a tile, all phases, shape (tile outputs, products).
        points: Index of the point that each product belongs to. Each phase has its own products.
    """

    inputs: Tensor | None
    weight: Tensor
    outputs: Tensor
    points: list[int]


@cache
def tile_matrices(kernel: int, stride: int, tile: int, dtype: torch.dtype) -> TileMatrices:
    """Build the transforms of one axis; see the text above, whose symbols the comments use."""
    taps = -(-kernel // stride)
    window = tile + taps - 1
    # in float64 whatever the dtype: the inverse would lose digits
    exact: Any = {"dtype": torch.double, "device": "cpu"}

    def vandermonde(coefficients: int) -> Tensor:
        points = torch.tensor(FINITE_POINTS[: window - 1], **exact)
        # the value at infinity is the leading coefficient, which this row selects
        infinity = torch.eye(coefficients, **exact)[-1:]
        return torch.cat([points[:, None] ** torch.arange(coefficients, device="cpu"), infinity])

    if tile == 1:
        # the definition: input v of the window meets tap T - 1 - v, and all products are summed
        inputs, phase_weight = None, torch.eye(window, **exact).flip(0)
        phase_outputs = torch.ones(1, window, **exact)
    else:
        # d and y run backwards (last input first), hence the two flips
        inputs = torch.linalg.inv(vandermonde(window)).t().flip(1).to(dtype)
        phase_weight, phase_outputs = vandermonde(taps), vandermonde(tile).t().flip(0)
    rows, columns, points = [], [], []
    for phase, point in itertools.product(range(stride), range(window)):
        # one phase reads every s-th tap and makes every s-th output of the tile; the rest is zero
        row = torch.zeros(kernel, **exact)
        row[phase::stride] = phase_weight[point, : len(row[phase::stride])]
        if not row.any():  # a phase that is one tap shorter has no leading coefficient, so no product at infinity
            continue
        column = torch.zeros(tile * stride, **exact)
        column[phase::stride] = phase_outputs[:, point]
        rows.append(row)
        columns.append(column)
        points.append(point)
    return TileMatrices(inputs, torch.stack(rows).to(dtype), torch.stack(columns, 1).to(dtype), points)


@dataclass(frozen=True)
class Grid:
    """Tiles of both axes: those of the height (rows) times those of the width (columns)."""

    rows: Axis
    columns: Axis

    @cached_property
    def product_points(self) -> list[int]:
        """Index of the point (rows x columns) that each product belongs to."""
        # the order of a Kronecker product: the products of the columns vary fastest
        rows, columns = (axis.matrices(torch.double).points for axis in (self.rows, self.columns))
        return [row * self.columns.window + column for row, column in itertools.product(rows, columns)]

    @cached_property
    def runs(self) -> list[tuple[slice, slice]]:
        """Consecutive products whose points are consecutive too: slices of the products and of the points.

        Each run is one batched matrix product of two slices; nothing has to be gathered.
        """
        points = self.product_points
        starts = [n for n, point in enumerate(points) if n == 0 or point != points[n - 1] + 1]
        ends = [*starts[1:], len(points)]
        return [(slice(a, b), slice(points[a], points[b - 1] + 1)) for a, b in zip(starts, ends, strict=True)]

    @cached_property
    def all_columns(self) -> slice:
        """Range of all tiles along the width."""
        return slice(0, self.columns.tiles)

    @property
    def tiles(self) -> int:
        """Number of tiles of one clip."""
        return self.rows.tiles * self.columns.tiles

    def chunks(self) -> list[slice]:
        """Rows of tiles to compute at a time, about `CHUNK_TILES` tiles each."""
        # first the number of chunks and then their size, so that all are about equally large
        step = -(-self.rows.tiles // -(-self.tiles // CHUNK_TILES))
        return [slice(n, min(n + step, self.rows.tiles)) for n in range(0, self.rows.tiles, step)]

    def channel_blocks(self, weight: Tensor) -> list[slice]:
        """Output channels to compute at a time, so that the transformed weight fits `WEIGHT_BLOCK_BYTES`.

        Args:
            weight: Weight of the layer, shape (channels, channels', *kernel).
        """
        channels = weight.shape[1]
        # output channels that fit; then the number of blocks, and the same aligned size for all but the last
        fitting = WEIGHT_BLOCK_BYTES // (len(self.product_points) * len(weight) * weight.element_size())
        count = -(-channels // max(fitting // ALIGNMENT * ALIGNMENT, ALIGNMENT))
        size = -(-channels // count // ALIGNMENT) * ALIGNMENT
        return [slice(start, min(start + size, channels)) for start in range(0, channels, size)]

    def clip_groups(self, batch: int) -> Iterator[range]:
        """Clips whose transformed inputs are held in memory together, about `SHARED_TILES` tiles."""
        size = max(SHARED_TILES // self.tiles, 1)
        for first in range(0, batch, size):
            yield range(first, min(first + size, batch))
