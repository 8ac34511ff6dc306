"""Forward pass of transposed convolutions: folded, tiled, and to a single output channel.

Each function computes what `torch.nn.functional.conv_transpose2d` does, on float32 or float64 tensors on a CPU.
The tiled way follows the three steps of `otoscope.nn.transposed.geometry`: transform inputs and weight to the
points, multiply there, transform the products to outputs. Inside, memory is ordered (height, width, channels).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from otoscope.nn.products import product
from otoscope.nn.transposed import geometry
from otoscope.nn.transposed.geometry import Grid
from otoscope.nn.transposed.scratch import Buffer, multiply, side_by_side

_SINGLE_POSITIONS = 8192
"""Positions of a layer of one output channel that are computed at a time."""

# folded ------------------------------------------------------------------------------------------------------


def clips_at_a_time(hidden: Tensor) -> int:
    """Clips whose positions together make a matrix product that is large enough."""
    return max(geometry.CHUNK_TILES // hidden[0, 0].numel(), 1)


def folded(hidden: Tensor, weight: Tensor, bias: Tensor, extra: list[int], fold: dict[str, Any]) -> Tensor:
    """Compute by one matrix product and a fold.

    The product of weight (channels' * taps, channels) and inputs (channels, positions) is what each position
    gives to each tap; `F.fold` adds these at the outputs where they belong. The weight, which may be large, is read
    where it lies.

    Args:
        hidden: Inputs, shape (batch, channels, height, width).
        weight: Weight, shape (channels, channels', *kernel).
        bias: Bias, shape (channels',).
        extra: Output padding of both axes.
        fold: ``kernel_size``, ``stride`` and ``padding``, two numbers each.
    """
    axes = zip(hidden.shape[2:], fold["kernel_size"], fold["stride"], fold["padding"], extra, strict=True)
    # outputs of a transposed convolution without dilation, see `nn.ConvTranspose2d`
    size = [(n - 1) * stride - 2 * padding + kernel + more for n, kernel, stride, padding, more in axes]
    image = hidden.new_empty(len(hidden), weight.shape[1], *size)
    count = clips_at_a_time(hidden)
    for part, target in zip(hidden.split(count), image.split(count), strict=True):  # type: ignore[no-untyped-call]
        taps = weight.flatten(1).t() @ side_by_side(part)
        # without the columns that only fill up the matrix, and back to one matrix per clip
        taps = taps[:, : part[:, 0].numel()].view(len(taps), len(part), -1).transpose(0, 1)
        target.copy_(F.fold(taps, size, **fold))  # type: ignore[arg-type]  # stubs know no list
    return image.add_(bias[:, None, None])


def single_output(hidden: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """Compute a layer of one output channel and stride 1 by a matrix product and a fold.

    PyTorch's routine is slow here, since one output channel leaves it nothing to vectorise over.
    """
    height, width = hidden.shape[-2:]
    kernel = weight.shape[-2:]
    matrix = weight.flatten(1)
    image = hidden.new_zeros(len(hidden), 1, height + kernel[0] - 1, width + kernel[1] - 1)
    # few rows at a time: their taps are transposed for the fold, which is slow outside the cache
    step = max(_SINGLE_POSITIONS // width, 1)
    for clip, target in zip(hidden, image, strict=True):
        for start in range(0, height, step):
            rows = clip[:, start : start + step]
            taps = product(rows.permute(1, 2, 0).reshape(rows[0].numel(), -1), matrix)
            size = (rows.shape[1] + kernel[0] - 1, image.shape[-1])
            target[:, start : start + size[0]] += F.fold(taps.t()[None], size, kernel)[0]
    cut = image[..., padding : image.shape[2] - padding, padding : image.shape[3] - padding]
    return cut + bias


# tiled -------------------------------------------------------------------------------------------------------


def tiled(
    hidden: Tensor, weight: Tensor, bias: Tensor, grid: Grid, mean: bool, signs: bool = True
) -> tuple[Tensor, Tensor]:
    """Compute tile by tile; optionally continue with the mean of the ReLU over the width.

    Args:
        hidden: Inputs, shape (batch, channels, height, width).
        weight: Weight, shape (channels, channels', *kernel).
        bias: Bias, shape (channels',).
        grid: Tiles.
        mean: Return means of the rectified outputs instead of the outputs, which then never exist as a whole.
        signs: With `mean`, return which outputs are positive; else that tensor is uninitialised.

    Returns:
        The outputs, shape (batch, channels', height', width'), and an empty tensor; with `mean` which outputs are
        positive (all that the gradient needs), same shape, and the means, shape (batch, channels', height').
    """
    size = (len(hidden), weight.shape[1], grid.rows.outputs, grid.columns.outputs)
    kind: Any = {"dtype": torch.bool if mean else hidden.dtype, "device": hidden.device}
    result = torch.empty(size, memory_format=torch.channels_last, **kind)
    means = hidden.new_empty(size[:3] if mean else 0)
    buffer, product_buffer = Buffer(weight), Buffer(hidden)
    for block, parts in blocks_of_work(grid, hidden, weight):
        block_weight = weight_transform(grid, weight[:, block], buffer)
        for clip, chunk, inputs in parts:
            # the steps of a tile: products at the points, transform to outputs, bias
            products = product_buffer(len(block_weight), inputs.shape[1], block_weight.shape[2])
            for run, points in grid.runs:
                multiply(inputs[points], block_weight[run], products[run])
            image, rows = output_transform(grid, products, chunk), grid.rows.output_slice(chunk)
            target = result[clip, block, rows].permute(1, 2, 0)
            if not mean:
                torch.add(image, bias[block], out=target)
                continue
            image += bias[block]
            # the gradient of the ReLU needs the signs alone; recorded first, since `relu_` overwrites the image
            if signs:
                torch.gt(image, 0, out=target)
            means[clip, block, rows] = image.relu_().mean(1).t()
    return result, means


def blocks_of_work(
    grid: Grid, hidden: Tensor, weight: Tensor
) -> Iterator[tuple[slice, Iterable[tuple[int, slice, Tensor]]]]:
    """Divide the work into blocks of output channels and chunks of tiles that keep scratch tensors small.

    Memory beyond some 32 MB is fetched from the system anew each time, at a tenth of the speed. If there are
    several blocks, they share the transformed inputs, which are then held for a group of clips.

    Yields:
        Output channels, and their parts: clip, rows of tiles, transformed inputs.
    """
    blocks, chunks = grid.channel_blocks(weight), grid.chunks()
    groups = [range(len(hidden))] if len(blocks) == 1 else grid.clip_groups(len(hidden))
    for clips in groups:
        # a single block uses each transformed input once, so a generator makes it just in time
        parts: Any = ((i, chunk, input_transform(grid, hidden[i], chunk)) for i in clips for chunk in chunks)
        parts = list(parts) if len(blocks) > 1 else parts
        for block in blocks:
            yield block, parts


def kronecker_weight(grid: Grid, like: Tensor) -> Tensor:
    """Weight transform of both axes in one matrix, shape (products, taps of the kernel)."""
    # a Kronecker product applies its first factor along the height and its second along the width
    return torch.kron(*(axis.matrices(like.dtype).weight for axis in (grid.rows, grid.columns)))


def weight_transform(grid: Grid, weight: Tensor, buffer: Buffer) -> Tensor:
    """Transform (channels, channels', *kernel) to (products, channels, channels') in `buffer`."""
    matrix = kronecker_weight(grid, weight)
    values = buffer(len(matrix), weight[:, :, 0, 0].numel())
    torch.mm(matrix, weight.reshape(-1, weight[0, 0].numel()).t(), out=values)
    return values.view(-1, *weight.shape[:2])


def input_transform(grid: Grid, clip: Tensor, chunk: slice) -> Tensor:
    """Transform the inputs (channels, height, width) of rows of tiles to (points, tiles, channels)."""
    rows, columns = grid.rows, grid.columns
    row_inputs, padded_rows, height = rows.input_slices(chunk)
    column_inputs, padded_columns, width = columns.input_slices(grid.all_columns)
    # the windows at both ends reach beyond the inputs, where they read zeros
    padded = clip.new_zeros(height, width, len(clip))
    padded[padded_rows, padded_columns] = clip[:, row_inputs, column_inputs].permute(1, 2, 0)
    # windows overlap by T - 1 inputs: first (window, tiles, width, channels), transformed along the window ...
    values = padded.unfold(0, rows.window, rows.tile).permute(3, 0, 1, 2)
    matrix = rows.matrices(clip.dtype).inputs
    if matrix is not None:
        values = (matrix @ values.flatten(1)).view(values.shape)
    # ... then the same along the width: (window, window', tiles * tiles' * channels)
    values = values.unfold(2, columns.window, columns.tile).permute(0, 4, 1, 2, 3).flatten(2)
    matrix = columns.matrices(clip.dtype).inputs
    values = values if matrix is None else matrix @ values
    return values.reshape(rows.window * columns.window, -1, len(clip)).contiguous()


def output_transform(grid: Grid, products: Tensor, chunk: slice) -> Tensor:
    """Transform (products, tiles, channels') to the outputs (height', width', channels') of rows of tiles."""
    row_matrix, column_matrix = (axis.matrices(products.dtype).outputs for axis in (grid.rows, grid.columns))
    # products lie as (row products, column products, tiles, channels'), so each matrix acts on an axis of its own
    values = row_matrix @ products.view(row_matrix.shape[1], -1)
    values = column_matrix @ values.view(len(row_matrix), column_matrix.shape[1], -1)
    values = values.unflatten(2, (-1, grid.columns.tiles, products.shape[2]))  # type: ignore[no-untyped-call]
    # (outputs of a tile, outputs', tiles, tiles', channels') interleaved to an image, then cut by the padding
    whole: Tensor = values.permute(2, 0, 3, 1, 4).flatten(0, 1).flatten(1, 2)
    return whole[grid.rows.valid_slice(chunk), grid.columns.valid_slice(grid.all_columns)]
