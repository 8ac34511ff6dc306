"""Scores of how well a mask locates the event, for clips whose ideal mask is known."""

import torch
from torch import Tensor

from otoscope.errors import ShapeError
from otoscope.metrics.bins import flatten_bins, require_same_shape, result_dtype
from otoscope.metrics.ranking import mean_ranks

SI_SDR_LOWEST_DB = -30.0
SI_SDR_HIGHEST_DB = 60.0


def intersection_over_union(
    mask: Tensor, ideal: Tensor, frames: Tensor | None = None, threshold: float | None = None
) -> Tensor:
    r"""Return the overlap of the mask with the ideal mask (Jaccard index).

    .. math:: \mathrm{IoU} = \sum \min(M, I) \,/ \sum \max(M, I)

    For binary masks this is intersection over union. Two empty masks agree: 1.

    Args:
        mask: Mask in [0, 1]. Shape (batch, frequency, time).
        ideal: Ideal mask in [0, 1]. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).
        threshold: Threshold that makes the masks binary first, `mask > threshold` and `ideal > 0.5`. None: compare
            soft masks.

    Returns:
        Overlap in [0, 1]. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Example:
        >>> intersection_over_union(torch.tensor([[[1.0, 1.0, 0.0]]]), torch.tensor([[[0.0, 1.0, 0.0]]]))
        tensor([0.5000])
    """
    require_same_shape(mask=mask, ideal=ideal)
    if threshold is not None:
        mask, ideal = _binary(mask, threshold), _binary(ideal, 0.5)
    values, ideal_values = flatten_bins(mask, frames).values, flatten_bins(ideal, frames).values
    # The padding is 0 in both masks and adds to neither sum.
    union = torch.maximum(values, ideal_values).sum(dim=1)
    overlap = torch.minimum(values, ideal_values).sum(dim=1) / union
    return overlap.masked_fill(union == 0, 1.0).to(result_dtype(mask))


def mask_auroc(mask: Tensor, ideal: Tensor, frames: Tensor | None = None) -> Tensor:
    r"""Return the area under the ROC curve of the mask's values as scores for the ideal mask's bins.

    .. math:: \mathrm{AUROC} = P(M_i > M_j) + \tfrac12 P(M_i = M_j)

    for i a random bin inside the ideal mask and j a random bin outside. It needs no threshold and no scale: 1 is a
    perfect ranking; 0.5 is chance, and the value of any constant mask.

    Args:
        mask: Mask of any scale. Shape (batch, frequency, time).
        ideal: Ideal mask; a bin is inside where it exceeds 0.5. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Area in [0, 1]; NaN (undefined) where all bins are inside or all outside. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        Hanley & McNeil 1982, The meaning and use of the area under a ROC curve. Departures: none.

    Example:
        >>> mask_auroc(torch.tensor([[[0.9, 0.4, 0.4, 0.1]]]), torch.tensor([[[1.0, 1.0, 0.0, 0.0]]]))
        tensor([0.8750])
    """
    require_same_shape(mask=mask, ideal=ideal)
    bins = flatten_bins(mask, frames, padding_value=-torch.inf)
    inside = (ideal.flatten(1) > 0.5) & bins.valid
    # The padding, -inf, takes the lowest ranks, so the ranks of the valid bins are too high by its size.
    padding = bins.values.shape[1] - bins.count
    # In the precision of the mask, which has the same order and is sorted faster.
    rank = mean_ranks(bins.values.to(mask.dtype)) - padding[:, None]
    positives = inside.sum(dim=1).to(rank.dtype)
    pairs = positives * (bins.count - positives)
    # Mann-Whitney statistic: the rank of a bin inside counts that bin and all bins below it. The sum of these
    # ranks, less the n (n + 1) / 2 counts of bins inside, is the number of correctly ordered pairs (inside,
    # outside).
    won = (rank * inside).sum(dim=1) - positives * (positives + 1) / 2
    undefined = torch.isnan(bins.values).any(dim=1)
    return (won / pairs).masked_fill(undefined, torch.nan).to(result_dtype(mask))


