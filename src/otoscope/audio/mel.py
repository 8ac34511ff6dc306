"""Mel filter bank that the published classifiers were trained with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_BLOCKS = 8
"""Number of blocks of bins that a mel bank multiplies one after the other."""


def mel_centers_hz(n_mels: int = 80, sample_rate_hz: int = 16_000) -> Tensor:
    """Return the centre frequencies of `mel_filters` in Hz, shape (n_mels,).

    Example:
        >>> mel_centers_hz(n_mels=3).round()
        tensor([ 614., 1768., 3934.])
    """
    return _corners_hz(n_mels, sample_rate_hz)[1:-1]


def mel_filters(n_mels: int = 80, bins: int = 513, sample_rate_hz: int = 16_000) -> Tensor:
    r"""Return triangular filters, evenly spaced on the HTK mel scale :math:`2595 \log_{10}(1 + f / 700)`.

    Each filter is symmetric in Hz: its half-width on both sides is the distance to the previous centre. The usual
    bank differs: its filters reach up to the next centre. Published weights were trained with this one.

    Args:
        n_mels: Number of filters.
        bins: Number of frequency bins of the spectrogram, from 0 Hz to half the sample rate.
        sample_rate_hz: Sample rate of the waveforms.

    Returns:
        Weights in [0, 1], shape (n_mels, bins).

    Reference:
        ``Filterbank`` of SpeechBrain (Ravanelli et al. 2021, arXiv 2106.04624), with its triangular filters.

    Example:
        >>> mel_filters(n_mels=2, bins=5).shape
        torch.Size([2, 5])
    """
    # The filter around c with half-width w is max(0, 1 - |f - c| / w): 1 at its centre, 0 from c - w and c + w on.
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
        sample_rate_hz: Sample rate of the waveforms.
    """

    filters: Tensor

    def __init__(self, n_mels: int = 80, bins: int = 513, sample_rate_hz: int = 16_000) -> None:
        super().__init__()
        self.register_buffer("filters", mel_filters(n_mels, bins, sample_rate_hz), persistent=False)
        # On the device `meta` there are no values.
        self._blocks = [] if self.filters.is_meta else _blocks(self.filters)

    def forward(self, magnitude: Tensor) -> Tensor:
        """Map magnitudes (batch, frequency, time) to mel magnitudes (batch, n_mels, time)."""
        device = magnitude.device.type
        if device != "meta" and torch.is_autocast_enabled(device):
            # Magnitudes span many orders, and their logarithm shows the rounding of a small one as of a large one.
            with torch.autocast(device, enabled=False):
                return self._product(magnitude.float())
        return self._product(magnitude)

    def _product(self, magnitude: Tensor) -> Tensor:
        # Most weights are zero, since a filter covers few bins: products of the blocks that hold the others take a
        # quarter of the time.
        if magnitude.device.type != "cpu" or magnitude.ndim != 3 or not self._blocks:
            return self.filters @ magnitude
        result: Tensor = _BlockProduct.apply(magnitude, self.filters, self._blocks)  # type: ignore[no-untyped-call]
        return result


class _Block(NamedTuple):
    """Neighbouring bins and the filters that any of them belongs to, from ``low`` to before ``high``."""

    bins: int
    low: int
    high: int


class _BlockProduct(torch.autograd.Function):
    """Product of filters (n_mels, frequency) and magnitudes (batch, frequency, time), block by block."""

    @staticmethod
    def forward(ctx: Any, magnitude: Tensor, filters: Tensor, blocks: Sequence[_Block]) -> Tensor:
        ctx.save_for_backward(filters)
        ctx.blocks = blocks
        result = magnitude.new_zeros(len(magnitude), len(filters), magnitude.shape[-1])
        first = 0
        for block in blocks:
            bins = slice(first, first + block.bins)
            result[:, block.low : block.high] += filters[block.low : block.high, bins] @ magnitude[:, bins]
            first += block.bins
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (filters,) = ctx.saved_tensors
        pieces, first = [], 0
        # each bin belongs to one block: the pieces lie side by side, and none overlap
        for block in ctx.blocks:
            weights = filters[block.low : block.high, first : first + block.bins]
            pieces.append(weights.t() @ gradients[0][:, block.low : block.high])
            first += block.bins
        return torch.cat(pieces, 1), None, None


def _blocks(filters: Tensor) -> list[_Block]:
    """Divide the bins into blocks that belong to about equally many filters each."""
    count = min(_BLOCKS, len(filters))
    peaks = filters.argmax(1)
    # A block begins at the peak of every eighth part of the filters, the first one at 0 Hz.
    begins = [0, *(int(peaks[len(filters) * block // count]) for block in range(1, count)), filters.shape[1]]
    begins = sorted(set(begins))
    blocks = []
    for first, end in itertools.pairwise(begins):
        used = (filters[:, first:end] > 0).any(1).nonzero()[:, 0].tolist() or [0]
        blocks.append(_Block(end - first, used[0], used[-1] + 1))
    return blocks


def _corners_hz(n_mels: int, sample_rate_hz: int) -> Tensor:
    # n_mels centres and the two ends of the scale, evenly spaced in mel and mapped back to Hz
    top = 2595 * torch.log10(torch.tensor(1 + sample_rate_hz / 2 / 700))
    return 700 * (10 ** (torch.linspace(0, float(top), n_mels + 2) / 2595) - 1)
