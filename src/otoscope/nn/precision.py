"""Layers that need single precision in a network that computes in a lower one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def in_float32(layer: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Call a layer in single precision, also under autocast.

    Heads need it: bfloat16 has 8 significant bits, so that a logit of 20 would be rounded to a multiple of 0.125.

    Args:
        layer: Layer or function of one tensor.
        values: Its input.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     in_float32(torch.nn.Linear(4, 2), torch.ones(1, 4)).dtype
        torch.float32
    """
    device = values.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return layer(values)
    with torch.autocast(device, enabled=False):
        return layer(values.float())
