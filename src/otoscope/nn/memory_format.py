"""In which order of memory a network is fastest on a CPU."""

from __future__ import annotations

import torch
from torch import nn


def for_images(network: nn.Module) -> None:
    """Puts the weights of convolutions in channels-last memory, and those of transposed ones in the usual order.

    Convolutions then need no reordering of what flows through them. `Transposed2d` reads its weight as a matrix,
    which in channels-last memory would be copied in every pass, as would its gradient, in L-MAC's published
    network a gigabyte each.

    Args:
        network: Changed in place; its values stay.

    Example:
        >>> layers = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 4, 3))
        >>> for_images(layers)
        >>> [layer.weight.is_contiguous() for layer in layers]
        [False, True]
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    for layer in network.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            layer.weight.data = layer.weight.data.contiguous()
