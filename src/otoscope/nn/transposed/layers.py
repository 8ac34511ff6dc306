"""Layers with the parameters and results of `nn.ConvTranspose2d`, faster on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.nn.transposed.cost import choose
from otoscope.nn.transposed.forward import tiled
from otoscope.nn.transposed.functions import SingleOutput, TiledTransposed


class Transposed2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d`, computed in the cheapest of three ways; see docs/fast_transposed.md.

    On other devices than the CPU, under autocast and without a bias it is PyTorch's own layer.

    Example:
        >>> layer = Transposed2d(64, 32, 4, stride=2, padding=1)
        >>> layer(torch.rand(1, 64, 20, 20)).shape
        torch.Size([1, 32, 40, 40])
    """

    @override
    def forward(self, hidden: Tensor, output_size: list[int] | None = None) -> Tensor:
        if _leave_to_torch(self, hidden):
            return super().forward(hidden, output_size)
        # several sizes of the output fit the input; `output_size` picks one by an output padding. 2: number of axes
        sizes: Any = (self.stride, self.padding, self.kernel_size, 2, self.dilation)
        function, settings = choose(self, hidden, self._output_padding(hidden, output_size, *sizes))
        result: Tensor = function.apply(hidden, self.weight, self.bias, settings)
        return result

    def rectified_mean(self, hidden: Tensor) -> Tensor:
        """Return the mean over the last axis of the ReLU of the result, without storing the result if possible.

        Args:
            hidden: Inputs, shape (batch, channels, height, width).

        Returns:
            Means, shape (batch, channels', height').
        """
        if not _leave_to_torch(self, hidden):
            function, settings = choose(self, hidden, list(self.output_padding))
            # only tiles can be averaged as they are made; the other ways store the whole result first
            if function is TiledTransposed:
                grid, _ = settings
                if not torch.is_grad_enabled():
                    return tiled(hidden, self.weight, self.bias, grid, mean=True, signs=False)[1]  # type: ignore[arg-type]
                result: Tensor = function.apply(hidden, self.weight, self.bias, (grid, True))  # type: ignore[no-untyped-call]
                return result
        return F.relu(self(hidden), inplace=True).mean(-1)


class SingleOutputTransposed(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` of one output channel and stride 1, computed as a matrix product and a fold.

    Args:
        channels: Input channels.
        kernel: Size of the kernel.
        padding: Outputs cut off at each end of both axes.
    """

    def __init__(self, channels: int, kernel: int | tuple[int, int], padding: int) -> None:
        super().__init__(channels, 1, kernel, stride=1, padding=padding)

    @override
    def forward(self, hidden: Tensor, output_size: list[int] | None = None) -> Tensor:
        if _leave_to_torch(self, hidden):
            return super().forward(hidden, output_size)
        padding = int(self.padding[0])
        result: Tensor = SingleOutput.apply(hidden, self.weight, self.bias, padding)  # type: ignore[no-untyped-call]
        return result

    def after_norm(self, hidden: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        """Return ``self(norm(hidden))`` for a batch norm in evaluation, without making the normalised map.

        Args:
            hidden: Inputs of the batch norm, shape (batch, channels, height, width).
            norm: Batch norm with running statistics and learnt parameters.

        Returns:
            Shape (batch, 1, height', width').
        """
        if norm.training or _leave_to_torch(self, hidden):
            result: Tensor = self(norm(hidden))
            return result
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - norm.running_mean * scale
        padding = int(self.padding[0])
        scaled: Tensor = SingleOutput.apply(hidden, self.weight * scale[:, None, None, None], self.bias, padding)  # type: ignore[no-untyped-call]
        # The shift is a constant map. Fewer taps reach outputs near the borders, so what it gives is no constant.
        kernel = torch.einsum("c,chw->hw", shift, self.weight[:, 0])
        down, across = (
            _taps_that_reach(outputs, inputs, taps, padding, kernel)
            for outputs, inputs, taps in zip(scaled.shape[2:], hidden.shape[2:], kernel.shape, strict=True)
        )
        return scaled + down @ kernel @ across.t()


def _taps_that_reach(outputs: int, inputs: int, taps: int, padding: int, like: Tensor) -> Tensor:
    """Return 1 where a tap of a kernel of stride 1 reaches an output from within the inputs, (outputs, taps)."""
    position = torch.arange(outputs, device=like.device)[:, None] + padding
    source = position - torch.arange(taps, device=like.device)
    return ((source >= 0) & (source < inputs)).to(like)


def _leave_to_torch(layer: nn.ConvTranspose2d, hidden: Tensor) -> bool:
    """Whether device, dtype, autocast or a missing bias leave the layer to PyTorch."""
    if hidden.device.type != "cpu" or hidden.dtype != layer.weight.dtype or layer.bias is None:
        return True
    return torch.is_autocast_enabled("cpu")
