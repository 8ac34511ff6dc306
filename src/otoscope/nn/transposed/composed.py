"""Two transposed convolutions in sequence, computed as the single linear map that they are.

Used for the last two layers of L-MAC's published decoder. It interprets a clip of 5 s 1.26 times as fast with it,
and makes a training step of two clips 1.2 times as fast (CPU seconds, one thread, medians of 7 pairs or more).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def composed(hidden: Tensor, first: nn.ConvTranspose2d, second: nn.ConvTranspose2d) -> Tensor:
    """Apply two transposed convolutions without a nonlinearity between them as one matrix product and a fold.

    Convolutions compose to a convolution, whose kernel is that of the first with each tap spread by the second. If
    the second makes one output channel, the composed layer needs far fewer products than the first alone, and the
    intermediate map never exists. Only the padding of the first layer does not compose: it cuts off positions that
    the composed layer still spreads. They reach the outermost bins alone, where their part is subtracted.

    Args:
        hidden: Inputs, shape (batch, channels, time, frequency).
        first: Any layer without output padding, whose padding in frequency is less than its kernel there.
        second: Layer of one output channel, kernel and stride of 1 in time, and no padding; its kernel in frequency
            is at most one longer than its stride.

    Returns:
        Outputs, shape (batch, time', frequency').
    """
    rows, columns = first.kernel_size
    stride, padding = first.stride[1], int(first.padding[1])
    second_columns, second_stride = second.kernel_size[1], second.stride[1]
    taps = second.weight[:, 0, 0]
    # pairs[i, r, k, m]: from input channel i through tap (r, k) of the first and tap m of the second layer; in the
    # composed kernel it lies at position k * stride + m
    pairs = torch.einsum("icrk,cm->irkm", first.weight, taps)
    kernel = pairs.new_zeros(*pairs.shape[:2], (columns - 1) * second_stride + second_columns)
    for column in range(columns):
        start = second_stride * column
        kernel = kernel + F.pad(pairs[:, :, column], (start, kernel.shape[-1] - start - second_columns))
    products = kernel.flatten(1).t() @ hidden.flatten(2)
    height, width = hidden.shape[-2:]
    first_width = (width - 1) * stride - 2 * padding + columns
    first_height = (height - 1) * first.stride[0] - 2 * int(first.padding[0]) + rows
    size = [first_height, (first_width - 1) * second_stride + second_columns]
    fold = {
        "stride": (first.stride[0], stride * second_stride),
        "padding": (first.padding[0], padding * second_stride),
    }
    decoded = F.fold(products, size, (rows, kernel.shape[-1]), **fold)[:, 0]  # type: ignore[arg-type]
    if second_columns > second_stride and padding > 0:
        # the last position cut off below reaches bin 0 by its last tap, the first position cut off above reaches
        # the top bin by its first tap
        low = _row_of_positions(hidden, pairs[..., -1], first, padding - 1)
        high = _row_of_positions(hidden, pairs[..., 0], first, padding + first_width)
        decoded = decoded - F.pad(low[..., None], (0, size[1] - 1)) - F.pad(high[..., None], (size[1] - 1, 0))
    assert first.bias is not None
    assert second.bias is not None
    # the first bias is constant over the intermediate map, not over the outputs, where the second's taps overlap
    ones = first.bias.new_ones(1, 1, first_width)
    level = F.conv_transpose1d(ones, (first.bias @ taps)[None, None], stride=second_stride)
    return decoded + level[0] + second.bias


def _row_of_positions(hidden: Tensor, weight: Tensor, layer: nn.ConvTranspose2d, position: int) -> Tensor:
    """Compute a transposed convolution at one position in frequency, for all times.

    Args:
        hidden: Inputs, shape (batch, channels, time, frequency).
        weight: Weight to a single output channel, shape (channels, kernel in time, kernel in frequency).
        layer: Layer whose strides and padding apply.
        position: Position in frequency, counted before the padding is cut off.

    Returns:
        Outputs, shape (batch, time').
    """
    total: Tensor | None = None
    for tap in range(position % layer.stride[1], weight.shape[-1], layer.stride[1]):
        column = (position - tap) // layer.stride[1]
        if not 0 <= column < hidden.shape[-1]:
            continue
        part = F.conv_transpose1d(
            hidden[..., column], weight[:, None, :, tap], stride=layer.stride[0], padding=int(layer.padding[0])
        )[:, 0]
        total = part if total is None else total + part
    assert total is not None
    return total
