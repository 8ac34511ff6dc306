"""Where the rows of inner maps lie in frequency: behind a mel bank not evenly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def divide_rows(centers_hz: Tensor | Sequence[float], rows: int, step: float | None = None) -> Tensor:
    """Frequencies at the centres of coarser rows, each of which takes several rows of a bank.

    Args:
        centers_hz: Of the bank's rows, rising. Shape (bank,).
        rows: How many coarser rows there are.
        step: Rows of the bank that each takes, from the first on; by default they divide the bank evenly.

    Returns:
        In Hz. Shape (rows,).

    Example:
        >>> divide_rows([100.0, 200.0, 400.0, 800.0], 2)
        tensor([150., 600.])
    """
    centers_hz = torch.as_tensor(centers_hz, dtype=torch.float32)
    step = len(centers_hz) / rows if step is None else step
    return _between(centers_hz, (torch.arange(rows) + 0.5) * step - 0.5)


def spread_rows(maps: Tensor, rows_hz: Tensor, bins: int, sample_rate_hz: int) -> Tensor:
    """Brings rows to the bins of the spectrogram: between two rows linearly, beyond the outer ones as they are.

    Args:
        maps: Shape (batch, rows, time).
        rows_hz: Frequency at the centre of each row, rising. Shape (rows,).
        bins: Of the spectrogram, from 0 Hz to half the sample rate.
        sample_rate_hz: Of the spectrogram.

    Returns:
        Shape (batch, bins, time).

    Example:
        >>> spread_rows(torch.tensor([[[0.0], [4.0]]]), torch.tensor([1000.0, 3000.0]), 5, 8000)[0, :, 0]
        tensor([0., 0., 2., 4., 4.])
    """
    bins_hz = torch.linspace(0, sample_rate_hz / 2, bins)
    above = torch.searchsorted(rows_hz.contiguous(), bins_hz).clamp(1, max(len(rows_hz) - 1, 1))
    low, high = above - 1, above.clamp(max=len(rows_hz) - 1)
    share = ((bins_hz - rows_hz[low]) / (rows_hz[high] - rows_hz[low])).nan_to_num(0.0).clamp(0, 1)
    low, high, share = (one.to(maps.device) for one in (low, high, share.to(maps.dtype)))
    return maps[:, low].lerp(maps[:, high], share[:, None])


def _between(values: Tensor, places: Tensor) -> Tensor:
    """Values at fractional places, linearly; beyond the ends the outer ones."""
    places = places.clamp(0, len(values) - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=len(values) - 1)
    return values[low].lerp(values[high], places - low)
