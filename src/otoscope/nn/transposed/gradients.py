"""Gradients of the transposed convolutions in `otoscope.nn.transposed.forward`, written by hand.

Automatic differentiation would store every intermediate tensor of every tile. All steps are linear in the inputs
and in the weight, so their gradients are the transposed matrices in reverse order: with ``Y = O [(W w) * (I d)]``
(output, weight and input transform) and the gradient G of Y,

- of the products: ``P = O^T G``;
- of the weight: ``W^T [P * (I d)]``, summed over tiles and clips;
- of the inputs: ``I^T [P * (W w)]``, where overlapping windows add up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from otoscope.nn.transposed.forward import (
    blocks_of_work,
    clips_at_a_time,
    kronecker_weight,
    weight_transform,
)
from otoscope.nn.transposed.geometry import Grid
from otoscope.nn.transposed.scratch import Buffer, multiply, side_by_side

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Gradients of inputs, weight and bias; None where none is wanted."""


def torch_gradients(
    gradient: Tensor, hidden: Tensor, weight: Tensor, settings: tuple[Any, ...], wanted: tuple[bool, ...]
) -> Gradients:
    """PyTorch's own gradients, with that of the weight in contiguous memory.

    In channels-last memory PyTorch takes three times as long for the gradient of the weight.

    Args:
        gradient: Gradient of the outputs, shape (batch, channels', height', width').
        hidden: Inputs, shape (batch, channels, height, width).
        weight: Weight, shape (channels, channels', *kernel).
        settings: Stride, padding, dilation, transposed, output padding and groups of ``aten.convolution_backward``.
        wanted: Whether the inputs, the weight and the bias need a gradient.
    """
    backward = torch.ops.aten.convolution_backward
    to_hidden = to_weight = None
    if wanted[0]:
        to_hidden = backward(gradient, hidden, weight, None, *settings, [True, False, False])[0]
    if wanted[1]:
        to_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        # copies of one clip at a time, to bound the memory
        for pair in zip(gradient.split(1), hidden.split(1), strict=True):  # type: ignore[no-untyped-call]
            contiguous = (*(values.contiguous() for values in pair), to_weight)
            to_weight += backward(*contiguous, None, *settings, [False, True, False])[1]
    return to_hidden, to_weight, gradient.sum((0, 2, 3)) if wanted[2] else None


def folded_gradients(
    gradient: Tensor, hidden: Tensor, weight: Tensor, fold: dict[str, Any], wanted: tuple[bool, ...]
) -> Gradients:
    """Gradients of `folded`: a fold goes backward as an unfold, a product as two products.

    Args:
        gradient: Gradient of the outputs, shape (batch, channels', height', width').
        hidden: Inputs, shape (batch, channels, height, width).
        weight: Weight, shape (channels, channels', *kernel).
        fold: ``kernel_size``, ``stride`` and ``padding``, two numbers each.
        wanted: Whether the inputs, the weight and the bias need a gradient.
    """
    to_hidden = torch.empty_like(hidden) if wanted[0] else None
    to_weight = None
    size = clips_at_a_time(hidden)
    for start in range(0, len(hidden), size):
        clips = slice(start, start + size)
        taps = side_by_side(F.unfold(gradient[clips], **fold))
        if to_hidden is not None:
            # the product has channels before clips, hence the transposed view of the result
            part = to_hidden[clips].transpose(0, 1)
            part.copy_((weight.flatten(1) @ taps)[:, : part[0].numel()].view(part.shape))
        if wanted[1]:
            # the inner dimension of this product runs over clips and positions, so it sums over both
            inputs = side_by_side(hidden[clips])
            to_weight = inputs @ taps.t() if to_weight is None else to_weight.addmm_(inputs, taps.t())
    if to_weight is not None:
        to_weight = to_weight.view(weight.shape)
    return to_hidden, to_weight, gradient.sum((0, 2, 3)) if wanted[2] else None


