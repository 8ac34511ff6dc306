"""The ranking of a clip's bins: orders, ranks, and cuts that keep the largest.

Everything that keeps "the best share of the bins" is built from these functions: attribution masks, controls and
the masks of equal area that an evaluation compares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from otoscope.errors import ShapeError
from otoscope.metrics.bins import area_in_bins, frame_counts, precise
from otoscope.seeding import generator_for

_PADDING = torch.iinfo(torch.int32).max
_UNDEFINED = -1
_ATTRIBUTION_TIES_SEED = 0


@dataclass(frozen=True)
class Ranking:
    """The bins of each clip in the order in which a growing mask takes them.

    Attributes:
        position: 0 for the most important bin. -1 in all bins of a clip whose map holds NaN; in the padding, and in
            clips without a ranking, larger than any valid position. Shape (batch, frequency, time), int32.
        bins: Number of valid bins of each clip. Shape (batch,), int64.
    """

    position: Tensor
    bins: Tensor

    @cached_property
    def undefined(self) -> Tensor:
        """Whether the map of a clip holds NaN, so that its masks do. Shape (batch,), bool."""
        # All bins of such a clip have this position.
        return (self.position == _UNDEFINED).flatten(1).any(1)

    @property
    def empty(self) -> Tensor:
        """Whether no bin of a clip is ranked, so that all its masks are empty. Shape (batch,), bool."""
        return (self.position == _PADDING).flatten(1).all(1)

    def mask(self, area: float) -> Tensor:
        """Return the mask that keeps exactly ``round(area * bins)`` bins of each clip.

        Args:
            area: Share of the valid bins, in [0, 1].

        Returns:
            Ones and zeros; NaN for a clip whose map holds NaN. Shape (batch, frequency, time).
        """
        return self.mask_of((area * self.bins.double()).round())

    def mask_like(self, mask: Tensor) -> Tensor:
        """Return the mask that keeps as many bins as another mask keeps, see `area_in_bins`.

        Args:
            mask: Mask in [0, 1], zero in the padding. Shape (batch, frequency, time).
        """
        return self.mask_of(area_in_bins(mask))

    def mask_of(self, count: Tensor) -> Tensor:
        """Return the mask that keeps a given number of bins of each clip.

        Args:
            count: Number of bins to keep. Shape (batch,).
        """
        # Padding has the largest position of all, so no count reaches it.
        mask = (self.position < count.to(self.position.device)[:, None, None]).float()
        for clip in self.undefined.nonzero()[:, 0].tolist():
            mask[clip] = torch.nan
        return mask


def tie_order(bins: int, seed: int, name: str, purpose: str = "ties") -> Tensor:
    """Return a random order of the bins of one clip, in which bins of equal value are taken.

    Many maps are coarse, or zero almost everywhere. To prefer, say, the lower of two equal bins would give such a
    map knowledge that it does not have, so ties are broken at random. The order is fixed by the seed and the name
    of the clip, not by the batch, so that a clip gets the same masks wherever it is scored.

    Args:
        bins: Number of bins.
        seed: Seed of the order.
        name: Name of the clip.
        purpose: Use of the order; orders for different purposes are independent.

    Returns:
        Permutation of the indices of the flattened bins, on the CPU. Shape (bins,), int64.
    """
    return torch.randperm(bins, generator=generator_for(seed, purpose, name))


def neutral_order(
    like: Tensor, names: Sequence[str], seed: int, frames: Tensor | None = None, purpose: str = "ties"
) -> list[Tensor]:
    """Return the `tie_order` of each clip of a batch.

    Args:
        like: Tensor that gives the shape (batch, frequency, time).
        names: Name of each clip.
        seed: Seed of the orders.
        frames: Valid frames of each clip; None: all. Shape (batch,).
        purpose: See `tie_order`.

    Returns:
        Indices of the valid bins of each clip, flattened without the padding. Shape (bins,) each.

    Raises:
        ShapeError: `like` has not three dimensions, or `frames` does not fit it.
    """
    pairs = zip(names, frame_counts(like, frames), strict=True)
    return [tie_order(like.shape[1] * count, seed, name, purpose) for name, count in pairs]


def rank_bins(
    importance: Tensor, order: Sequence[Tensor], frames: Tensor | None = None, blank: bool = False
) -> Ranking:
    """Rank the bins of each clip by importance, and bins of equal importance by a neutral order.

    Args:
        importance: Map of any range; higher is more important. Shape (batch, frequency, time).
        order: Order of each clip, see `neutral_order`. Shape (bins,) each.
        frames: Valid frames of each clip; None: all. Shape (batch,).
        blank: Whether a map that is 0 in all bins of a clip ranks nothing, so that its masks are empty, instead of
            all bins in neutral order.

    Raises:
        ShapeError: The orders or the frames do not fit the map.

    Example:
        >>> order = neutral_order(torch.zeros(1, 1, 4), ["clip"], seed=0)
        >>> rank_bins(torch.tensor([[[0.1, 0.9, 0.5, 0.2]]]), order).mask(0.5)
        tensor([[[0., 1., 1., 0.]]])
    """
    counts = frame_counts(importance, frames)
    # In the memory layout of the map, in which masks are then multiplied with spectrograms.
    position = torch.full_like(importance, _PADDING, dtype=torch.int32)
    for clip, count in enumerate(counts):
        # Without its padding, a clip has the same bins and the same order in every batch.
        values = importance[clip, :, :count].flatten()
        if order[clip].shape != values.shape:
            raise ShapeError(f"an order of {len(order[clip])} bins does not fit a map of {len(values)}")
        if torch.isnan(values).any():
            position[clip] = _UNDEFINED
            continue
        if blank and not values.any():
            continue
        # A stable sort of the values in neutral order leaves equal values in neutral order.
        neutral = order[clip].to(values.device)
        ranked = neutral[_order_of(values[neutral], descending=True)]
        # The inverse permutation: from the order of the bins to the position of each bin.
        position_of = torch.empty_like(ranked, dtype=torch.int32)
        position_of[ranked] = torch.arange(len(ranked), dtype=torch.int32, device=values.device)
        position[clip, :, :count] = position_of.view(-1, count)
    return Ranking(position, torch.tensor(counts) * importance.shape[1])


def keep_largest(values: Tensor, count: int, order: Tensor) -> Tensor:
    """Return True at the largest values of one clip: the bins that `rank_bins` puts first, without a sort.

    Args:
        values: Flattened importance without NaN. Shape (bins,).
        count: Number of bins to keep, in [0, bins].
        order: Order in which bins of equal value are taken, see `tie_order`. Shape (bins,).

    Returns:
        True at exactly `count` bins. Shape (bins,), bool.

    Raises:
        ShapeError: The order does not fit the values.
    """
    if order.shape != values.shape:
        raise ShapeError(f"an order of {len(order)} bins does not fit a map of {len(values)}")
    if count == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    # Selection of the smallest value to keep takes linear time, a sort would take several times as long.
    edge = _largest_value(values, count)
    mask = values > edge
    # Only some of the bins at the edge fit in: the first ones of the neutral order.
    missing = count - int(mask.sum())
    order = order.to(values.device)
    mask[order[values[order] == edge][:missing]] = True
    return mask


def largest_bins(importance: Tensor, area: float) -> Tensor:
    """Return the mask that keeps exactly ``round(area * bins)`` bins of one clip: the largest.

    Bins of equal importance are taken in a random order that is the same for all clips of one shape, because an
    interpreter does not know the name of a clip; see `tie_order` for why it is random.

    Args:
        importance: Map of any range. Shape (frequency, time).
        area: Share of the bins, in [0, 1].

    Returns:
        Ones and zeros; NaN throughout if the importance holds NaN. Shape (frequency, time).

    Example:
        >>> largest_bins(torch.tensor([[0.1, 0.9], [0.5, -0.2]]), 0.5)
        tensor([[0., 1.],
                [1., 0.]])
    """
    values = importance.flatten()
    if values.isnan().any():
        return torch.full_like(importance, torch.nan)
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(_ATTRIBUTION_TIES_SEED))
    mask = keep_largest(values, round(area * len(values)), order)
    return mask.view_as(importance).to(importance.dtype)


def top_share(ranking: Tensor, area: float, softness: float) -> Tensor:
    """Return ones at the largest share of each clip's bins, with the gradient of a sigmoid (straight-through).

    Args:
        ranking: Map that gives the order. Shape (batch, frequency, time).
        area: Share of the bins, in (0, 1); one bin at least. Bins that are equal at the edge are all left out, so
            that ties make the area smaller.
        softness: Width of the sigmoid, in units of the ranking.

    Example:
        >>> top_share(torch.tensor([[[0.0, 0.1, 0.5, 0.9]]]), 0.5, 0.1)
        tensor([[[0., 0., 1., 1.]]])
    """
    flat = ranking.detach().flatten(1)
    # The edge is the largest value that is left out, selected by `kthvalue` in linear time.
    edge = _largest_value(flat, min(_bins_of(area, flat) + 1, flat.shape[1]))[:, None, None]
    soft = ((ranking - edge) / softness).sigmoid()
    # The value is that of the binary mask, since the soft one cancels; the gradient is that of the soft one.
    return soft + ((ranking > edge).to(soft.dtype) - soft).detach()


def soft_cut(field: Tensor, area: float, softness: float) -> Tensor:
    """Return a mask that is at least one half at the largest share of each clip's bins, and below elsewhere.

    Args:
        field: Map that is cut. Shape (batch, frequency, time).
        area: Share of the bins, in (0, 1); one bin at least.
        softness: Distance from the cut at which the mask is sigmoid(1).

    Example:
        >>> soft_cut(torch.tensor([[[0.0, 0.1, 0.5, 0.9]]]), 0.5, 0.1)[0, 0] > 0.49
        tensor([False, False,  True,  True])
    """
    flat = field.detach().flatten(1)
    # The edge is the smallest value that is kept. It is a constant to the gradient, so that the area stays.
    edge = _largest_value(flat, _bins_of(area, flat))[:, None, None]
    return ((field - edge) / softness).sigmoid()


def upper_quantile(values: Tensor, quantile: float) -> Tensor:
    """Return the smallest value that is not below a quantile.

    Args:
        values: Values of one clip, of any shape.
        quantile: Quantile in [0, 1].

    Returns:
        One of the values, a tensor without dimensions.

    Example:
        >>> upper_quantile(torch.tensor([3.0, 1.0, 2.0, 5.0]), 0.5)
        tensor(3.)
    """
    rank = quantile * (values.numel() - 1)
    # `torch.quantile` sorts; this selects. The small subtrahend absorbs
    # rounding in products such as 0.07 * 100 = 7.000000000000001, which would select the value after.
    return values.flatten().kthvalue(math.ceil(rank - 1e-9) + 1).values


def ranks(values: Tensor) -> Tensor:
    r"""Return the share of its clip's bins that are smaller than each bin, equal ones counting half.

    .. math:: r_i = \frac{\#\{j: v_j < v_i\} + \tfrac12 \#\{j \ne i: v_j = v_i\}}{N - 1}

    Args:
        values: Values of clips without padding. Shape (batch, frequency, time).

    Returns:
        Ranks in [0, 1], equal for equal bins; 0 for a single bin. Shape (batch, frequency, time).

    Example:
        >>> ranks(torch.tensor([[[3.0, 1.0, 1.0, 9.0, 2.0]]]))
        tensor([[[0.7500, 0.1250, 0.1250, 1.0000, 0.5000]]])
    """
    flat = values.flatten(1)
    # A mean rank is 1 + smaller bins + half of the other equal ones, so the share is (rank - 1) / (N - 1).
    share = (_doubled_ranks(flat) - 2).to(values.dtype) / (2 * max(flat.shape[1] - 1, 1))
    return share.view_as(values)


def mean_ranks(values: Tensor) -> Tensor:
    """Return the rank of each value within its row from 1 upwards; equal values share the mean of their ranks.

    Args:
        values: Any values. Shape (batch, bins).

    Returns:
        Ranks in ascending order of the values, as `scipy.stats.rankdata`. Shape (batch, bins), float64.

    Example:
        >>> mean_ranks(torch.tensor([[3.0, 1.0, 1.0, 9.0]]))
        tensor([[3.0000, 1.5000, 1.5000, 4.0000]], dtype=torch.float64)
    """
    return precise(_doubled_ranks(values)) / 2


def _doubled_ranks(values: Tensor) -> Tensor:
    """Return twice the mean rank from 1 upwards: an integer, so without rounding. Shape (batch, bins), int64."""
    values = values.detach()
    order = torch.stack([_order_of(row) for row in values]) if len(values) else values.argsort(dim=1)
    ascending = values.gather(1, order)
    # n values lie below and m do not lie above: the equal ones have the ranks n + 1 to m, with the mean
    # (n + m + 1) / 2. In sorted order n is the place where a run of equal values begins, and m that of the next.
    is_first = torch.ones_like(ascending, dtype=torch.bool)
    is_first[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    doubled = torch.empty_like(order)
    for row, places in enumerate(is_first):
        begins = places.nonzero()[:, 0]
        lengths = begins.diff(append=begins.new_tensor([len(places)]))
        doubled[row] = (2 * begins + lengths + 1).repeat_interleave(lengths)
    return torch.empty_like(order).scatter_(1, order, doubled)


def _order_of(values: Tensor, descending: bool = False) -> Tensor:
    """Return the indices that sort values; equal ones keep their order. Shape (bins,) of both."""
    fits = values.dtype == torch.float32 and values.device.type == "cpu" and len(values) < 1 << 31
    if not fits or bool(values.isnan().any()):
        return values.argsort(descending=descending, stable=True)
    # Value and index in one integer: sorting integers is several times as fast, and no two of them are equal. The
    # bits of floats are in their order if those of negative ones are inverted; adding 0 makes -0 equal to 0.
    bits = (values.detach() + 0.0).numpy().view(np.int32)
    keys = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    keys = ((~keys if descending else keys) << 32) | np.arange(len(keys), dtype=np.int64)
    keys.sort()
    return torch.from_numpy(keys & 0xFFFFFFFF)


def _bins_of(area: float, flat: Tensor) -> int:
    return max(1, round(area * flat.shape[1]))


def _largest_value(values: Tensor, place: int) -> Tensor:
    """Return the value at a place in descending order, 1 for the largest, along the last dimension."""
    # `kthvalue` counts in ascending order.
    return values.kthvalue(values.shape[-1] - place + 1, dim=-1).values
