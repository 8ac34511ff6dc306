"""Stability of a map that is computed from random draws: maps of two halves of the draws rank the bins alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import is_number
from otoscope.metrics.ranking import mean_ranks

GROWTH = 1.5
"""Growth of the number of draws from one check to the next, because a check takes as long as several draws."""


def require_stability(rank_stability: Any) -> None:
    """Check the option ``rank_stability``.

    Raises:
        ConfigurationError: It is neither None nor a number between 0 and 1.
    """
    if rank_stability is None:
        return
    if not is_number(rank_stability) or not 0 < float(rank_stability) < 1:
        raise ConfigurationError(f"rank_stability: {rank_stability!r} must lie between 0 and 1")


def reliability(first: Tensor, second: Tensor) -> float:
    r"""Return the rank correlation that is expected between the mean of two maps and another such mean.

    With r the rank correlation of maps that were computed from two halves of the draws, it is :math:`2r / (1 + r)`
    (Spearman-Brown), and 0 where r is not positive or a map is constant.

    Args:
        first: Map of any shape.
        second: Map of the same shape.

    Example:
        >>> round(reliability(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([10.0, 30.0, 20.0, 40.0])), 3)
        0.889
    """
    ranks = torch.stack([mean_ranks(values.flatten()[None])[0].double() for values in (first, second)])
    centred = ranks - ranks.mean(1, keepdim=True)
    sizes = centred.norm(dim=1)
    if not bool((sizes > 0).all()):
        return 0.0
    correlation = float((centred[0] * centred[1]).sum() / sizes.prod())
    return 2 * correlation / (1 + correlation) if correlation > 0 else 0.0


class Halves:
    """Sum of random draws, in two halves whose maps are compared.

    Args:
        like: Tensor of the shape of the sum.
        rank_stability: Reliability at which the draws suffice; None: they never do.
        is_absolute: Whether the magnitude of the sum ranks the bins, and not its signed value.
    """

    def __init__(self, like: Tensor, rank_stability: float | None, is_absolute: bool) -> None:
        self.rank_stability, self.is_absolute = rank_stability, is_absolute
        self.sums = torch.zeros(2, *like.shape[1:], dtype=like.dtype, device=like.device)
        self.counts = [0, 0]
        self._next = 0.0

    def add(self, draws: Tensor) -> None:
        """Add draws, shape (draws, ...), half of them to each sum."""
        for half, part in enumerate(draws.tensor_split(2)):
            self.sums[half] += part.sum(0)
            self.counts[half] += len(part)

    def is_stable(self) -> bool:
        """Return whether the draws so far suffice."""
        if self.rank_stability is None or min(self.counts) == 0 or sum(self.counts) < self._next:
            return False
        self._next = GROWTH * sum(self.counts)
        maps = self.sums.abs() if self.is_absolute else self.sums
        return reliability(*maps) >= self.rank_stability

    def mean(self) -> Tensor:
        """Return the mean of all draws, shape (1, ...)."""
        return self.sums.sum(0, keepdim=True) / sum(self.counts)
