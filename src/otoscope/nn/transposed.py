"""Transposed convolutions as PyTorch's, in parameters and result, but faster on a CPU.

The general routines are slow there in two places: the gradient of the weight in channels-last memory (a
third of the speed of everything else), and the way forward to a single output channel. Elsewhere, and
under autocast, these layers are PyTorch's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Transposed2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` whose weight gradient is computed in contiguous memory."""

    def forward(self, hidden: Tensor, output_size: list[int] | None = None) -> Tensor:
        """See `nn.ConvTranspose2d`."""
        if _leave_to_torch(self, hidden):
            return super().forward(hidden, output_size)
        sizes: Any = (self.stride, self.padding, self.kernel_size, 2, self.dilation)
        extra = self._output_padding(hidden, output_size, *sizes)
        settings = (self.stride, self.padding, self.dilation, True, extra, self.groups)
        result: Tensor = _Transposed.apply(hidden, self.weight, self.bias, settings)  # type: ignore[no-untyped-call]
        return result


class SingleOutputTransposed(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` (channels, 1, kernel) of stride 1, forward as a matrix product and a fold."""

    def __init__(self, channels: int, kernel: int, padding: int) -> None:
        super().__init__(channels, 1, kernel, stride=1, padding=padding)

    def forward(self, hidden: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Shape (batch, channels, height, width) in, (batch, 1, height', width') out."""
        if _leave_to_torch(self, hidden):
            return super().forward(hidden, output_size)
        padding = int(self.padding[0])
        result: Tensor = _Folded.apply(hidden, self.weight, self.bias, padding)  # type: ignore[no-untyped-call]
        return result


def _leave_to_torch(layer: nn.ConvTranspose2d, hidden: Tensor) -> bool:
    if hidden.device.type != "cpu" or hidden.dtype != layer.weight.dtype or layer.bias is None:
        return True
    return torch.is_autocast_enabled("cpu")


class _Transposed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, settings: Any) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.settings = settings
        stride, padding, dilation, _, extra, groups = settings
        return nn.functional.conv_transpose2d(hidden, weight, bias, stride, padding, extra, groups, dilation)

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
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.padding = padding
        height, width = hidden.shape[-2:]
        kernel = weight.shape[-1]
        size = (height + kernel - 1 - 2 * padding, width + kernel - 1 - 2 * padding)
        image = hidden.new_empty(len(hidden), 1, *size)
        for i, clip in enumerate(hidden):  # one at a time: the taps of a clip take half as much as all channels
            taps = clip.permute(1, 2, 0).reshape(height * width, -1) @ weight.flatten(1)
            image[i] = nn.functional.fold(taps.t()[None], size, kernel, padding=padding)[0]
        return image.add_(bias)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        hidden, weight = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        gradients = torch.ops.aten.convolution_backward(
            gradient, hidden, weight, [1], [1, 1], [ctx.padding] * 2, [1, 1], True, [0, 0], 1, wanted
        )
        return (*gradients, None)
