"""Augmentations for training classifiers, on whole batches."""

from __future__ import annotations

import torch
from torch import Tensor


def shift_in_time(waveform: Tensor) -> Tensor:
    """Rotates each clip by a random number of samples.

    Args:
        waveform: Shape (batch, samples).
    """
    samples = waveform.shape[-1]
    shift = torch.randint(samples, (len(waveform), 1), device=waveform.device)
    index = (torch.arange(samples, device=waveform.device) + shift) % samples
    return waveform.gather(1, index)


def drop_bands(log_magnitude: Tensor, count: int, widest: float, dim: int) -> Tensor:
    """Silences random bands of frequency (``dim`` 1) or chunks of time (``dim`` 2) of each clip.

    Args:
        log_magnitude: Shape (batch, frequency, time).
        count: Bands per clip; each has a random width, from nothing up to the widest.
        widest: Share of the whole range.
        dim: 1 for frequency, 2 for time.

    Reference:
        Park et al. 2019, SpecAugment; the published recipe drops frequencies and chunks of the waveform.
    """
    size = log_magnitude.shape[dim]
    shape = (len(log_magnitude), count, 1)
    width = torch.rand(shape, device=log_magnitude.device) * widest * size
    start = (torch.rand(shape, device=log_magnitude.device) * (size - width + 1)).floor()
    position = torch.arange(size, device=log_magnitude.device)
    dropped = ((position >= start) & (position < start + width)).any(1)
    return log_magnitude.masked_fill(dropped.unsqueeze(3 - dim), 0)


def mix_up(waveform: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mixes each clip with another one of the batch.

    Args:
        waveform: Shape (batch, samples).
        alpha: Of the beta distribution that the share is drawn from; small values mix little.

    Returns:
        The mixtures, the index of each partner, and the share of the first. Shapes (batch, samples),
        (batch,), (batch,).

    Reference:
        Zhang et al. 2018, mixup, arXiv 1710.09412.
    """
    share = torch.distributions.Beta(alpha, alpha).sample((len(waveform),)).to(waveform)
    share = torch.maximum(share, 1 - share)
    partner = torch.randperm(len(waveform), device=waveform.device)
    mixed = share[:, None] * waveform + (1 - share[:, None]) * waveform[partner]
    return mixed, partner, share
