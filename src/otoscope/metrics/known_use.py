"""Scores of a map or mask against the bins that a classifier is known to use, or that a person has annotated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from otoscope.errors import ShapeError
from otoscope.metrics.bins import flatten_bins, require_same_shape, result_dtype
from otoscope.metrics.localisation import mask_auroc
from otoscope.metrics.ranking import Ranking, neutral_order, rank_bins


def energy_truth(log_magnitude: Tensor, share: float = 0.9, frames: Tensor | None = None) -> Tensor:
    """Return the bins that hold most of the energy of a cue: the largest ones that hold a share of it together.

    Args:
        log_magnitude: log1p of the magnitude of the cue alone. Shape (batch, frequency, time).
        share: Share of the energy, in (0, 1].
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        True inside; nowhere for a silent cue. Shape (batch, frequency, time).

    Example:
        >>> energy_truth(torch.tensor([[[3.0, 0.0, 2.0, 1.0]]]).log1p())
        tensor([[[ True, False,  True, False]]])
    """
    energy = flatten_bins(log_magnitude, frames).values.expm1().square()
    ordered, order = energy.sort(dim=1, descending=True, stable=True)
    # A bin is needed as long as the larger ones before it hold less than the share.
    before = ordered.cumsum(1) - ordered
    needed = (before < share * energy.sum(1, keepdim=True)) & (ordered > 0)
    return torch.zeros_like(needed).scatter(1, order, needed).view_as(log_magnitude)


def relevance_mass_accuracy(relevance: Tensor, truth: Tensor, frames: Tensor | None = None) -> Tensor:
    r"""Return the share of the positive relevance that lies inside the truth.

    .. math:: \sum_{i \in T} R_i^+ / \sum_i R_i^+

    Args:
        relevance: Map in which 0 means no relevance; negative values count as 0. Shape (batch, frequency, time).
        truth: True (or above 0.5) in the bins that the classifier uses. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Share in [0, 1]; 0 where no relevance is positive, NaN (undefined) where the map holds NaN or the truth is
        empty. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        Arras et al. 2022, CLEVR-XAI, Information Fusion 81, arXiv 2003.07258. Departures: relevance of a bin is its
        positive part; there are no colour channels to pool.

    Example:
        >>> relevance_mass_accuracy(torch.tensor([[[3.0, 1.0, -2.0]]]), torch.tensor([[[1.0, 0.0, 0.0]]]))
        tensor([0.7500])
    """
    inside, values = _inside(relevance, truth, frames)
    positive = values.clamp(min=0)
    total = positive.sum(1)
    share = (positive * inside).sum(1) / total.where(total > 0, torch.ones_like(total))
    undefined = values.isnan().any(1) | ~inside.any(1)
    return share.masked_fill(undefined, torch.nan).to(result_dtype(relevance))


def relevance_rank_accuracy(ranking: Ranking, truth: Tensor, frames: Tensor | None = None) -> Tensor:
    r"""Return the share of the truth among as many best bins: precision and recall at the size of the truth.

    .. math:: |\{r_1, \dots, r_K\} \cap T| / K, \quad K = |T|

    Args:
        ranking: Ranking of the bins; ties are broken by it. Shape (batch, frequency, time).
        truth: True (or above 0.5) in the bins that the classifier uses. Same shape.
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Share in [0, 1]; NaN (undefined) where the map holds NaN or the truth is empty. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        Arras et al. 2022, CLEVR-XAI, Information Fusion 81, arXiv 2003.07258. Departures: none.

    Example:
        >>> from otoscope.metrics.ranking import neutral_order, rank_bins
        >>> values = torch.tensor([[[0.9, 0.5, 0.1, 0.7]]])
        >>> ranking = rank_bins(values, neutral_order(values, ["clip"], seed=0))
        >>> relevance_rank_accuracy(ranking, torch.tensor([[[1.0, 1.0, 0.0, 0.0]]]))
        tensor([0.5000])
    """
    require_same_shape(ranking=ranking.position, truth=truth)
    inside, _ = _inside(truth.double(), truth, frames)
    mask = ranking.mask_of(inside.sum(1)).flatten(1)
    count = inside.sum(1)
    share = (mask * inside).sum(1) / count
    return share.float()


def pointing_game(ranking: Ranking, truth: Tensor, tolerance: Sequence[int] = (0, 0)) -> Tensor:
    """Return 1 where the best bin lies inside the truth, else 0.

    Args:
        ranking: Ranking of the bins; ties are broken by it. Shape (batch, frequency, time).
        truth: True (or above 0.5) in the bins that the classifier uses. Same shape.
        tolerance: Distance in bins of frequency and in frames at which a bin still counts as inside.

    Returns:
        0 or 1; NaN (undefined) where the map holds NaN or the truth is empty. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop, arXiv 1608.00507. Departures: the
        tolerance, 15 pixels in the paper, is given in bins.

    Example:
        >>> from otoscope.metrics.ranking import neutral_order, rank_bins
        >>> values = torch.tensor([[[0.9, 0.5, 0.1, 0.7]]])
        >>> ranking = rank_bins(values, neutral_order(values, ["clip"], seed=0))
        >>> pointing_game(ranking, torch.tensor([[[0.0, 1.0, 0.0, 0.0]]]), tolerance=(0, 1))
        tensor([1.])
    """
    require_same_shape(ranking=ranking.position, truth=truth)
    inside = (truth > 0.5).float()
    size = [2 * reach + 1 for reach in tolerance]
    wider = torch.nn.functional.max_pool2d(inside[:, None], size, stride=1, padding=list(tolerance))[:, 0]
    hit = ((ranking.position == 0) & (wider > 0)).flatten(1).any(1).float()
    undefined = (ranking.position < 0).flatten(1).all(1) | ~inside.flatten(1).any(1).bool()
    return hit.masked_fill(undefined, torch.nan)


def temporal_overlap(mask: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Return intersection over union and F1 of the frames that a mask and the truth mark.

    A frame of the mask is marked if it keeps at least half as many bins as the marked frames of the truth do on
    average, so that single bins scattered over the clip mark nothing.

    Args:
        mask: Binary mask, 0 in the padding, such as the one of the truth's area. Shape (batch, frequency, time).
        truth: True (or above 0.5) in the bins that the classifier uses. Same shape.

    Returns:
        ``temporal_iou`` and ``temporal_f1`` in [0, 1]; NaN (undefined) where the mask holds NaN or the truth is
        empty. Shape of each (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        The segment-based F1 of Mesaros et al. 2016, Metrics for Polyphonic Sound Event Detection, Applied Sciences
        6, with segments of one frame. Departures: how a mask becomes frames.

    Example:
        >>> mask = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
        >>> temporal_overlap(mask, torch.tensor([[[0.0, 1.0, 0.0, 0.0]]]))
        {'temporal_iou': tensor([0.5000]), 'temporal_f1': tensor([0.6667])}
    """
    require_same_shape(mask=mask, truth=truth)
    if mask.ndim != 3:
        raise ShapeError(f"expected (batch, frequency, time), got shape {tuple(mask.shape)}")
    bins_of_truth = (truth > 0.5).sum(1).double()
    true_frames = bins_of_truth > 0
    count = true_frames.sum(1)
    needed = 0.5 * bins_of_truth.sum(1) / count
    marked = mask.double().sum(1) >= needed[:, None]
    both = (marked & true_frames).sum(1).double()
    either = (marked | true_frames).sum(1).double()
    undefined = mask.isnan().flatten(1).any(1) | (count == 0)
    iou = (both / either).masked_fill(undefined, torch.nan)
    f1 = (2 * both / (marked.sum(1) + count)).masked_fill(undefined, torch.nan)
    dtype = result_dtype(mask)
    return {"temporal_iou": iou.to(dtype), "temporal_f1": f1.to(dtype)}