class TiledGradients:
    """Gradients of `tiled`; `compute` returns them.

    Args:
        gradient: Gradient of the outputs, shape (batch, channels', height', width'), or of their means.
        hidden: Inputs, shape (batch, channels, height, width).
        weight: Weight, shape (channels, channels', *kernel).
        positive: With means: which outputs are positive. None: there were no means.
        grid: Tiles.
        wanted: Whether the inputs, the weight and the bias need a gradient.
    """

    def __init__(
        self,
        gradient: Tensor,
        hidden: Tensor,
        weight: Tensor,
        positive: Tensor | None,
        grid: Grid,
        wanted: tuple[bool, ...],
    ) -> None:
        self.gradient, self.hidden, self.weight = gradient, hidden, weight
        self.positive, self.grid = positive, grid
        self.to_hidden = torch.zeros_like(hidden) if wanted[0] else None
        self.to_weight = torch.zeros_like(weight) if wanted[1] else None
        self.to_bias = torch.zeros_like(weight[0, :, 0, 0]) if wanted[2] else None
        # gradients of transformed inputs, to which every block of output channels adds
        self.to_inputs: dict[tuple[int, int], Tensor] = {}

    def compute(self) -> Gradients:
        """Run through the same blocks and chunks as the forward pass."""
        weight_buffer, gradient_buffer = Buffer(self.weight), Buffer(self.weight)
        for block, parts in blocks_of_work(self.grid, self.hidden, self.weight):
            weight = weight_transform(self.grid, self.weight[:, block], weight_buffer)
            to_block = None if self.to_weight is None else gradient_buffer(*weight.shape).zero_()
            for clip, chunk, inputs in parts:
                to_products = self._to_products(clip, block, chunk)
                if to_block is not None:
                    for run, points in self.grid.runs:
                        # products = inputs @ weight, so the gradient of the weight is inputs^T @ gradient, here
                        # summed over tiles, chunks and clips
                        multiply(inputs[points].mT, to_products[run], to_block[run], add=True)
                if self.to_hidden is not None:
                    self._add_inputs(clip, block, chunk, to_products, weight, inputs)
            # the transform is linear: one transform of the sum instead of one for each chunk
            if self.to_weight is not None and to_block is not None:
                weight_transform_backward(self.grid, to_block, self.to_weight[:, block])
        return self.to_hidden, self.to_weight, self.to_bias

    def _to_products(self, clip: int, block: slice, chunk: slice) -> Tensor:
        """Gradient of the products of one chunk; adds to that of the bias on the way."""
        rows = self.grid.rows.output_slice(chunk)
        if self.positive is None:
            image = self.gradient[clip, block, rows].permute(1, 2, 0)
        else:  # the mean spreads evenly, the ReLU passes where the output was positive
            image = self.gradient[clip, block, rows].t()[:, None] / self.grid.columns.outputs
            image = image * self.positive[clip, block, rows].permute(1, 2, 0)
        if self.to_bias is not None:
            self.to_bias[block] += image.sum((0, 1))
        return output_transform_backward(self.grid, image, chunk)

    def _add_inputs(
        self, clip: int, block: slice, chunk: slice, to_products: Tensor, weight: Tensor, inputs: Tensor
    ) -> None:
        """Add this block's share to the gradient of the transformed inputs; transform back after the last block."""
        to_inputs = self.to_inputs.pop((clip, chunk.start), None)
        to_inputs = torch.zeros_like(inputs) if to_inputs is None else to_inputs
        for run, points in self.grid.runs:
            # products = inputs @ weight, so the gradient of the inputs is gradient @ weight^T
            multiply(to_products[run], weight[run].mT, to_inputs[points], add=True)
        # linear as well: the sum over all blocks is transformed back once
        if block.stop < self.weight.shape[1]:
            self.to_inputs[clip, chunk.start] = to_inputs
        elif self.to_hidden is not None:
            input_transform_backward(self.grid, to_inputs, self.to_hidden[clip], chunk)


def weight_transform_backward(grid: Grid, gradient: Tensor, target: Tensor) -> None:
    """Transpose of `weight_transform`, added to `target` of shape (channels, channels', *kernel)."""
    values = kronecker_weight(grid, gradient).t() @ gradient.flatten(1)
    target += values.view(*target.shape[2:], *target.shape[:2]).permute(2, 3, 0, 1)


def input_transform_backward(grid: Grid, gradient: Tensor, target: Tensor, chunk: slice) -> None:
    """Transpose of `input_transform`, added to `target` of shape (channels, height, width)."""
    rows, columns, channels = grid.rows, grid.columns, len(target)
    row_inputs, padded_rows, height = rows.input_slices(chunk)
    column_inputs, padded_columns, width = columns.input_slices(grid.all_columns)
    # the steps of the forward pass in reverse order: first the width, then the height
    matrix = columns.matrices(gradient.dtype).inputs
    values = gradient.view(rows.window, columns.window, -1)
    values = values if matrix is None else matrix.t() @ values
    values = values.view(rows.window, columns.window, -1, columns.tiles, channels)
    # cutting windows out goes backward as adding them up where they overlap, here along the width ...
    wide = gradient.new_zeros(rows.window, values.shape[2], width, channels)
    for j in range(columns.window):
        wide[:, :, j :: columns.tile][:, :, : columns.tiles] += values[:, j]
    matrix = rows.matrices(gradient.dtype).inputs
    values = wide if matrix is None else (matrix.t() @ wide.flatten(1)).view(wide.shape)
    # ... and here along the height
    padded = gradient.new_zeros(height, width, channels)
    for i in range(rows.window):
        padded[i :: rows.tile][: values.shape[1]] += values[i]
    # zeros beyond both ends were no inputs, so what they receive is dropped
    target[:, row_inputs, column_inputs] += padded[padded_rows, padded_columns].permute(2, 0, 1)


def output_transform_backward(grid: Grid, image: Tensor, chunk: slice) -> Tensor:
    """Transpose of `output_transform`: (height', width', channels') to (products, tiles, channels')."""
    row_matrix, column_matrix = (axis.matrices(image.dtype).outputs for axis in (grid.rows, grid.columns))
    count, channels = chunk.stop - chunk.start, image.shape[2]
    # outputs that the padding cuts off have the gradient zero
    whole = image.new_zeros(count * len(row_matrix), grid.columns.tiles * len(column_matrix), channels)
    whole[grid.rows.valid_slice(chunk), grid.columns.valid_slice(grid.all_columns)] = image
    whole = whole.view(count, len(row_matrix), grid.columns.tiles, len(column_matrix), channels)
    values = column_matrix.t() @ whole.permute(1, 3, 0, 2, 4).flatten(2)
    values = row_matrix.t() @ values.flatten(1)
    return values.view(len(grid.product_points), -1, channels)
