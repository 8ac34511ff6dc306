"""How well a mask finds the event, where the truth about it is known."""

import torch
from torch import Tensor
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from otoscope.errors import ShapeError
from otoscope.metrics.bins import lay_flat, require_same_shape, result_dtype

SI_SDR_LOWEST_DB = -30.0
SI_SDR_HIGHEST_DB = 60.0


def intersection_over_union(
    mask: Tensor, ideal: Tensor, frames: Tensor | None = None, threshold: float | None = None
) -> Tensor:
    r"""Overlap of the mask with the ideal mask (Jaccard index).

    .. math:: \mathrm{IoU} = \sum \min(M, I) \,/ \sum \max(M, I)

    For binary masks this is intersection over union. Two empty masks agree: 1.

    Args:
        mask: Mask in [0, 1]. Shape (batch, frequency, time).
        ideal: Ideal mask in [0, 1]. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).
        threshold: Make the masks binary first: `mask > threshold`, `ideal > 0.5`. None: leave them soft.

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
    found, true = lay_flat(mask, frames).values, lay_flat(ideal, frames).values
    union = torch.maximum(found, true).sum(dim=1)
    overlap = torch.minimum(found, true).sum(dim=1) / union
    return overlap.masked_fill(union == 0, 1.0).to(result_dtype(mask))


def mask_auroc(mask: Tensor, ideal: Tensor, frames: Tensor | None = None) -> Tensor:
    r"""Area under the ROC curve of the mask's values as scores for the ideal mask's bins.

    .. math:: \mathrm{AUROC} = P(M_i > M_j) + \tfrac12 P(M_i = M_j)

    for i a random bin inside the ideal mask and j one outside. It needs no threshold and no scale: 1 is a
    perfect ranking, 0.5 is chance and also any constant mask.

    Args:
        mask: Mask, of any scale. Shape (batch, frequency, time).
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
    bins = lay_flat(mask, frames, filling=-torch.inf)
    scores, order = bins.values.sort(dim=1)
    inside = ((ideal.flatten(1) > 0.5) & bins.valid).gather(1, order)
    below = torch.searchsorted(scores, scores, right=False)
    not_above = torch.searchsorted(scores, scores, right=True)
    # Equal scores share the mean of their ranks; the padding holds the lowest ranks of all.
    padded = bins.values.shape[1] - bins.count
    rank = (below + not_above + 1).to(scores.dtype) / 2 - padded[:, None]
    positives = inside.sum(dim=1).to(scores.dtype)
    pairs = positives * (bins.count - positives)
    won = (rank * inside).sum(dim=1) - positives * (positives + 1) / 2
    undefined = torch.isnan(bins.values).any(dim=1)
    return (won / pairs).masked_fill(undefined, torch.nan).to(result_dtype(mask))


def si_sdr(estimate: Tensor, reference: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Scale-invariant signal-to-distortion ratio of a sound towards another, held within [-30, 60] dB.

    Args:
        estimate: What is measured. Shape (batch, samples).
        reference: What it should be. Shape (batch, samples).
        lengths: Valid samples of each clip; None: all. Shape (batch,).

    Returns:
        In dB; -30 for a silent estimate, NaN (undefined) where the reference is silent. Shape (batch,).

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
    r"""How much nearer the evidence is to the sound of the event than the mixture is.

    .. math:: \mathrm{SI\text{-}SDRi} = \mathrm{SI\text{-}SDR}(\text{evidence}, \text{event})
        - \mathrm{SI\text{-}SDR}(\text{mixture}, \text{event})

    Each of the two is held within [-30, 60] dB, so that no single clip rules a mean. A silent evidence has
    the lowest value, -30 dB.

    Args:
        evidence: The sound that the mask keeps. Shape (batch, samples).
        mixture: The whole recording. Shape (batch, samples).
        event: The event alone. Shape (batch, samples).
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
    kept, whole, true = (_unit_norm(waveform, lengths) for waveform in (evidence, mixture, event))
    return (_si_sdr_db(kept, true) - _si_sdr_db(whole, true)).to(result_dtype(evidence))


def _binary(mask: Tensor, threshold: float) -> Tensor:
    values = mask.to(result_dtype(mask))
    return (values > threshold).to(values.dtype).masked_fill(torch.isnan(values), torch.nan)


def _unit_norm(waveform: Tensor, lengths: Tensor | None) -> Tensor:
    # torchmetrics adds an epsilon to the energies, which would count in a faint recording.
    values = lay_flat(waveform[:, None, :], lengths).values
    return torch.nn.functional.normalize(values, dim=1, eps=torch.finfo(values.dtype).tiny)


def _si_sdr_db(estimate: Tensor, event: Tensor) -> Tensor:
    ratio_db = scale_invariant_signal_distortion_ratio(estimate, event)
    ratio_db = ratio_db.masked_fill((estimate == 0).all(dim=1), SI_SDR_LOWEST_DB)
    ratio_db = ratio_db.masked_fill((event == 0).all(dim=1), torch.nan)
    return ratio_db.clamp(SI_SDR_LOWEST_DB, SI_SDR_HIGHEST_DB)
