"""Cells of a spectrogram as they are drawn: levels in dB, places on both axes, means within a pixel."""

from __future__ import annotations

import numpy as np

from otoscope.plots.style import FrequencyAxis, check_axis, hz_to_mel, lowest_hz, mel_to_hz

FLOOR_DB = -80.0
"""Lowest level that is drawn, relative to the peak of the recording."""


def decibels(log_magnitude: np.ndarray, peak: float | None = None, floor_db: float = FLOOR_DB) -> np.ndarray:
    """Return levels in dB relative to a peak.

    Args:
        log_magnitude: ``log1p`` of the magnitude, not negative. Any shape.
        peak: Magnitude of 0 dB (default: the largest of ``log_magnitude``).
        floor_db: Lowest level of the result; silence has it everywhere.

    Returns:
        Levels of the same shape, float32.

    Example:
        >>> decibels(np.log1p(np.array([10.0, 1.0, 0.0]))).tolist()
        [0.0, -20.0, -80.0]
    """
    magnitude = np.expm1(np.asarray(log_magnitude, dtype=np.float32))
    if peak is None:
        peak = float(magnitude.max(initial=0))
    if peak <= 0:
        return np.full_like(magnitude, floor_db)
    # The floor is applied before the logarithm, which has no value at 0.
    relative = np.maximum(magnitude / np.float32(peak), np.float32(10 ** (floor_db / 20)))
    return np.asarray(20 * np.log10(relative))


def peak_magnitude(log_magnitude: np.ndarray) -> float:
    """Return the largest magnitude of a log magnitude: the reference of 0 dB. Zero for silence."""
    return float(np.expm1(np.max(log_magnitude, initial=0)))


def robust_limit(values: np.ndarray, share: float = 0.99) -> float:
    """Return the magnitude that a share of the values other than zero stays below; 1 if all are zero.

    A few extreme bins, as gradients have them, would otherwise leave the rest of a map without colour.
    """
    magnitudes = np.abs(values[values != 0])
    return float(np.quantile(magnitudes, share)) if magnitudes.size else 1.0


def pixel_means(values: np.ndarray, sample_rate_hz: float, axis: FrequencyAxis, pixels: float) -> np.ndarray:
    """Replace each bin that is narrower than a pixel by the mean of the bins within a pixel's height around it.

    On a mel or logarithmic axis, many high bins share a pixel. matplotlib shows one of them, so that most tones
    would be lost.

    Args:
        values: Values of the bins. Shape (frequency, time).
        sample_rate_hz: Sample rate.
        axis: Scale of the frequency axis; a linear one changes nothing, as matplotlib averages there.
        pixels: Height of the axis in pixels.

    Returns:
        Means, same shape. Bins that are at least as high as a pixel keep their values.
    """
    check_axis(axis)
    values = np.asarray(values)
    if axis == "linear" or values.ndim != 2 or len(values) < 2:
        return values
    bins = len(values)
    width_hz = sample_rate_hz / 2 / (bins - 1)
    to_scale, from_scale = (hz_to_mel, mel_to_hz) if axis == "mel" else (np.log, np.exp)
    # The lowest bin is centred on 0 Hz, which a logarithmic axis does not show: any positive frequency will do.
    centers = np.maximum(np.arange(bins), 0.25)
    limits = to_scale(np.array([lowest_hz(sample_rate_hz, axis), sample_rate_hz / 2]))
    half_pixel = (limits[1] - limits[0]) / max(pixels, 1.0) / 2
    scaled = to_scale(centers * width_hz)
    # In units of bins: bin k reaches from k to k + 1.
    low = np.minimum(from_scale(scaled - half_pixel) / width_hz + 0.5, np.arange(bins))
    high = np.maximum(from_scale(scaled + half_pixel) / width_hz + 0.5, np.arange(bins) + 1)
    low, high = np.clip(low, 0, bins), np.clip(high, 0, bins)
    # The integral from 0 is linear within a bin; a mean is the difference at two ends, divided by their distance.
    integral = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, 0, dtype=np.float64)])
    difference = _interpolated(integral, high) - _interpolated(integral, low)
    return np.asarray(difference / (high - low)[:, None])


def _interpolated(rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return rows at fractional positions."""
    below = np.minimum(positions.astype(int), len(rows) - 2)
    share = (positions - below)[:, None]
    return np.asarray((1 - share) * rows[below] + share * rows[below + 1])


def time_edges(frames: int, duration_s: float) -> tuple[float, float]:
    """Return where the first frame begins and the last one ends, in seconds.

    The first and the last frame are centred on the two ends of the recording, so that they reach half a hop beyond.
    A single frame covers the whole recording.

    Example:
        >>> time_edges(6, 5.0), time_edges(1, 0.01)
        ((-0.5, 5.5), (0.0, 0.01))
    """
    half_s = duration_s / 2 / (frames - 1) if frames > 1 else 0.0
    return 0.0 - half_s, duration_s + half_s


def frequency_edges(
    values: np.ndarray, sample_rate_hz: float, axis: FrequencyAxis = "linear"
) -> tuple[np.ndarray, float, float]:
    """Return the bins that an axis can show, and where the first begins and the last ends, in Hz.

    The first and the last bin are centred on 0 Hz and half the sample rate, so that they reach half a bin beyond. A
    logarithmic axis has no place for 0 Hz and begins with the second bin.

    Example:
        >>> values = np.zeros((513, 3))
        >>> frequency_edges(values, 16_000)[1:], frequency_edges(values, 16_000, "log")[1:]
        ((-7.8125, 8007.8125), (7.8125, 8007.8125))
    """
    bins = len(values)
    half_hz = sample_rate_hz / 4 / (bins - 1) if bins > 1 else 0.0
    if axis == "log":
        # a single bin covers the whole axis
        return (
            (values[1:], half_hz, sample_rate_hz / 2 + half_hz) if bins > 1 else (values, 1.0, sample_rate_hz / 2)
        )
    return values, -half_hz, sample_rate_hz / 2 + half_hz
