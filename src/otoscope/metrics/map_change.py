"""Scores of how much a map changes when the classifier or the sound is changed."""

from __future__ import annotations

import torch
from torch import Tensor

from otoscope.errors import ShapeError
from otoscope.metrics.bins import require_same_shape
from otoscope.metrics.ranking import largest_bins

HISTOGRAM_BINS = 100


def best_share_overlap(first: Tensor, second: Tensor, share: float = 0.2) -> float:
    """Return how many of the best bins of one map are among the best bins of another, as a share of them.

    Unlike a rank correlation, it does not depend on the order of the many bins that matter to neither map.
    Unrelated maps have the overlap of chance, ``share``.

    Args:
        first: Map, shape (frequency, time).
        second: Map of the same shape.
        share: Share of the bins that count as best.

    Returns:
        Overlap in [0, 1]; NaN where a map holds NaN.

    Raises:
        ShapeError: The shapes differ.

    Example:
        >>> best_share_overlap(torch.arange(10.0)[None], torch.arange(10.0)[None].flip(1))
        0.0
    """
    require_same_shape(first=first, second=second)
    masks = [largest_bins(values.float(), share) for values in (first, second)]
    return float((masks[0] * masks[1]).sum() / masks[0].sum())


def map_entropy(values: Tensor, bins: int = HISTOGRAM_BINS) -> float:
    """Return the entropy of the histogram of a map's values in nats, a measure of its complexity.

    Args:
        values: Map of any shape.
        bins: Number of intervals of equal width between the smallest and the largest value.

    Returns:
        Entropy in [0, log(bins)]; 0 for a constant map, NaN for one that is not finite.

    Example:
        >>> round(map_entropy(torch.tensor([0.0, 0.0, 1.0, 1.0]), bins=2), 4)
        0.6931
    """
    if not torch.isfinite(values).all():
        return float("nan")
    # In the precision of the map, with closed right end of the last interval, as in numpy.
    counts = torch.histogram(values.detach().cpu().flatten().double(), bins=bins).hist
    probabilities = counts[counts > 0] / counts.sum()
    return float(-(probabilities * probabilities.log()).sum())


def complexity_rise(original: Tensor, randomised: Tensor) -> float:
    r"""Return the relative rise of a map's complexity when the classifier is randomised (eMPRT).

    .. math:: (H(R') - H(R)) / H(R)

    for the `map_entropy` H of the map R and of the map R' of the randomised classifier. A method that explains the
    classifier has a positive rise: a randomised classifier uses nothing in particular.

    Args:
        original: Map of the intact classifier, of any shape.
        randomised: Map of the randomised one.

    Returns:
        Rise; NaN where the original map is constant or a map is not finite.

    Raises:
        ShapeError: The shapes differ.

    Reference:
        Hedström et al. 2023, Sanity Checks Revisited, arXiv 2401.06465 (efficient model parameter randomisation
        test). Departures: none in this score; `otoscope.evaluation.randomisation` shuffles weights where the paper
        draws them from their initialisers.
    """
    if original.shape != randomised.shape:
        raise ShapeError(f"the shapes differ: {tuple(original.shape)} and {tuple(randomised.shape)}")
    before, after = map_entropy(original), map_entropy(randomised)
    return (after - before) / before if before > 0 else float("nan")
