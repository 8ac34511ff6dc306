"""Augmentations for the training of classifiers, on whole batches."""

from __future__ import annotations

import torch
from torch import Tensor


def shift_in_time(waveform: Tensor) -> Tensor:
    """Rotate each clip by a random number of samples.

    Args:
        waveform: Waveforms of the clips, shape (batch, samples).

    Returns:
        Rotated waveforms, same shape; samples that leave at the start come back at the end.
    """
    samples = waveform.shape[-1]
    shifts = torch.randint(samples, (len(waveform), 1), device=waveform.device)[:, 0].tolist()
    # Clip by clip, because torch.roll takes the same shift for a whole batch; a gather takes ten times as long.
    return torch.stack([clip.roll(-shift) for clip, shift in zip(waveform, shifts, strict=True)])


def crop_in_time(waveform: Tensor, lengths: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Cut a random part of each clip.

    Args:
        waveform: Waveforms of the clips, zero-padded at the end. Shape (batch, longest).
        lengths: Samples of each clip without its padding. Shape (batch,).
        samples: Length of the parts. A shorter clip is kept whole, with its padding.

    Returns:
        The parts, shape (batch, samples) or shorter if all clips are, and the samples of each without padding.
    """
    samples = min(samples, waveform.shape[-1])
    # uniform over the starts from which a part without padding fits; the first sample if there is none
    starts = (lengths.to(waveform.device) - samples).clamp(min=0) + 1
    start = (torch.rand(len(waveform), device=waveform.device) * starts).long()
    index = start[:, None] + torch.arange(samples, device=waveform.device)
    return waveform.gather(1, index), lengths.clamp(max=samples)


def drop_bands(log_magnitude: Tensor, count: int, widest: float, dim: int) -> Tensor:
    """Silence random bands of frequency (``dim`` 1) or chunks of time (``dim`` 2) of each clip.

    Args:
        log_magnitude: Log magnitude of the clips, shape (batch, frequency, time).
        count: Number of bands per clip; each has a random width, from nothing up to the widest.
        widest: Width of the widest band, as a share of the whole range.
        dim: Dimension along which bands are dropped: 1 for frequency, 2 for time.

    Returns:
        Log magnitude with zeros in the bands, same shape.

    Reference:
        Park et al. 2019, SpecAugment, arXiv 1904.08779. The published recipe of the classifiers drops frequencies
        and chunks of the waveform instead.
    """
    size = log_magnitude.shape[dim]
    shape = (len(log_magnitude), count, 1)
    width = torch.rand(shape, device=log_magnitude.device) * widest * size
    # uniform over the starts from which the whole band fits
    start = (torch.rand(shape, device=log_magnitude.device) * (size - width + 1)).floor()
    position = torch.arange(size, device=log_magnitude.device)
    # (batch, count, size) -> (batch, size): a position is dropped if any of the clip's bands covers it
    dropped = ((position >= start) & (position < start + width)).any(1)
    return log_magnitude.masked_fill(dropped.unsqueeze(3 - dim), 0)


def mix_up(waveform: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each clip with another clip of the batch.

    Args:
        waveform: Waveforms of the clips, shape (batch, samples).
        alpha: Parameter of the beta distribution that the shares are drawn from; small values mix little.

    Returns:
        The mixtures, the index of each clip's partner, and the clip's share of its mixture, at least 0.5.
        Shapes (batch, samples), (batch,), (batch,).

    Reference:
        Zhang et al. 2018, mixup, arXiv 1710.09412.
    """
    share = torch.distributions.Beta(alpha, alpha).sample((len(waveform),)).to(waveform)
    # The distribution is symmetric, so shares s and 1 - s are equally likely. With the larger of the two, the label
    # of the clip is the main label of its mixture, and the training accuracy can be measured against it.
    share = torch.maximum(share, 1 - share)
    partner = torch.randperm(len(waveform), device=waveform.device)
    mixed = share[:, None] * waveform + (1 - share[:, None]) * waveform[partner]
    return mixed, partner, share
