"""The residual block that the Conv2d classifier and PIQ's adapter share."""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import override

from otoscope.nn.convolution import Convolution2d, convolve_normalized


class ResidualBlock(nn.Module):
    """Residual block: 3x3 convolution, batch norm, ReLU, 1x1 convolution and batch norm, added to the input.

    Args:
        channels: Number of input and output channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Convolution2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            Convolution2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
        )

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """Add the block's result to its input.

        Args:
            hidden: Feature map, shape (batch, channels, height, width).

        Returns:
            Feature map of the same shape.
        """
        first, first_norm, rectify, second, second_norm = self.block
        inner = rectify(convolve_normalized(first, first_norm, hidden))  # type: ignore[arg-type]
        return hidden + convolve_normalized(second, second_norm, inner)  # type: ignore[arg-type]
