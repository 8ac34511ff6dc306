"""Transposed convolutions as PyTorch's, in parameters and result, but faster on a CPU.

PyTorch's compute what the definition says, and take several times longer where weights outnumber positions.
Here they are matrix products, made in one of two ways, whichever has less to do:

- Few positions, many weights: one product makes what each position gives to each tap, and a fold adds it up.
- Many positions: tile by tile, with fewer multiplications than the definition has (Toom and Cook's products
  of polynomials, known as Winograd's convolution). Rounding grows, to some 1e-6 of the largest value.

Where channels are too few to gain, on other devices and under autocast these layers are PyTorch's own, but
for two things that are slow there: the gradient of the weight in channels-last memory, and the way forward to
a single output channel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_POINTS = (0.0, 1.0, -1.0, 2.0, -0.5, 0.5, -2.0, 4.0, -0.25)
"""Where polynomials are evaluated besides infinity, in the order of use: small numbers round least."""
_TILES = (1, 2, 4)
_CHUNK = 320
"""Tiles or positions at a time: enough for products at full speed, few enough for the cache."""
_TOGETHER = 1024
"""Tiles for which the points are kept while going from block to block."""
_BLOCK = 96 << 20
"""Bytes of the weights' points at a time."""
_MULTIPLE = 16
"""What sides of a matrix should be a multiple of: others make products up to a third slower."""
_MOVE = 64
"""Multiply-adds in the time that one number takes from or to memory; measured, as is the next."""
_TORCH = 1.2
"""How much longer a multiply-add takes in PyTorch's own routines, which also write each weight twice."""


class Transposed2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` as matrix products."""

    def forward(self, hidden: Tensor, output_size: list[int] | None = None) -> Tensor:
        """See `nn.ConvTranspose2d`."""
        if _leave_to_torch(self, hidden):
            return super().forward(hidden, output_size)
        sizes: Any = (self.stride, self.padding, self.kernel_size, 2, self.dilation)
        extra = self._output_padding(hidden, output_size, *sizes)
        function, settings = _fastest(self, hidden, extra)
        result: Tensor = function.apply(hidden, self.weight, self.bias, settings)
        return result

    def rectified_mean(self, hidden: Tensor) -> Tensor:
        """Mean over the last axis of the ReLU of the result, which is not stored where that can be helped.

        Shape (batch, channels, height, width) in, (batch, channels', height') out.
        """
        if not _leave_to_torch(self, hidden):
            function, settings = _fastest(self, hidden, list(self.output_padding))
            if function is _Tiled:
                result: Tensor = function.apply(hidden, self.weight, self.bias, (settings[0], True))  # type: ignore[no-untyped-call]
                return result
        return F.relu(self(hidden), inplace=True).mean(-1)


class SingleOutputTransposed(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` (channels, 1, kernel) of stride 1, forward as a matrix product and a fold."""

    def __init__(self, channels: int, kernel: int | tuple[int, int], padding: int) -> None:
        super().__init__(channels, 1, kernel, stride=1, padding=padding)

    def forward(self, hidden: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Shape (batch, channels, height, width) in, (batch, 1, height', width') out."""
        if _leave_to_torch(self, hidden):
            return super().forward(hidden, output_size)
        padding = int(self.padding[0])
        result: Tensor = _SingleOutput.apply(hidden, self.weight, self.bias, padding)  # type: ignore[no-untyped-call]
        return result


def _leave_to_torch(layer: nn.ConvTranspose2d, hidden: Tensor) -> bool:
    if hidden.device.type != "cpu" or hidden.dtype != layer.weight.dtype or layer.bias is None:
        return True
    return torch.is_autocast_enabled("cpu")


def _fastest(layer: nn.ConvTranspose2d, hidden: Tensor, extra: list[int]) -> tuple[Any, Any]:
    """The function for these sizes, by their multiply-adds and moves, and its settings."""
    settings = (layer.stride, layer.padding, layer.dilation, True, extra, layer.groups)
    plain = layer.groups == 1 and layer.dilation == (1, 1) and hidden.dtype in (torch.float32, torch.float64)
    if not plain or hidden.dim() != 4 or not hidden.numel():
        return _Contiguous, settings
    shape = (len(hidden), layer.in_channels, layer.out_channels)
    sizes: Any = zip(layer.kernel_size, layer.stride, layer.padding, hidden.shape[2:], extra, strict=True)
    grid, cost = _best_grid(shape, tuple(sizes))
    if min(grid.rows.outputs, grid.columns.outputs) < 1:  # an error that is PyTorch's to raise
        return _Contiguous, settings
    taps = math.prod(layer.kernel_size)
    positions, pairs = hidden[:, 0].numel(), layer.in_channels * layer.out_channels
    product = positions * taps * pairs
    folded = product + _MOVE * taps * (2 * positions * layer.out_channels + pairs)
    if _TORCH * product + _MOVE * 4 * taps * pairs < min(folded, cost):
        return _Contiguous, settings
    if folded <= cost:
        return _Folded, (layer.stride, layer.padding, extra)
    return _Tiled, (grid, False)


