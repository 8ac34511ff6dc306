"""A limit on the memory that building a network takes, so that a configuration cannot ask for more than exists."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from otoscope.errors import CheckpointError

_SPARE_BYTES = 64 << 20
"""What a network may need besides its weights: windows, mel banks, the silence that its sizes are read off."""
_SPARE_TENSORS = 3000
_FACTOR = 8
"""Weights may be stored in half precision, and an initialisation makes a few tensors of their size."""
_TENSORS_PER_WEIGHT = 40
_LARGEST_RESULT_BYTES = 1 << 30


class AllocationLimit(TorchFunctionMode):
    """Context in which tensors are created up to a limit, which is checked before they are allocated.

    Operations on other tensors may only have results of limited size.

    Args:
        weights_bytes: Bytes of the weights that the network will hold.
        weights_count: Number of the weights.
        source: Where the sizes come from, for the message.

    Raises:
        CheckpointError: Inside the context, when more is asked for.

    Example:
        >>> with AllocationLimit(1000, 2, "config.json"):
        ...     torch.zeros(10**9)
        Traceback (most recent call last):
        otoscope.errors.CheckpointError: config.json: asks for more memory (4.0 GB) than its weights take (1000 ...
    """

    def __init__(self, weights_bytes: int, weights_count: int, source: object) -> None:
        super().__init__()
        self.weights_bytes, self.source = weights_bytes, source
        self.left_bytes = self.largest_broadcast_bytes = _SPARE_BYTES + _FACTOR * weights_bytes
        self.left_tensors = _SPARE_TENSORS + _TENSORS_PER_WEIGHT * weights_count

    @override
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _CREATING:
            size = _size_of(func, args, {**kwargs, "device": "meta"})
            self._check(size, self.left_bytes)
            self.left_bytes -= size
            self.left_tensors -= 1
            if self.left_tensors < 0:
                raise CheckpointError(f"{self.source}: describes more layers than there are weights for")
        # An operation on tensors has a result of about their size, unless it pads, repeats or resizes them.
        elif name in _GROWING:
            self._check(_size_of(func, args, kwargs), _LARGEST_RESULT_BYTES)
        elif name.strip("_") in _ELEMENTWISE:
            self._check(_broadcast_size(args), self.largest_broadcast_bytes)
        return func(*args, **kwargs)

    def _check(self, size: int, limit: int) -> None:
        if size > limit:
            raise CheckpointError(
                f"{self.source}: asks for more memory ({size / 1e9:.1f} GB) than its weights take "
                f"({self.weights_bytes} bytes)"
            )


_CREATING = frozenset(
    {
        "arange", "bartlett_window", "blackman_window", "empty", "empty_strided", "eye", "full", "hamming_window",
        "hann_window", "linspace", "logspace", "ones", "rand", "randint", "randn", "randperm", "tril_indices",
        "triu_indices", "zeros",
    }
)  # fmt: skip
"""Functions that create tensors."""
_GROWING = frozenset(
    {
        "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
        "adaptive_max_pool2d", "adaptive_max_pool3d", "fold", "interpolate", "new_empty", "new_full", "new_ones",
        "new_zeros", "pad", "repeat", "repeat_interleave", "resize_", "tile",
    }
)  # fmt: skip
"""Functions whose result can be larger than their inputs."""

_ELEMENTWISE = frozenset(
    {
        "add", "div", "eq", "ge", "gt", "le", "lt", "maximum", "minimum", "mul", "ne", "pow", "radd", "rdiv",
        "rmul", "rsub", "rtruediv", "sub", "truediv", "where",
    }
)  # fmt: skip
"""Functions that broadcast their inputs, so that two small tensors can have a huge result."""


def _size_of(func: Any, args: Any, kwargs: Any) -> int:
    """Return the bytes of the result of a function, computed without data."""
    # Without data, windows and rows of numbers would make torch import its compiler, which takes seconds.
    if func.__name__.endswith("_window"):
        return int(args[0]) * torch.get_default_dtype().itemsize if args else 0
    if func.__name__ in ("linspace", "logspace"):
        count = args[2] if len(args) > 2 else kwargs.get("steps", 0)
        return int(count) * (kwargs.get("dtype") or torch.get_default_dtype()).itemsize
    try:
        result = func(*(_without_data(value) for value in args), **{k: _without_data(v) for k, v in kwargs.items()})
    # Not all of them run without data; the real call raises its own error if there is one.
    except (RuntimeError, TypeError, NotImplementedError, ValueError):
        return 0
    return result.numel() * result.element_size() if isinstance(result, Tensor) else 0


def _broadcast_size(args: Any) -> int:
    """Return the bytes of a result that is far larger than each of its inputs; 0 if it is not."""
    tensors = [value for value in args if isinstance(value, Tensor)]
    if len({tensor.shape for tensor in tensors}) < 2:
        return 0
    try:
        # NumPy's, because PyTorch's imports its compiler
        count = math.prod(np.broadcast_shapes(*(tuple(tensor.shape) for tensor in tensors)))
    # The real call raises its own error.
    except ValueError:
        return 0
    far_larger = count > 2 * max(tensor.numel() for tensor in tensors)
    return count * max(tensor.element_size() for tensor in tensors) if far_larger else 0


def _without_data(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