def score_annotated(
    relevance: Tensor, truth: Tensor, names: Sequence[str], seed: int, frames: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the scores of maps against annotated boxes of time and frequency.

    Boxes hold silence between the parts of a sound too, so that a good map marks few of their bins. Times are
    therefore compared by the positive relevance of each frame: as many frames as are annotated, those with the most
    relevance, are marked.

    Args:
        relevance: Maps in which 0 means no relevance. Shape (batch, frequency, time).
        truth: True in the annotated bins. Same shape.
        names: Names of the clips, for the order of equal values.
        seed: Seed of that order.
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        ``mass``, ``rank``, ``pointing``, ``tIoU`` and ``tF1``; NaN (undefined) where nothing is annotated or the
        map holds NaN. Shape of each (batch,).

    Example:
        >>> truth = torch.tensor([[[False, True, True, False], [False, False, False, False]]])
        >>> scores = score_annotated(truth.float(), truth, ["clip"], seed=0)
        >>> {name: float(value) for name, value in scores.items()}
        {'mass': 1.0, 'rank': 1.0, 'pointing': 1.0, 'tIoU': 1.0, 'tF1': 1.0}
    """
    require_same_shape(relevance=relevance, truth=truth)
    ranking = rank_bins(relevance, neutral_order(relevance, names, seed, frames), frames)
    profile = relevance.clamp(min=0).sum(1, keepdim=True)
    true_frames = truth.any(1, keepdim=True)
    ranked_frames = rank_bins(profile, neutral_order(profile, names, seed, frames), frames)
    marked = ranked_frames.mask_of(true_frames.flatten(1).sum(1))
    overlap = temporal_overlap(marked, true_frames)
    return {
        "mass": relevance_mass_accuracy(relevance, truth, frames),
        "rank": relevance_rank_accuracy(ranking, truth, frames),
        "pointing": pointing_game(ranking, truth),
        "tIoU": overlap["temporal_iou"],
        "tF1": overlap["temporal_f1"],
    }


def target_swap_consistency(
    first: Tensor, second: Tensor, truth_of_first: Tensor, truth_of_second: Tensor, frames: Tensor | None = None
) -> Tensor:
    r"""Return whether explanations of two classes, both present in a clip, point each at the truth of its class.

    .. math:: \tfrac12 \left[ P(A_i > A_j) + P(B_j > B_i) \right]

    for i a random bin of the first truth and j one of the second; bins of both are left out, and equal values count
    half. A map that does not depend on the explained class has exactly 0.5, wherever it points.

    Args:
        first: Map that explains the first class. Shape (batch, frequency, time).
        second: Map that explains the second class. Same shape.
        truth_of_first: True (or above 0.5) in the bins that decide for the first class. Same shape.
        truth_of_second: The same for the second class. Same shape.
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Value in [0, 1]; NaN (undefined) where a map holds NaN or a truth has no bin alone. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Example:
        >>> here, there = torch.tensor([[[1.0, 0.0, 0.0]]]), torch.tensor([[[0.0, 1.0, 0.0]]])
        >>> target_swap_consistency(here, there, here, there), target_swap_consistency(here, here, here, there)
        (tensor([1.]), tensor([0.5000]))
    """
    require_same_shape(first=first, second=second, of_first=truth_of_first, of_second=truth_of_second)
    in_first, _ = _inside(first, truth_of_first, frames)
    in_second, _ = _inside(second, truth_of_second, frames)
    results = []
    for clip in range(len(first)):
        only_first, only_second = in_first[clip] & ~in_second[clip], in_second[clip] & ~in_first[clip]
        # AUROC of the bins of both truths alone, one row of bins
        compared = only_first | only_second
        is_first = only_first[compared].double()[None, None]
        own_side = mask_auroc(first[clip].flatten()[compared][None, None], is_first)
        other_side = mask_auroc(second[clip].flatten()[compared][None, None], 1 - is_first)
        results.append((own_side + other_side) / 2)
    return torch.cat(results).to(result_dtype(first))


def _inside(relevance: Tensor, truth: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return which valid bins lie inside the truth, and the values of the map, each of shape (batch, bins)."""
    require_same_shape(relevance=relevance, truth=truth)
    bins = flatten_bins(relevance, frames)
    return (truth.flatten(1) > 0.5) & bins.valid, bins.values
