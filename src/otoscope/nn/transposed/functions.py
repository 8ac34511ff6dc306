"""Autograd functions that join each forward pass to its gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from otoscope.nn.transposed.forward import folded, single_output, tiled
from otoscope.nn.transposed.geometry import Grid
from otoscope.nn.transposed.gradients import TiledGradients, folded_gradients, torch_gradients


class TorchTransposed(torch.autograd.Function):
    """PyTorch's own routine, but for the weight's gradient in channels-last memory."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, settings: Any) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.settings = settings
        stride, padding, dilation, _, extra, groups = settings
        return F.conv_transpose2d(hidden, weight, bias, stride, padding, extra, groups, dilation)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        hidden, weight = ctx.saved_tensors
        return (*torch_gradients(gradient, hidden, weight, ctx.settings, ctx.needs_input_grad[:3]), None)


class FoldedTransposed(torch.autograd.Function):
    """One matrix product for all taps, then a fold."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, settings: Any) -> Tensor:
        stride, padding, extra = settings
        ctx.save_for_backward(hidden, weight)
        # the backward pass unfolds the gradient with the same geometry
        ctx.fold = {"kernel_size": tuple(weight.shape[2:]), "stride": stride, "padding": padding}
        return folded(hidden, weight, bias, extra, ctx.fold)

    @staticmethod
    # the gradients below have no gradient themselves: a second derivative raises an error instead of being wrong
    @once_differentiable
    def backward(ctx: Any, gradient: Any) -> Any:
        hidden, weight = ctx.saved_tensors
        return (*folded_gradients(gradient, hidden, weight, ctx.fold, ctx.needs_input_grad[:3]), None)


class TiledTransposed(torch.autograd.Function):
    """Toom-Cook tiles; then the mean over the last axis of the ReLU, where asked for."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, settings: tuple[Grid, bool]) -> Tensor:
        grid, mean = ctx.settings = settings
        result, means = tiled(hidden, weight, bias, grid, mean)
        # with the mean, `result` holds the signs of the outputs: one byte each, and enough for the gradient
        ctx.save_for_backward(hidden, weight, *([result] if mean else []))
        return means if mean else result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Any) -> Any:
        hidden, weight, *positive = ctx.saved_tensors
        grid, mean = ctx.settings
        wanted = ctx.needs_input_grad[:3]
        job = TiledGradients(gradient, hidden, weight, positive[0] if mean else None, grid, wanted)
        return (*job.compute(), None)


class SingleOutput(torch.autograd.Function):
    """One output channel by product and fold; the gradients are PyTorch's, which are fast."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.padding = padding
        return single_output(hidden, weight, bias, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        hidden, weight = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        # sizes of the bias, stride, padding, dilation, transposed, output padding, groups, gradients to compute
        gradients = torch.ops.aten.convolution_backward(
            gradient, hidden, weight, [1], [1, 1], [ctx.padding] * 2, [1, 1], True, [0, 0], 1, wanted
        )
        return (*gradients, None)
