"""A limit on the memory that building a network takes, so that a configuration cannot ask for more than exists."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only
from typing_extensions import override

from otoscope.errors import CheckpointError

_SPARE_BYTES = 64 << 20
"""What a network may need besides its weights: windows, mel banks, the silence that its sizes are read off."""
_SPARE_TENSORS = 3000
_FACTOR = 8
"""Weights may be stored in half precision, and an initialisation makes a few tensors of their size."""
_TENSORS_PER_WEIGHT = 40
_LARGEST_RESULT_BYTES = 1 << 30


class AllocationLimit(TorchDispatchMode):
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
        otoscope.errors.CheckpointError: config.json: asks for more memory (4.0 GB) than its weights take (1000 bytes)
    """

    def __init__(self, weights_bytes: int, weights_count: int, source: object) -> None:
        super().__init__()
        self.weights_bytes, self.source = weights_bytes, source
        self.left_bytes = _SPARE_BYTES + _FACTOR * weights_bytes
        self.left_tensors = _SPARE_TENSORS + _TENSORS_PER_WEIGHT * weights_count

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # An operation on tensors has a result of about their size, unless it pads, repeats or resizes them.
        creates = not any(isinstance(value, Tensor | list | tuple) and _holds_tensor(value) for value in args)
        if creates or func.overloadpacket.__name__ in _GROWING:
            size = _size_of(func, args, kwargs)
            self._check(size, _LARGEST_RESULT_BYTES if not creates else self.left_bytes)
            if creates:
                self.left_bytes -= size
                self.left_tensors -= 1
                if self.left_tensors < 0:
                    raise CheckpointError(f"{self.source}: describes more layers than there are weights for")
        return func(*args, **kwargs)

    def _check(self, size: int, limit: int) -> None:
        if size > limit:
            raise CheckpointError(
                f"{self.source}: asks for more memory ({size / 1e9:.1f} GB) than its weights take "
                f"({self.weights_bytes} bytes)"
            )


_GROWING = frozenset(
    {
        "constant_pad_nd", "reflection_pad1d", "replication_pad1d", "repeat", "repeat_interleave", "new_empty", "new_zeros",
        "new_ones", "new_full", "new_empty_strided", "upsample_bilinear2d", "_upsample_bilinear2d_aa", "upsample_nearest2d",
        "upsample_linear1d", "resize_",
    }
)  # fmt: skip
"""Operations whose result can be larger than their inputs."""


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or any(isinstance(item, Tensor) for item in value)


def _size_of(func: Any, args: Any, kwargs: Any) -> int:
    """Return the bytes of the results of an operation, computed without data."""
    as_meta = tree_map_only(Tensor, _without_data, (args, kwargs))
    options = as_meta[1]
    if "device" in options or not any(isinstance(value, Tensor) for value in tree_flatten(as_meta)[0]):
        options = {**options, "device": torch.device("meta")}
    try:
        results = tree_flatten(func(*as_meta[0], **options))[0]
    # Not all operations run without data; the real one raises its own error if there is one.
    except (RuntimeError, TypeError, NotImplementedError):
        return 0
    return sum(value.numel() * value.element_size() for value in results if isinstance(value, Tensor))


def _without_data(value: Tensor) -> Tensor:
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