def si_sdr(estimate: Tensor, reference: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the scale-invariant signal-to-distortion ratio of a sound, clamped to [-30, 60] dB.

    Args:
        estimate: Sound to compare with the reference. Shape (batch, samples).
        reference: Sound that the estimate should equal. Shape (batch, samples).
        lengths: Valid samples of each clip; None: all. Shape (batch,).

    Returns:
        Ratio in dB; -30 for a silent estimate, NaN (undefined) where the reference is silent. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        Le Roux et al. 2019, SDR - half-baked or well done? Departures: the limits, and silence.

    Example:
        >>> si_sdr(torch.tensor([[3.0, 0.3]]), torch.tensor([[1.0, 0.0]]))
        tensor([20.])
    """
    require_same_shape(estimate=estimate, reference=reference)
    if estimate.ndim != 2:
        raise ShapeError(f"expected waveforms (batch, samples), got shape {tuple(estimate.shape)}")
    result = _si_sdr_db(_unit_norm(estimate, lengths), _unit_norm(reference, lengths))
    return result.to(result_dtype(estimate))


def si_sdr_improvement(evidence: Tensor, mixture: Tensor, event: Tensor, lengths: Tensor | None = None) -> Tensor:
    r"""Return how much nearer the evidence is to the sound of the event than the mixture is.

    .. math:: \mathrm{SI\text{-}SDRi} = \mathrm{SI\text{-}SDR}(\text{evidence}, \text{event})
        - \mathrm{SI\text{-}SDR}(\text{mixture}, \text{event})

    Each of the two is clamped to [-30, 60] dB, so that no single clip dominates a mean. Silent evidence has the
    lowest value, -30 dB.

    Args:
        evidence: Sound that the mask keeps. Shape (batch, samples).
        mixture: Whole recording. Shape (batch, samples).
        event: Event alone. Shape (batch, samples).
        lengths: Valid samples of each clip; None: all. Shape (batch,).

    Returns:
        Improvement in dB, in [-90, 90]; NaN (undefined) where the event is silent. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        Le Roux et al. 2019, SDR - half-baked or well done? Departures: the limits, and silence.

    Example:
        >>> event, noise = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> si_sdr_improvement(event + 0.1 * noise, event + noise, event)
        tensor([20.])
    """
    require_same_shape(evidence=evidence, mixture=mixture, event=event)
    if evidence.ndim != 2:
        raise ShapeError(f"expected waveforms (batch, samples), got shape {tuple(evidence.shape)}")
    if lengths is not None and lengths.shape != evidence.shape[:1]:
        raise ShapeError(f"expected {len(evidence)} `lengths`, got shape {tuple(lengths.shape)}")
    units = [_unit_norm(waveform, lengths) for waveform in (evidence, mixture, event)]
    return (_si_sdr_db(units[0], units[2]) - _si_sdr_db(units[1], units[2])).to(result_dtype(evidence))


def _binary(mask: Tensor, threshold: float) -> Tensor:
    # A comparison with NaN is False, and would turn a broken mask into an empty one.
    values = mask.to(result_dtype(mask))
    return (values > threshold).to(values.dtype).masked_fill(torch.isnan(values), torch.nan)


def _unit_norm(waveform: Tensor, lengths: Tensor | None) -> Tensor:
    # torchmetrics adds an epsilon to the energies, which would change the ratio of a faint recording. The ratio
    # does not depend on the scale, so waveforms of unit norm avoid this.
    values = flatten_bins(waveform[:, None, :], lengths).values
    return torch.nn.functional.normalize(values, dim=1, eps=torch.finfo(values.dtype).tiny)


def _si_sdr_db(estimate: Tensor, event: Tensor) -> Tensor:
    # Imported on first use: importing torchmetrics takes longer than importing PyTorch.
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    ratio_db = scale_invariant_signal_distortion_ratio(estimate, event)
    # Silence stays zero after normalisation; its ratio would otherwise depend on the epsilon alone.
    ratio_db = ratio_db.masked_fill((estimate == 0).all(dim=1), SI_SDR_LOWEST_DB)
    ratio_db = ratio_db.masked_fill((event == 0).all(dim=1), torch.nan)
    return ratio_db.clamp(SI_SDR_LOWEST_DB, SI_SDR_HIGHEST_DB)
