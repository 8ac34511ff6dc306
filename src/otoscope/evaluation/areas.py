"""Masks of equal area, cut from the map of any method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from otoscope.errors import ShapeError
from otoscope.seeding import generator_for

_PADDING = torch.iinfo(torch.int32).max
_UNDEFINED = -1


@dataclass(frozen=True)
class Ranking:
    """The bins of each clip in the order in which a growing mask takes them.

    Attributes:
        position: 0 for the most important bin. -1 in all bins of a clip whose map holds NaN; in the padding larger
            than any. Shape (batch, frequency, time), int32.
        bins: Valid bins of each clip. Shape (batch,), int64.
    """

    position: Tensor
    bins: Tensor

    def mask(self, area: float) -> Tensor:
        """Keeps exactly ``round(area * bins)`` bins of each clip.

        Args:
            area: Share of the valid bins, in [0, 1].

        Returns:
            Ones and zeros; NaN for a clip whose map holds NaN. Shape (batch, frequency, time).
        """
        return self.mask_of((area * self.bins.double()).round())

    def mask_like(self, mask: Tensor) -> Tensor:
        """Keeps as many bins as another mask is worth: the sum of its values, rounded."""
        return self.mask_of(torch.nan_to_num(mask).cpu().double().sum((1, 2)).round())

    def mask_of(self, count: Tensor) -> Tensor:
        """Keeps so many bins of each clip, shape (batch,)."""
        kept = (self.position < count.to(self.position.device)[:, None, None]).float()
        return kept.masked_fill(self.position == _UNDEFINED, torch.nan)


def rank_bins(importance: Tensor, order: Sequence[Tensor], frames: Tensor | None = None) -> Ranking:
    """Ranks the bins of each clip by importance; equal ones by a neutral order.

    Many maps are coarse, or zero almost everywhere. To prefer, say, the lower of two equal bins would give such a
    map knowledge that it does not have, so ties are broken at random, but always in the same way.

    Args:
        importance: A map of any range, higher is more important. Shape (batch, frequency, time).
        order: Of each clip, see `neutral_order`; shape (bins,) each.
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Raises:
        ShapeError: The orders do not fit the map.

    Example:
        >>> order = neutral_order(torch.zeros(1, 1, 4), ["clip"], seed=0)
        >>> rank_bins(torch.tensor([[[0.1, 0.9, 0.5, 0.2]]]), order).mask(0.5)
        tensor([[[0., 1., 1., 0.]]])
    """
    counts = _frames(importance, frames)
    position = torch.full(importance.shape, _PADDING, dtype=torch.int32, device=importance.device)
    for i, count in enumerate(counts):
        values = importance[i, :, :count].flatten()
        if order[i].shape != values.shape:
            raise ShapeError(f"an order of {len(order[i])} bins does not fit a map of {len(values)}")
        if torch.isnan(values).any():
            position[i] = _UNDEFINED
            continue
        first = order[i].to(values.device)
        ranked = first[values[first].argsort(descending=True, stable=True)]
        places = torch.empty_like(ranked, dtype=torch.int32)
        places[ranked] = torch.arange(len(ranked), dtype=torch.int32, device=values.device)
        position[i, :, :count] = places.view(-1, count)
    return Ranking(position, torch.tensor(counts) * importance.shape[1])


def neutral_order(
    like: Tensor, names: Sequence[str], seed: int, frames: Tensor | None = None, purpose: str = "ties"
) -> list[Tensor]:
    """A random order of the valid bins of each clip, which depends on the seed and the clip's name alone.

    Args:
        like: Of this shape, (batch, frequency, time).
        names: Of the clips.
        seed: Makes the orders.
        frames: Valid frames of each clip; None: all. Shape (batch,).
        purpose: Different ones give different orders.

    Returns:
        Indices of the valid bins of each clip laid flat, shape (bins,) each.
    """
    pairs = zip(names, _frames(like, frames), strict=True)
    return [
        torch.randperm(like.shape[1] * count, generator=generator_for(seed, purpose, name)) for name, count in pairs
    ]


def _frames(values: Tensor, frames: Tensor | None) -> list[int]:
    if values.ndim != 3:
        raise ShapeError(f"expected a map (batch, frequency, time), got shape {tuple(values.shape)}")
    counts: list[int] = [values.shape[2]] * len(values) if frames is None else frames.tolist()
    return counts
