"""Values that all processes of a distributed training share, so that it equals one process with the whole batch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed


def is_distributed() -> bool:
    """Return whether several processes train together."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def gather_objects(value: Any) -> list[Any]:
    """Return the value of each process, in the order of their ranks; a list of one without other processes."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def gather_clips(clips: Sequence[Tensor]) -> list[Tensor]:
    """Return a tensor for each clip of all processes, in the order that one process with the whole batch has.

    Args:
        clips: Tensors of the clips of this process; their shapes may differ.
    """
    if not is_distributed():
        return list(clips)
    parts = gather_objects([clip.detach().cpu() for clip in clips])
    # Samplers deal clips to the processes in turn: 0, 1, 0, 1 ...
    dealt = itertools.chain.from_iterable(itertools.zip_longest(*parts))
    return [clip.to(clips[0].device) for clip in dealt if clip is not None]


def share_first(tensor: Tensor) -> None:
    """Replace a tensor, in place, by that of the first process."""
    if is_distributed():
        distributed.broadcast(tensor, 0)


def add_up(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; gradients flow to the summands of all of them."""
    return _Sum.apply(tensor) if is_distributed() else tensor  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    """Sum over processes. Each summand enters the loss of every process, so its gradient is a sum as well."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total
