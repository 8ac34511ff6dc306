"""Convolutions with PyTorch's parameters and results that are faster on a CPU, and their union with batch norm.

Three cases are computed in another way than PyTorch's:

- *Many weights, few positions*: PyTorch first reorders the weight, which takes longer than the convolution itself.
  With a matrix product a clip of 5 s is classified by CNN14 1.5 times as fast and explained by L-MAC with its
  default decoder 1.4 times as fast; a training step of 4 clips is 1.1 times (L-MAC) and 1.2 times (CNN14) as fast
  (CPU seconds, one thread, medians of 7 pairs or more).
- *The gradient of a single input channel*, that of the spectrogram: PyTorch has no channels to vectorise over. A
  matrix product and a fold take 1.8 instead of 4.8 ms for a clip of 5 s and 32 channels, 11 instead of 35 ms for
  256 channels (CPU, one thread, medians of 25 pairs). Under autocast in bfloat16 they take 1.4 instead of 4.5 ms
  for 32 channels, 3.9 instead of 107 ms for 256 (medians of 15, interleaved, a busy core).
- *A single clip, small feature maps*: PyTorch takes a routine of its own instead of oneDNN's, which it takes for
  two clips. The narrow CNN14 took 2.4 ms for a clip that way, and 1.9 ms now.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.nn.products import product

_MOST_POSITIONS = 256
"""Positions up to which a matrix product is faster than PyTorch's convolution."""
_LEAST_WEIGHTS = 1 << 24
"""Weights from which the time to reorder them counts."""
_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class Convolution2d(nn.Conv2d):
    """`nn.Conv2d`, computed in another way where PyTorch's is slow.

    The last layers of a deep classifier have many weights and few positions: those of CNN14 have up to 38 million
    weights, and 26 positions for a clip of 5 s. They become one matrix product. The first layer has one input
    channel, whose gradient becomes a matrix product and a fold. A single clip goes to oneDNN. PyTorch computes all
    other cases, also those of other devices, dilations, groups and paddings by name, and under autocast all but the
    gradient of the first layer.

    Example:
        >>> layer = Convolution2d(4, 8, 3, padding=1)
        >>> layer(torch.rand(1, 4, 10, 5)).shape
        torch.Size([1, 8, 10, 5])
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        return self.convolve(input, self.weight, self.bias)

    def convolve(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve with another weight and bias than the layer's own, of the same shapes.

        Args:
            hidden: Feature map, shape (batch, channels, height, width).
            weight: Weight, shape (channels', channels, *kernel).
            bias: Bias, shape (channels',); None for zeros.
        """
        way = self._way(hidden, weight)
        if way == "product":
            return self._multiply(hidden, weight, bias)
        if way == "single input":
            result: Tensor = _SingleInput.apply(hidden, weight, bias, self.stride, self.padding)  # type: ignore[no-untyped-call]
            return result
        if way == "oneDNN":
            padding: Any = self.padding
            return torch.mkldnn_convolution(hidden, weight, bias, padding, self.stride, self.dilation, self.groups)
        convolved: Tensor = self._conv_forward(hidden, weight, bias)
        return convolved

    def _way(self, hidden: Tensor, weight: Tensor) -> Literal["PyTorch", "product", "single input", "oneDNN"]:
        """Choose how to compute."""
        plain = (self.dilation, self.groups, self.padding_mode) == ((1, 1), 1, "zeros")
        if not plain or isinstance(self.padding, str) or hidden.dim() != 4 or hidden.device.type != "cpu":
            return "PyTorch"
        if hidden.dtype != weight.dtype or not hidden.numel():
            return "PyTorch"
        autocast = torch.is_autocast_enabled("cpu")
        if self.in_channels == 1 and hidden.requires_grad and torch.is_grad_enabled():
            # Autocast keeps converted weights for later calls: those that are trained would lose their graph here.
            return "PyTorch" if autocast and weight.requires_grad else "single input"
        if autocast:
            return "PyTorch"
        if self.stride == (1, 1) and weight.numel() >= _LEAST_WEIGHTS:
            in_order = weight.permute(0, 2, 3, 1).is_contiguous()
            return "product" if hidden[:, 0].numel() <= _MOST_POSITIONS and in_order else "PyTorch"
        return "oneDNN" if len(hidden) == 1 and _HAS_ONEDNN and hidden.dtype == torch.float32 else "PyTorch"

    def _multiply(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve by one matrix product."""
        rows, columns = self.kernel_size
        row_padding, column_padding = (int(size) for size in self.padding)
        # channels last, as the weight lies in memory: each patch is then a row of (tap, channel) and the weight a
        # matrix that need not be copied
        pads = (0, 0, column_padding, column_padding, row_padding, row_padding)
        padded = F.pad(hidden.permute(0, 2, 3, 1), pads)
        height, width = padded.shape[1] - rows + 1, padded.shape[2] - columns + 1
        shifted = [padded[:, r : r + height, c : c + width] for r in range(rows) for c in range(columns)]
        patches = torch.cat(shifted, -1).flatten(0, 2)
        matrix = weight.permute(0, 2, 3, 1).flatten(1)
        if torch.is_grad_enabled() and (patches.requires_grad or matrix.requires_grad):
            # the gradient of a product written as a convolution is slower than that of a matrix product here
            result = F.linear(patches, matrix, bias)
        else:
            # the weight, as the larger factor, comes first
            result = product(matrix, patches.t()).t()
            result = result if bias is None else result + bias
        return result.reshape(len(hidden), height, width, -1).permute(0, 3, 1, 2)


class _SingleInput(torch.autograd.Function):
    """Convolution of one input channel, with a faster gradient to its input."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: Any
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.geometry = {"stride": stride, "padding": padding}
        ctx.has_bias = bias is not None
        # in bfloat16 under autocast, as PyTorch's own
        return F.conv2d(hidden, weight, bias, **ctx.geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        gradient, (hidden, weight) = gradients[0], ctx.saved_tensors
        to_hidden = None
        if ctx.needs_input_grad[0]:
            size, kernel = hidden.shape[-2:], weight.shape[-2:]
            # what each position gives to each tap of the kernel; the fold adds these up where they overlap
            taps = weight.to(gradient.dtype).flatten(1).t()
            products = ((taps @ clip.flatten(1)).to(hidden.dtype)[None] for clip in gradient)
            to_hidden = torch.cat([F.fold(product, size, kernel, **ctx.geometry) for product in products])
        needs = [False, ctx.needs_input_grad[1], ctx.has_bias and ctx.needs_input_grad[2]]
        to_weight = to_bias = None
        if any(needs):
            sizes = [len(weight)] if ctx.has_bias else None
            stride, padding = ctx.geometry["stride"], ctx.geometry["padding"]
            _, to_weight, to_bias = torch.ops.aten.convolution_backward(
                gradient.to(hidden.dtype), hidden, weight, sizes, stride, padding, (1, 1), False, (0, 0), 1, needs
            )
        return to_hidden, to_weight, to_bias, None, None


class ConvolutionLayer(nn.Sequential):
    """Convolution, batch norm and ReLU, with the parameters of a sequence of the three; see `convolve_normalized`.

    Args:
        convolution: Convolution.

    Example:
        >>> layer = ConvolutionLayer(Convolution2d(4, 8, 3, padding=1))
        >>> layer(torch.rand(1, 4, 10, 5)).shape, [name for name, _ in layer.named_children()]
        (torch.Size([1, 8, 10, 5]), ['0', '1', '2'])
    """

    def __init__(self, convolution: Convolution2d) -> None:
        super().__init__(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True))

    @override
    def forward(self, input: Tensor) -> Tensor:
        convolution, norm, rectify = self
        result: Tensor = rectify(convolve_normalized(convolution, norm, input))  # type: ignore[arg-type]
        return result


def convolve_normalized(convolution: Convolution2d, norm: nn.BatchNorm2d, hidden: Tensor) -> Tensor:
    """Convolve, then normalise: in evaluation as one convolution where that saves time.

    Batch norm in evaluation multiplies each channel and shifts it, so that a convolution with multiplied weights
    and a shifted bias computes both, up to rounding. The feature map is then written and read once less, forward
    and backward. Weights are multiplied at each call, which takes less time than the map if that is larger.

    Args:
        convolution: Convolution.
        norm: Batch norm of its channels.
        hidden: Feature map, shape (batch, channels, height, width).

    Returns:
        Feature map, shape (batch, channels', height', width').

    Example:
        >>> convolution, norm = Convolution2d(4, 8, 3, padding=1), nn.BatchNorm2d(8).eval()
        >>> hidden = torch.rand(1, 4, 100, 50)
        >>> together = convolve_normalized(convolution, norm, hidden)
        >>> torch.allclose(together, norm(convolution(hidden)), atol=1e-5)
        True
    """
    mean, variance = norm.running_mean, norm.running_var
    # positions of the result: those of the input, divided by the strides
    positions = hidden[:, 0].numel() // (convolution.stride[0] * convolution.stride[1])
    saves_time = positions * convolution.out_channels > convolution.weight.numel()
    fixed = not norm.training and mean is not None and variance is not None and norm.affine
    if not (saves_time and fixed) or _is_observed(convolution) or _is_observed(norm):
        result: Tensor = norm(convolution(hidden))
        return result
    assert mean is not None
    assert variance is not None
    factor = norm.weight * (variance + norm.eps).rsqrt()
    bias = norm.bias - mean * factor
    if convolution.bias is not None:
        bias = bias + convolution.bias * factor
    return convolution.convolve(hidden, convolution.weight * factor[:, None, None, None], bias)


def _is_observed(layer: nn.Module) -> bool:
    """Return whether someone waits for the calls of a layer, which must then run on its own."""
    return bool(
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    )
