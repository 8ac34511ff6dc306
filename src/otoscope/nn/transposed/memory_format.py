"""Memory format in which a network is fastest on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from otoscope.nn.products import convolutions_are_faster
from otoscope.nn.transposed.layers import Transposed2d

_MANY_WEIGHTS = 1 << 24
"""Weights of a transposed convolution from which it is folded for a clip of 5 s: many weights, few positions."""


def use_channels_last(network: nn.Module) -> None:
    """Put a network's weights in channels-last memory, except those of transposed convolutions.

    Convolutions then need no reordering of what flows through them. `Transposed2d` reads its weight as a matrix; in
    channels-last memory that would copy the weight in every pass, and its gradient too: a gigabyte each in L-MAC's
    published network. So these weights stay contiguous.

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


def use_inference_layout(network: nn.Module) -> None:
    """Let large weights of transposed convolutions lie with their taps first and their input channels last.

    Where `otoscope.nn.products` multiplies by convolutions, the published decoders are then faster, but a training
    step is slower. On other machines nothing is changed.

    Args:
        network: Network that is not trained any more, changed in place; its values stay.
    """
    if not convolutions_are_faster():
        return
    for layer in network.modules():
        many = isinstance(layer, Transposed2d) and layer.weight.numel() >= _MANY_WEIGHTS and layer.groups == 1
        if many and layer.weight.device.type == "cpu":
            layer.weight.data = with_taps_first(layer.weight.data)


def with_taps_first(weight: Tensor) -> Tensor:
    """Return a weight of a transposed convolution in that order of memory."""
    return weight.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
