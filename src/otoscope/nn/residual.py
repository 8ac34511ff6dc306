"""The residual block that the Conv2d classifier and PIQ's adapter share."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Adds to its input: 3x3 convolution, batch norm, ReLU, 1x1 convolution, batch norm.

    Args:
        channels: Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Shape (batch, channels, height, width) in and out."""
        result: Tensor = hidden + self.block(hidden)
        return result
