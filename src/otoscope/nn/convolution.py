"""A convolution with PyTorch's parameters and results, but faster on a CPU where many weights meet few positions.

PyTorch's routine first reorders the weight, which takes longer than the convolution itself if there are few
positions. With the matrix product a clip of 5 s is classified by CNN14 1.5 times as fast and explained by L-MAC
with its default decoder 1.4 times as fast; a training step of 4 clips is
1.1 times (L-MAC) and 1.2 times (CNN14) as fast (CPU seconds, one thread, medians of 7 pairs or more).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.nn.products import product

_MOST_POSITIONS = 256
"""Positions up to which a matrix product is faster than PyTorch's convolution."""
_LEAST_WEIGHTS = 1 << 24
"""Weights from which the time to reorder them counts."""


class Convolution2d(nn.Conv2d):
    """`nn.Conv2d`, computed as one matrix product where many weights meet few positions.

    The last layers of a deep classifier are such: those of CNN14 have up to 38 million weights, and 26 positions
    for a clip of 5 s. PyTorch computes all other cases, also those of other devices, strides, autocast, and weights
    that are not in channels-last memory.

    Example:
        >>> layer = Convolution2d(4, 8, 3, padding=1)
        >>> layer(torch.rand(1, 4, 10, 5)).shape
        torch.Size([1, 8, 10, 5])
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        if not self._is_product(input):
            return super().forward(input)
        rows, columns = self.kernel_size
        row_padding, column_padding = (int(size) for size in self.padding)
        # channels last, as the weight lies in memory: each patch is then a row of (tap, channel) and the weight a
        # matrix that need not be copied
        pads = (0, 0, column_padding, column_padding, row_padding, row_padding)
        padded = F.pad(input.permute(0, 2, 3, 1), pads)
        height, width = padded.shape[1] - rows + 1, padded.shape[2] - columns + 1
        shifted = [padded[:, r : r + height, c : c + width] for r in range(rows) for c in range(columns)]
        patches = torch.cat(shifted, -1).flatten(0, 2)
        matrix = self.weight.permute(0, 2, 3, 1).flatten(1)
        if torch.is_grad_enabled() and (patches.requires_grad or matrix.requires_grad):
            # the gradient of a product written as a convolution is slower than that of a matrix product here
            result = F.linear(patches, matrix, self.bias)
        else:
            # the weight, as the larger factor, comes first
            result = product(matrix, patches.t()).t()
            result = result if self.bias is None else result + self.bias
        return result.reshape(len(input), height, width, -1).permute(0, 3, 1, 2)

    def _is_product(self, hidden: Tensor) -> bool:
        plain = (self.stride, self.dilation, self.groups, self.padding_mode) == ((1, 1), (1, 1), 1, "zeros")
        if not plain or isinstance(self.padding, str) or hidden.dim() != 4 or hidden.device.type != "cpu":
            return False
        if hidden.dtype != self.weight.dtype or torch.is_autocast_enabled("cpu"):
            return False
        if self.weight.numel() < _LEAST_WEIGHTS or not 0 < hidden[:, 0].numel() <= _MOST_POSITIONS:
            return False
        return self.weight.permute(0, 2, 3, 1).is_contiguous()
