"""Frequencies of the rows of inner feature maps, which are not evenly spaced after a mel bank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def divide_rows(centers_hz: Tensor | Sequence[float], rows: int, step: float | None = None) -> Tensor:
    """Return the centre frequencies of coarser rows, each of which covers several rows of a filter bank.

    Args:
        centers_hz: Centre frequencies of the rows of the bank, rising. Shape (bank,).
        rows: Number of coarser rows.
        step: Rows of the bank per coarser row, from the first on (default: they divide the bank evenly).

    Returns:
        Frequencies in Hz, shape (rows,).

    Example:
        >>> divide_rows([100.0, 200.0, 400.0, 800.0], 2)
        tensor([150., 600.])
    """
    centers_hz = torch.as_tensor(centers_hz, dtype=torch.float32)
    step = len(centers_hz) / rows if step is None else step
    # coarse row k covers the rows k * step to (k + 1) * step, whose middle is the position (k + 0.5) * step - 0.5
    return _between(centers_hz, (torch.arange(rows) + 0.5) * step - 0.5)


def spread_rows(maps: Tensor, rows_hz: Tensor, bins: int, sample_rate_hz: int) -> Tensor:
    """Interpolate rows linearly to the bins of the spectrogram; beyond the outer rows their values continue.

    Args:
        maps: Maps, shape (batch, rows, time).
        rows_hz: Frequency at the centre of each row, rising. Shape (rows,).
        bins: Number of bins of the spectrogram, from 0 Hz to half the sample rate.
        sample_rate_hz: Sample rate of the spectrogram.

    Returns:
        Shape (batch, bins, time).

    Example:
        >>> spread_rows(torch.tensor([[[0.0], [4.0]]]), torch.tensor([1000.0, 3000.0]), 5, 8000)[0, :, 0]
        tensor([0., 0., 2., 4., 4.])
    """
    # each bin lies between the rows `low` and `high`, at the fraction `share` of the way, clamped beyond the ends
    bins_hz = torch.linspace(0, sample_rate_hz / 2, bins)
    above = torch.searchsorted(rows_hz.contiguous(), bins_hz).clamp(1, max(len(rows_hz) - 1, 1))
    low, high = above - 1, above.clamp(max=len(rows_hz) - 1)
    share = ((bins_hz - rows_hz[low]) / (rows_hz[high] - rows_hz[low])).nan_to_num(0.0).clamp(0, 1)
    low, high, share = (values.to(maps.device) for values in (low, high, share.to(maps.dtype)))
    return maps[:, low].lerp(maps[:, high], share[:, None])


def _between(values: Tensor, positions: Tensor) -> Tensor:
    """Interpolate values linearly at fractional positions; positions beyond the ends get the outer values."""
    positions = positions.clamp(0, len(values) - 1)
    low = positions.floor().long()
    high = (low + 1).clamp(max=len(values) - 1)
    return values[low].lerp(values[high], positions - low)
