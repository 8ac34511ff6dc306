"""Mel filter bank that the published classifiers were trained with."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mel_centers_hz(n_mels: int = 80, sample_rate_hz: int = 16_000) -> Tensor:
    """Return the centres of the filters of `mel_filters`, in Hz. Shape (n_mels,).

    Args:
        n_mels: Number of filters.
        sample_rate_hz: Sample rate.

    Example:
        >>> mel_centers_hz(n_mels=3).round()
        tensor([ 614., 1768., 3934.])
    """
    return _corners_hz(n_mels, sample_rate_hz)[1:-1]


def mel_filters(n_mels: int = 80, bins: int = 513, sample_rate_hz: int = 16_000) -> Tensor:
    r"""Return triangular filters, evenly spaced on the HTK mel scale :math:`2595 \log_{10}(1 + f / 700)`.

    Each filter is symmetric in Hz: its half-width on both sides is the distance to the previous centre. The filters
    of the usual bank reach up to the next centre instead, but the published weights need this one.

    Args:
        n_mels: Number of filters.
        bins: Number of frequency bins of the spectrogram, from 0 Hz to half the sample rate.
        sample_rate_hz: Sample rate.

    Returns:
        Weights in [0, 1]. Shape (n_mels, bins).

    Reference:
        Ravanelli et al. 2021, SpeechBrain: a general-purpose speech toolkit (arXiv 2106.04624), with the
        triangles of its `Filterbank`.

    Example:
        >>> mel_filters(n_mels=2, bins=5).shape
        torch.Size([2, 5])
    """
    corners_hz = _corners_hz(n_mels, sample_rate_hz)
    center_hz = corners_hz[1:-1, None]
    half_width_hz = corners_hz.diff()[:-1, None]
    frequency_hz = torch.linspace(0, sample_rate_hz / 2, bins)
    # A triangle of height 1: it falls linearly from the centre and is zero one half-width away.
    return (1 - (frequency_hz - center_hz).abs() / half_width_hz).clamp(min=0)


class MelBank(nn.Module):
    """Layer that applies `mel_filters` to magnitude spectrograms.

    Args:
        n_mels: Number of filters.
        bins: Number of frequency bins of the input.
        sample_rate_hz: Sample rate.
    """

    filters: Tensor

    def __init__(self, n_mels: int = 80, bins: int = 513, sample_rate_hz: int = 16_000) -> None:
        super().__init__()
        self.register_buffer("filters", mel_filters(n_mels, bins, sample_rate_hz), persistent=False)

    def forward(self, magnitude: Tensor) -> Tensor:
        """Return mel spectrograms (batch, n_mels, time) of magnitude spectrograms (batch, frequency, time)."""
        return self.filters @ magnitude


def _corners_hz(n_mels: int, sample_rate_hz: int) -> Tensor:
    # The lower end, the centres and the upper end of all filters are evenly spaced in mel.
    top = 2595 * torch.log10(torch.tensor(1 + sample_rate_hz / 2 / 700))
    return 700 * (10 ** (torch.linspace(0, float(top), n_mels + 2) / 2595) - 1)
