"""Memory format in which a network is fastest on a CPU."""

from __future__ import annotations

import torch
from torch import nn


def use_channels_last(network: nn.Module) -> None:
    """Put a network's weights in channels-last memory, except those of transposed convolutions.

    Convolutions then need no reordering of what flows through them. `Transposed2d` reads its weight as a matrix; in
    channels-last memory that would copy the weight in every pass, and its gradient too: a gigabyte each in L-MAC's
    published network.

    Args:
        network: Network to change in place; its values stay.

    Example:
        >>> layers = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 4, 3))
        >>> use_channels_last(layers)
        >>> [layer.weight.is_contiguous() for layer in layers]
        [False, True]
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    for layer in network.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            layer.weight.data = layer.weight.data.contiguous()
