"""Segments of a spectrogram that follow the sound: borders lie where it is softest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from otoscope.interpreters.refined import smoothed

_SMOOTHING = 1.0
"""Standard deviation, in bins or frames, of the Gaussian over the profiles that borders are read off."""


def bands(log_magnitude: Tensor, count: int) -> Tensor:
    """Divide a spectrogram into bands of frequency over the whole time, between the peaks of its mean spectrum.

    Args:
        log_magnitude: Log magnitude of one clip, shape (frequency, time).
        count: Number of bands; fewer if there are fewer bins.

    Returns:
        Number of the band of each bin, from 0. Shape (frequency, time), int64.

    Example:
        >>> two_tones = torch.zeros(20, 3)
        >>> two_tones[4], two_tones[15] = 3.0, 2.0
        >>> bands(two_tones, 2)[[0, 4, 15, 19], 0]
        tensor([0, 0, 1, 1])
    """
    return _numbers(log_magnitude.mean(1), count)[:, None].expand_as(log_magnitude).contiguous()


def slices(log_magnitude: Tensor, count: int) -> Tensor:
    """Divide a spectrogram into slices of time over all frequencies, between the peaks of its envelope.

    Args:
        log_magnitude: Log magnitude of one clip, shape (frequency, time).
        count: Number of slices; fewer if there are fewer frames.

    Returns:
        Number of the slice of each bin, from 0. Shape (frequency, time), int64.
    """
    return _numbers(log_magnitude.mean(0), count).expand_as(log_magnitude).contiguous()


def patches(log_magnitude: Tensor, counts: Sequence[int]) -> Tensor:
    """Divide a spectrogram into bands, and each band into slices of its own.

    Args:
        log_magnitude: Log magnitude of one clip, shape (frequency, time).
        counts: Number of bands, and of slices in each band.

    Returns:
        Number of the patch of each bin, from 0. Shape (frequency, time), int64.

    Example:
        >>> patches(torch.rand(20, 30), (2, 3)).unique()
        tensor([0, 1, 2, 3, 4, 5])
    """
    numbers = bands(log_magnitude, counts[0])
    result = torch.empty_like(numbers)
    first = 0
    for band in range(int(numbers.max()) + 1):
        rows = numbers[:, 0] == band
        inside = slices(log_magnitude[rows], counts[1])
        result[rows] = first + inside
        first += int(inside.max()) + 1
    return result


def _numbers(profile: Tensor, count: int) -> Tensor:
    """Return the number of the segment of each value of a profile. Shape (values,), int64."""
    smooth = smoothed(profile[None, None].float(), (0, _SMOOTHING))[0, 0]
    borders = cut_at_valleys(smooth.double().cpu().numpy(), count)
    places = torch.arange(len(profile), device=profile.device)
    inner = torch.tensor(borders[1:-1], dtype=torch.int64, device=profile.device)
    return torch.bucketize(places, inner, right=True)


def cut_at_valleys(profile: np.ndarray, count: int) -> list[int]:
    """Cut a profile at its valleys into a number of segments.

    Where there are more valleys, those that are the shallowest against the lower peak beside them are filled, as by
    a rising flood; where there are fewer, the longest segments are halved.

    Args:
        profile: Values, shape (values,).
        count: Number of segments; fewer if there are fewer values.

    Returns:
        Borders: segment i holds the values from border i up to, but not including, border i + 1.

    Example:
        >>> cut_at_valleys(np.array([5.0, 1.0, 4.0, 3.5, 4.0, 0.0, 6.0]), 3)
        [0, 1, 5, 7]
    """
    inner = profile[1:-1]
    valleys = np.flatnonzero((inner <= profile[:-2]) & (inner < profile[2:])) + 1
    borders = [0, *valleys.tolist(), len(profile)]
    peaks = [float(profile[start:end].max()) for start, end in pairwise(borders)]
    while len(peaks) > count:
        depths = np.minimum(peaks[:-1], peaks[1:]) - profile[borders[1:-1]]
        shallowest = int(depths.argmin())
        peaks[shallowest] = max(peaks[shallowest], peaks.pop(shallowest + 1))
        del borders[shallowest + 1]
    while len(borders) - 1 < min(count, len(profile)):
        lengths = np.diff(borders)
        longest = int(lengths.argmax())
        borders.insert(longest + 1, borders[longest] + int(lengths[longest]) // 2)
    return borders