def _clips(hidden: Tensor) -> tuple[Tensor, ...]:
    """As many clips at a time as make a product that is large enough."""
    return torch.split(hidden, max(_CHUNK // hidden[0, 0].numel(), 1))


def _side_by_side(values: Tensor) -> Tensor:
    """Clips (batch, channels, ...) to (channels, batch * positions), zeros up to a multiple of 16 positions."""
    matrix = values.flatten(2).transpose(0, 1).flatten(1)
    return F.pad(matrix, (0, -matrix.shape[1] % _MULTIPLE))


class _Contiguous(torch.autograd.Function):
    """PyTorch's own, but for the weight's gradient in channels-last memory, which takes thrice as long there."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, settings: Any) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.settings = settings
        stride, padding, dilation, _, extra, groups = settings
        return F.conv_transpose2d(hidden, weight, bias, stride, padding, extra, groups, dilation)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        hidden, weight = ctx.saved_tensors
        backward = torch.ops.aten.convolution_backward
        to_hidden = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_hidden = backward(gradient, hidden, weight, None, *ctx.settings, [True, False, False])[0]
        if ctx.needs_input_grad[1]:
            to_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
            for part in zip(gradient.split(1), hidden.split(1), strict=True):  # the copies of one clip at a time
                packed = (*(values.contiguous() for values in part), to_weight)
                to_weight += backward(*packed, None, *ctx.settings, [False, True, False])[1]
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum((0, 2, 3))
        return to_hidden, to_weight, to_bias, None


class _Folded(torch.autograd.Function):
    """One product for all taps, then a fold. The weight, which may be large, is read where it lies."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, settings: Any) -> Tensor:
        stride, padding, extra = settings
        ctx.save_for_backward(hidden, weight)
        ctx.fold = {"kernel_size": tuple(weight.shape[2:]), "stride": stride, "padding": padding}
        sizes = zip(hidden.shape[2:], weight.shape[2:], stride, padding, extra, strict=True)
        size = [(n - 1) * step - 2 * pad + kernel + more for n, kernel, step, pad, more in sizes]
        image = hidden.new_empty(len(hidden), weight.shape[1], *size)
        for part, target in zip(_clips(hidden), torch.split(image, len(_clips(hidden)[0])), strict=True):
            taps = weight.flatten(1).t() @ _side_by_side(part)
            taps = taps[:, : part[:, 0].numel()].view(len(taps), len(part), -1).transpose(0, 1)
            target.copy_(F.fold(taps, size, **ctx.fold))  # type: ignore[arg-type]  # stubs know no list
        return image.add_(bias[:, None, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Any) -> Any:
        hidden, weight = ctx.saved_tensors
        to_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        to_weight = None
        size = len(_clips(hidden)[0])
        for start in range(0, len(hidden), size):
            clips = slice(start, start + size)
            taps = _side_by_side(F.unfold(gradient[clips], **ctx.fold))
            if to_hidden is not None:
                part = to_hidden[clips].transpose(0, 1)
                part.copy_((weight.flatten(1) @ taps)[:, : part[0].numel()].view(part.shape))
            if ctx.needs_input_grad[1]:
                inputs = _side_by_side(hidden[clips])
                to_weight = inputs @ taps.t() if to_weight is None else to_weight.addmm_(inputs, taps.t())
        if to_weight is not None:
            to_weight = to_weight.view(weight.shape)
        return to_hidden, to_weight, gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None, None


class _Tiled(torch.autograd.Function):
    """Tile by tile, with fewer products; then the mean over the last axis of the ReLU, where asked for.

    `_Grid` and `_Axis` say how.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, settings: tuple[_Grid, bool]) -> Tensor:
        grid, mean = ctx.settings = settings
        size = (len(hidden), weight.shape[1], grid.rows.outputs, grid.columns.outputs)
        # of a mean only the signs are kept
        kind: Any = {"dtype": torch.bool if mean else hidden.dtype, "device": hidden.device}
        result = torch.empty(size, memory_format=torch.channels_last, **kind)
        means = hidden.new_empty(size[:3] if mean else 0)
        room = _Room(weight)
        for block, parts in grid.work(hidden, weight):
            spread = grid.spread(weight[:, block], room)
            for i, chunk, points in parts:
                products = hidden.new_empty(len(spread), points.shape[1], spread.shape[2])
                for of, at in grid.runs:
                    _multiply(points[at], spread[of], products[of])
                image, places = grid.image(products, chunk), grid.rows.places(chunk)
                target = result[i, block, places].permute(1, 2, 0)
                if not mean:
                    torch.add(image, bias[block], out=target)
                    continue
                image += bias[block]
                torch.gt(image, 0, out=target)
                means[i, block, places] = image.relu_().mean(1).t()
        ctx.save_for_backward(hidden, weight, *([result] if mean else []))
        return means if mean else result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Any) -> Any:
        hidden, weight, *positive = ctx.saved_tensors
        grid, mean = ctx.settings
        to_hidden = torch.zeros_like(hidden) if ctx.needs_input_grad[0] else None
        to_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        to_bias = torch.zeros_like(weight[0, :, 0, 0]) if ctx.needs_input_grad[2] else None
        kept: dict[tuple[int, int], Tensor] = {}  # from block to block
        room, other_room = _Room(weight), _Room(weight)
        for block, parts in grid.work(hidden, weight):
            spread = grid.spread(weight[:, block], room)
            to_spread = None if to_weight is None else other_room(*spread.shape).zero_()
            for i, chunk, points in parts:
                places = grid.rows.places(chunk)
                if mean:
                    image = gradient[i, block, places].t()[:, None] / grid.columns.outputs
                    image = image * positive[0][i, block, places].permute(1, 2, 0)
                else:
                    image = gradient[i, block, places].permute(1, 2, 0)
                if to_bias is not None:
                    to_bias[block] += image.sum((0, 1))
                to_products = grid.image_backward(image, chunk)
                if to_spread is not None:
                    for of, at in grid.runs:
                        _multiply(points[at].mT, to_products[of], to_spread[of], add=True)
                if to_hidden is not None:
                    to_points = kept.pop((i, chunk.start), None)
                    to_points = torch.zeros_like(points) if to_points is None else to_points
                    for of, at in grid.runs:
                        _multiply(to_products[of], spread[of].mT, to_points[at], add=True)
                    if block.stop < weight.shape[1]:
                        kept[i, chunk.start] = to_points
                    else:
                        grid.points_backward(to_points, to_hidden[i], chunk)
            if to_weight is not None and to_spread is not None:
                grid.spread_backward(to_spread, to_weight[:, block])
        return to_hidden, to_weight, to_bias, None


class _Room:
    """Memory that is used again, block after block: memory of that size is slow to get.

    Args:
        like: Has its type and device.
    """

    def __init__(self, like: Tensor) -> None:
        self.memory = like.new_empty(0)

    def __call__(self, *shape: int) -> Tensor:
        """A tensor there, with whatever was left in it."""
        size = math.prod(shape)
        if self.memory.numel() < size:
            self.memory = self.memory.new_empty(size)
        return self.memory[:size].view(shape)


def _multiply(one: Tensor, other: Tensor, result: Tensor, add: bool = False) -> None:
    """Products of matrices, shape (batch, ...) each, into ``result``, or added to it.

    A batch is dealt out to the threads matrix by matrix: where some would wait for others at its end, matrices
    are multiplied one at a time, by all threads together.
    """
    if len(result) % torch.get_num_threads() == 0:
        torch.baddbmm(result, one, other, beta=float(add), out=result)
        return
    for left, right, target in zip(one, other, result, strict=True):
        torch.addmm(target, left, right, beta=float(add), out=target)


@dataclass(frozen=True)
class _Axis:
    """One axis of a transposed convolution, in tiles.

    With a stride of s, the outputs between two inputs are s phases: each is an ordinary convolution of the
    inputs with every s-th tap. A tile is `tile` outputs of each phase, made of a window of tile + taps - 1
    inputs. Inputs and taps are polynomials; at as many points as the window is wide, infinity last, their
    products determine the outputs: tile + taps - 1 products instead of tile * taps. Phases that are a tap
    shorter have no product at infinity. A tile of 1 is the definition itself.
    """

    kernel: int
    stride: int
    padding: int
    size: int
    outputs: int
    tile: int

    @cached_property
    def window(self) -> int:
        """Inputs of a tile."""
        return self.tile + -(-self.kernel // self.stride) - 1

    @cached_property
    def first(self) -> int:
        """Input of the first output that is not cut away."""
        return self.padding // self.stride

    @cached_property
    def tiles(self) -> int:
        """How many it takes."""
        return -(-((self.outputs - 1 + self.padding) // self.stride + 1 - self.first) // self.tile)

    @property
    def span(self) -> int:
        """Outputs of a tile."""
        return self.tile * self.stride

    def matrices(self, dtype: torch.dtype) -> _Matrices:
        """What its tiles are multiplied by."""
        return _matrices(self.kernel, self.stride, self.tile, dtype)

    def inputs(self, chunk: slice) -> tuple[slice, slice, int]:
        """Which inputs some tiles use, where these lie in the padded ones, and how many the latter are."""
        start = self.first + chunk.start * self.tile - (self.window - self.tile)
        length = (chunk.stop - chunk.start) * self.tile + self.window - self.tile
        low = min(max(start, 0), self.size)
        high = max(min(start + length, self.size), low)
        return slice(low, high), slice(low - start, high - start), length

    def places(self, chunk: slice) -> slice:
        """Which outputs some tiles make."""
        cut = self.padding % self.stride
        return slice(max(chunk.start * self.span - cut, 0), min(chunk.stop * self.span - cut, self.outputs))

    def kept(self, chunk: slice) -> slice:
        """Where these lie in what the tiles make, of which some is cut away."""
        places, begin = self.places(chunk), chunk.start * self.span - self.padding % self.stride
        return slice(places.start - begin, places.stop - begin)


class _Matrices(NamedTuple):
    """Of one axis: from the window to points, from taps to products, from products to outputs."""

    window: Tensor | None
    taps: Tensor
    outputs: Tensor
    points: list[int]
    """Which point each product belongs to."""


@cache
def _matrices(kernel: int, stride: int, tile: int, dtype: torch.dtype) -> _Matrices:
    taps = -(-kernel // stride)
    width = tile + taps - 1
    real: Any = {"dtype": torch.double, "device": "cpu"}

    def evaluate(coefficients: int) -> Tensor:
        points = torch.tensor(_POINTS[: width - 1], **real)
        infinity = torch.eye(coefficients, **real)[-1:]
        return torch.cat([points[:, None] ** torch.arange(coefficients, device="cpu"), infinity])

    if tile == 1:
        window, of_taps, tile_of = None, torch.eye(width, **real).flip(0), torch.ones(1, width, **real)
    else:  # the transpose of the product of polynomials, which runs backwards over the window
        window = torch.linalg.inv(evaluate(width)).t().flip(1).to(dtype)
        of_taps, tile_of = evaluate(taps), evaluate(tile).t().flip(0)
    rows, columns, points = [], [], []
    for phase, point in itertools.product(range(stride), range(width)):
        row = torch.zeros(kernel, **real)
        row[phase::stride] = of_taps[point, : len(row[phase::stride])]
        if row.any():
            column = torch.zeros(tile * stride, **real)
            column[phase::stride] = tile_of[:, point]
            rows.append(row)
            columns.append(column)
            points.append(point)
    return _Matrices(window, torch.stack(rows).to(dtype), torch.stack(columns, 1).to(dtype), points)


@dataclass(frozen=True)
class _Grid:
    """The tiles of both axes. Inside, memory is (height, width, channels)."""

    rows: _Axis
    columns: _Axis

    @cached_property
    def point_of_product(self) -> list[int]:
        """Which point each product belongs to."""
        rows, columns = (axis.matrices(torch.double).points for axis in (self.rows, self.columns))
        return [row * self.columns.window + column for row, column in itertools.product(rows, columns)]

    @cached_property
    def runs(self) -> list[tuple[slice, slice]]:
        """Products in sequence of which the points are so too: which ones, and their points."""
        points = self.point_of_product
        starts = [n for n, point in enumerate(points) if n == 0 or point != points[n - 1] + 1]
        ends = [*starts[1:], len(points)]
        return [(slice(a, b), slice(points[a], points[b - 1] + 1)) for a, b in zip(starts, ends, strict=True)]

    @cached_property
    def all_columns(self) -> slice:
        """The tiles of a row."""
        return slice(0, self.columns.tiles)

    def work(self, hidden: Tensor, weight: Tensor) -> Iterator[tuple[slice, Iterable[tuple[int, slice, Tensor]]]]:
        """Which output channels to make at a time, and of what: clip, rows of tiles, points.

        In blocks of channels and chunks of tiles, as memory beyond some 32 MB is got afresh each time, at a
        tenth of the speed.
        """
        tiles = self.rows.tiles * self.columns.tiles
        step = -(-self.rows.tiles // -(-tiles // _CHUNK))
        chunks = [slice(n, min(n + step, self.rows.tiles)) for n in range(0, self.rows.tiles, step)]
        channels = weight.shape[1]
        fitting = _BLOCK // (len(self.point_of_product) * len(weight) * weight.element_size())
        blocks = -(-channels // max(fitting // _MULTIPLE * _MULTIPLE, _MULTIPLE))
        size = -(-channels // blocks // _MULTIPLE) * _MULTIPLE
        # where blocks share points these are kept, of few clips
        together = len(hidden) if blocks == 1 else max(_TOGETHER // tiles, 1)
        for first in range(0, len(hidden), together):
            clips = range(first, min(first + together, len(hidden)))
            parts: Any = ((i, chunk, self.points(hidden[i], chunk)) for i in clips for chunk in chunks)
            parts = list(parts) if blocks > 1 else parts
            for start in range(0, channels, size):
                yield slice(start, min(start + size, channels)), parts

    def spread(self, weight: Tensor, room: _Room) -> Tensor:
        """Shape (channels, channels', *kernel) to (products, channels, channels'), which lies in `room`."""
        of_taps = self._of_taps(weight)
        values = room(len(of_taps), weight[:, :, 0, 0].numel())
        torch.mm(of_taps, weight.reshape(-1, weight[0, 0].numel()).t(), out=values)
        return values.view(-1, *weight.shape[:2])

    def spread_backward(self, gradient: Tensor, target: Tensor) -> None:
        """The way back of `spread`, added to (channels, channels', *kernel)."""
        values = self._of_taps(gradient).t() @ gradient.flatten(1)
        target += values.view(*target.shape[2:], *target.shape[:2]).permute(2, 3, 0, 1)

    def _of_taps(self, like: Tensor) -> Tensor:
        return torch.kron(*(axis.matrices(like.dtype).taps for axis in (self.rows, self.columns)))

    def points(self, clip: Tensor, chunk: slice) -> Tensor:
        """Shape (channels, height, width) to (points, tiles, channels)."""
        rows, columns, (height, width, channels) = self._inputs(chunk, len(clip))
        padded = clip.new_zeros(height, width, channels)
        padded[rows[1], columns[1]] = clip[:, rows[0], columns[0]].permute(1, 2, 0)
        values = padded.unfold(0, self.rows.window, self.rows.tile).permute(3, 0, 1, 2)
        matrix = self.rows.matrices(clip.dtype).window
        if matrix is not None:
            values = (matrix @ values.flatten(1)).view(values.shape)
        values = values.unfold(2, self.columns.window, self.columns.tile).permute(0, 4, 1, 2, 3).flatten(2)
        matrix = self.columns.matrices(clip.dtype).window
        values = values if matrix is None else matrix @ values
        return values.reshape(self.rows.window * self.columns.window, -1, channels).contiguous()

    def points_backward(self, gradient: Tensor, target: Tensor, chunk: slice) -> None:
        """The way back of `points`, added to (channels, height, width)."""
        rows, columns, (height, width, channels) = self._inputs(chunk, len(target))
        matrix = self.columns.matrices(gradient.dtype).window
        values = gradient.view(self.rows.window, self.columns.window, -1)
        values = values if matrix is None else matrix.t() @ values
        values = values.view(self.rows.window, self.columns.window, -1, self.columns.tiles, channels)
        wide = gradient.new_zeros(self.rows.window, values.shape[2], width, channels)
        for j in range(self.columns.window):
            wide[:, :, j :: self.columns.tile][:, :, : self.columns.tiles] += values[:, j]
        matrix = self.rows.matrices(gradient.dtype).window
        values = wide if matrix is None else (matrix.t() @ wide.flatten(1)).view(wide.shape)
        padded = gradient.new_zeros(height, width, channels)
        for i in range(self.rows.window):
            padded[i :: self.rows.tile][: values.shape[1]] += values[i]
        target[:, rows[0], columns[0]] += padded[rows[1], columns[1]].permute(2, 0, 1)

    def _inputs(self, chunk: slice, channels: int) -> tuple[Any, Any, tuple[int, int, int]]:
        rows, columns = self.rows.inputs(chunk), self.columns.inputs(self.all_columns)
        return rows[:2], columns[:2], (rows[2], columns[2], channels)

    def image(self, products: Tensor, chunk: slice) -> Tensor:
        """Shape (products, tiles, channels') to (height', width', channels')."""
        of_rows, of_columns = (axis.matrices(products.dtype).outputs for axis in (self.rows, self.columns))
        values = of_rows @ products.view(of_rows.shape[1], -1)
        values = of_columns @ values.view(len(of_rows), of_columns.shape[1], -1)
        values = values.unflatten(2, (-1, self.columns.tiles, products.shape[2]))  # type: ignore[no-untyped-call]
        whole: Tensor = values.permute(2, 0, 3, 1, 4).flatten(0, 1).flatten(1, 2)
        return whole[self.rows.kept(chunk), self.columns.kept(self.all_columns)]

    def image_backward(self, image: Tensor, chunk: slice) -> Tensor:
        """The way back of `image`."""
        of_rows, of_columns = (axis.matrices(image.dtype).outputs for axis in (self.rows, self.columns))
        count, channels = chunk.stop - chunk.start, image.shape[2]
        whole = image.new_zeros(count * len(of_rows), self.columns.tiles * len(of_columns), channels)
        whole[self.rows.kept(chunk), self.columns.kept(self.all_columns)] = image
        whole = whole.view(count, len(of_rows), self.columns.tiles, len(of_columns), channels)
        values = of_columns.t() @ whole.permute(1, 3, 0, 2, 4).flatten(2)
        values = of_rows.t() @ values.flatten(1)
        return values.view(len(self.point_of_product), -1, channels)


@lru_cache
def _best_grid(
    shape: tuple[int, int, int], sizes: tuple[tuple[int, int, int, int, int], ...]
) -> tuple[_Grid, float]:
    """The tiles with least to do, and how much that is."""
    batch, channels, outputs = shape
    axes = []
    for kernel, stride, padding, size, extra in sizes:
        made = (size - 1) * stride - 2 * padding + kernel + extra
        options = [_Axis(kernel, stride, padding, size, made, tile) for tile in _TILES]
        axes.append([axis for axis in options if axis.tile == 1 or axis.window <= len(_POINTS) + 1])
    best: tuple[_Grid, float] | None = None
    for grid in itertools.starmap(_Grid, itertools.product(*axes)):
        tiles, products = batch * grid.rows.tiles * grid.columns.tiles, len(grid.point_of_product)
        made = grid.rows.span * grid.columns.span
        kernel = grid.rows.kernel * grid.columns.kernel
        moved = tiles * (2 * grid.rows.window * grid.columns.window * channels + 2 * (products + made) * outputs)
        moved += channels * outputs * (kernel + 2 * products)
        cost = tiles * products * channels * outputs + _MOVE * moved
        if best is None or cost < best[1]:
            best = grid, cost
    assert best is not None
    return best


class _SingleOutput(torch.autograd.Function):
    """One channel is made of taps, which are added up."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.padding = padding
        height, width = hidden.shape[-2:]
        kernel = weight.shape[-2:]
        size = (height + kernel[0] - 1 - 2 * padding, width + kernel[1] - 1 - 2 * padding)
        image = hidden.new_empty(len(hidden), 1, *size)
        for i, clip in enumerate(hidden):  # one at a time: the taps of a clip take half as much as all channels
            taps = clip.permute(1, 2, 0).reshape(height * width, -1) @ weight.flatten(1)
            image[i] = F.fold(taps.t()[None], size, kernel, padding=padding)[0]
        return image.add_(bias)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        hidden, weight = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        gradients = torch.ops.aten.convolution_backward(
            gradient, hidden, weight, [1], [1, 1], [ctx.padding] * 2, [1, 1], True, [0, 0], 1, wanted
        )
        return (*gradients, None)
