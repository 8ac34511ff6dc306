"""Scores of how little of the recording a mask keeps, and how concentrated it is.

All values are computed in float64 over the valid bins alone, and are NaN for a clip without valid bins.
"""

import torch
from torch import Tensor

from otoscope.metrics.bins import flatten_bins, result_dtype

# Quantus adds these two offsets, and published values contain them.
GINI_OFFSET = 1e-7
ENTROPY_OFFSET = 1e-12


def mean_mask(mask: Tensor, frames: Tensor | None = None) -> Tensor:
    r"""Return the mean value of the mask: the area that it keeps.

    .. math:: \mathrm{MM} = \frac{1}{N} \sum_{f,t} M_{f,t}

    Args:
        mask: Mask, usually in [0, 1]. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Mean over the valid bins, in [0, 1] if the mask is. Shape (batch,).

    Raises:
        ShapeError: `mask` has not three dimensions, or `frames` does not fit it.

    Example:
        >>> mean_mask(torch.tensor([[[1.0, 0.0, 0.7]]]), frames=torch.tensor([2]))
        tensor([0.5000])
    """
    bins = flatten_bins(mask, frames)
    return (bins.values.sum(dim=1) / bins.count).to(result_dtype(mask))


def sparseness(mask: Tensor, frames: Tensor | None = None) -> Tensor:
    r"""Return the Gini index of the mask: 0 if all bins are equal, towards 1 if few bins hold everything.

    .. math:: \mathrm{SPS} = \frac{\sum_{i=1}^N (2i - N - 1)\, x_{(i)}}{N \sum_{i=1}^N x_{(i)}},
        \quad x = |M| + 10^{-7} \text{ in ascending order}

    An all-zero mask has sparseness 0, the worst value.

    Args:
        mask: Mask; its absolute value counts. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Gini index in [0, 1). Shape (batch,).

    Raises:
        ShapeError: `mask` has not three dimensions, or `frames` does not fit it.

    Reference:
        Chalasani et al. 2020, Concise explanations of neural networks using adversarial training, with
        the offset of Quantus (Hedström et al. 2023). Departures: computed in float64.

    Example:
        >>> sparseness(torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]))
        tensor([0.7500])
    """
    bins = flatten_bins(mask, frames)
    ascending = (bins.values.abs() + GINI_OFFSET).masked_fill(~bins.valid, 0.0).sort(dim=1).values
    # The padding is smaller than any valid bin, so it takes the first ranks and moves all others up.
    padded = bins.values.shape[1] - bins.count
    rank = torch.arange(1, bins.values.shape[1] + 1, device=mask.device) - padded[:, None]
    weighted = ((2 * rank - bins.count[:, None] - 1) * ascending).sum(dim=1)
    gini = weighted / (bins.count * ascending.sum(dim=1))
    return gini.clamp(min=0.0).to(result_dtype(mask))


def complexity(mask: Tensor, frames: Tensor | None = None) -> Tensor:
    r"""Return the entropy of the mask as a distribution over bins: 0 if one bin holds everything.

    .. math:: \mathrm{COMP} = -\sum_{f,t} q_{f,t} \ln(q_{f,t} + 10^{-12}),
        \quad q = |M| \,/ \sum_{f,t} |M_{f,t}|

    An all-zero mask has complexity ln N, the worst value, as any uniform mask has, however faint.

    Args:
        mask: Mask; its absolute value counts. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Entropy in nats, in [0, ln N] for N valid bins. Shape (batch,).

    Raises:
        ShapeError: `mask` has not three dimensions, or `frames` does not fit it.

    Reference:
        Bhatt et al. 2020, Evaluating and aggregating feature-based model explanations, as in Quantus
        (Hedström et al. 2023). Departures: Quantus gives NaN for an all-zero mask; computed in float64.

    Example:
        >>> complexity(torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]]))
        tensor([0.0000, 0.6931])
    """
    bins = flatten_bins(mask, frames)
    magnitude = bins.values.abs()
    total = magnitude.sum(dim=1, keepdim=True)
    # NaN for an all-zero mask, which the last line replaces by the entropy of the uniform distribution.
    share = magnitude / total
    entropy = -(share * (share + ENTROPY_OFFSET).log()).sum(dim=1)
    uniform = torch.where(bins.count > 0, bins.count.log(), torch.nan)
    # The offset inside the logarithm can make the entropy of a single bin slightly negative, hence the clamp.
    return torch.where(total.squeeze(1) == 0, uniform, entropy.clamp(min=0.0)).to(result_dtype(mask))


def is_empty(mask: Tensor, frames: Tensor | None = None) -> Tensor:
    """Return whether a mask is zero in every valid bin.

    Args:
        mask: Mask. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        True where the mask keeps nothing. Shape (batch,), bool.

    Raises:
        ShapeError: `mask` has not three dimensions, or `frames` does not fit it.

    Example:
        >>> is_empty(torch.tensor([[[0.0, 0.0]], [[0.0, 0.1]]]))
        tensor([ True, False])
    """
    return (flatten_bins(mask, frames).values == 0).all(dim=1)
