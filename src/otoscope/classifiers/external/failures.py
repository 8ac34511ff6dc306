"""What to check when an external network fails: device, precision, or the form of its input."""

from __future__ import annotations

import re

from torch import Tensor, nn


def failure_advice(error: Exception, inputs: Tensor, network: nn.Module) -> str:
    """Return what to check after a network failed.

    Args:
        error: What it raised.
        inputs: What it was given.
        network: The network.
    """
    devices = sorted({str(weights.device) for weights in network.parameters()})
    if devices and str(inputs.device) not in devices:
        return (
            f"device: the network is on {', '.join(devices)}, the front-end on {inputs.device}; "
            "classifier.to(device) moves both"
        )
    dtypes = sorted({str(weights.dtype).removeprefix("torch.") for weights in network.parameters()})
    if is_dtype_error(error) and dtypes not in ([], ["float32"]):
        return (
            f"dtype: the weights of the network are {' and '.join(dtypes)}; convert all of it with "
            "module.float(), or let it convert its input"
        )
    return "check input, axes, mel_bins, minimum_s, duration_s and the sample rate"


def is_dtype_error(error: Exception) -> bool:
    """Return whether an error of PyTorch says that numbers of different precision met.

    Example:
        >>> import torch
        >>> try:
        ...     _ = nn.Linear(2, 2).half()(torch.zeros(1, 2))
        ... except RuntimeError as error:
        ...     print(is_dtype_error(error))
        True
    """
    return re.search(r"dtype|scalar type|data ?type|input type", str(error), re.IGNORECASE) is not None
