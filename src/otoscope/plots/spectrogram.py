"""Panels over time and frequency: levels in dB, masks, attribution maps. Each can be drawn on any axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from otoscope.errors import ShapeError
from otoscope.plots.style import (
    LEVEL_COLORS,
    FrequencyAxis,
    check_axis,
    color_bar,
    hz_to_mel,
    lowest_hz,
    mel_to_hz,
    set_frequency_axis,
    set_time_axis,
    signed_colors,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

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


def draw_spectrogram(
    axes: Axes,
    log_magnitude: np.ndarray,
    duration_s: float,
    sample_rate_hz: float,
    axis: FrequencyAxis = "linear",
    peak: float | None = None,
    bar: bool = True,
) -> AxesImage:
    """Draw a spectrogram in dB relative to its peak.

    Args:
        axes: Axes to draw on. Their data coordinates become seconds and Hz.
        log_magnitude: ``log1p`` of the magnitude. Shape (frequency, time).
        duration_s: Length of the recording, for the time axis.
        sample_rate_hz: Sample rate, for the frequency axis.
        axis: Scale of the frequency axis, ``linear``, ``mel`` or ``log``.
        peak: Magnitude of 0 dB (default: its own largest). With that of the recording, see `peak_magnitude`,
            evidence is drawn on the scale of the recording.
        bar: Whether to draw the colour bar.

    Raises:
        ConfigurationError: The scale of the frequency axis is another one.
        ShapeError: The spectrogram does not have two dimensions, or is empty.
    """
    peak = peak_magnitude(log_magnitude) if peak is None else peak
    # Bins that share a pixel are shown by their mean power: a tone among silent bins remains visible.
    power = np.square(np.expm1(np.asarray(log_magnitude, dtype=np.float64)))
    power = pixel_means(power, sample_rate_hz, axis, axes.bbox.height)
    levels = decibels(np.log1p(np.sqrt(np.maximum(power, 0))), peak)
    image = _draw(axes, levels, duration_s, sample_rate_hz, axis, cmap=LEVEL_COLORS, vmin=FLOOR_DB, vmax=0)
    if bar:
        color_bar(axes, image).set_ticks([0, -20, -40, -60, -80], labels=["0 dB", "−20", "−40", "−60", "−80"])
    return image


def draw_mask(
    axes: Axes,
    mask: np.ndarray,
    duration_s: float,
    sample_rate_hz: float,
    axis: FrequencyAxis = "linear",
    outline: bool = True,
) -> AxesImage:
    """Draw a mask over a spectrogram: what it removes is veiled, what it keeps is outlined.

    Args:
        axes: Axes to draw on, usually after `draw_spectrogram`.
        mask: Mask in [0, 1]. Shape (frequency, time).
        duration_s: Length of the recording, for the time axis.
        sample_rate_hz: Sample rate, for the frequency axis.
        axis: Scale of the frequency axis.
        outline: Whether to draw the outline of the regions that the mask keeps.
    """
    from matplotlib.colors import LinearSegmentedColormap

    # One colour whose opacity falls with the mask. The spectrogram stays visible below.
    veil = LinearSegmentedColormap.from_list("veil", [(*_VEIL_RGB, _VEIL_OPACITY), (*_VEIL_RGB, 0.0)])
    values = pixel_means(mask, sample_rate_hz, axis, axes.bbox.height)
    image = _draw(axes, values, duration_s, sample_rate_hz, axis, cmap=veil, vmin=0, vmax=1)
    if outline:
        _draw_outline(axes, np.asarray(mask), duration_s, sample_rate_hz)
    return image


def draw_importance(
    axes: Axes,
    importance: np.ndarray,
    duration_s: float,
    sample_rate_hz: float,
    axis: FrequencyAxis = "linear",
    bar: bool = True,
) -> AxesImage:
    """Draw a signed attribution map: red speaks for the class, blue against it, white is 0.

    Args:
        axes: Axes to draw on.
        importance: Contribution of each bin to the explained class. Shape (frequency, time).
        duration_s: Length of the recording, for the time axis.
        sample_rate_hz: Sample rate, for the frequency axis.
        axis: Scale of the frequency axis.
        bar: Whether to draw the colour bar.
    """
    values = np.nan_to_num(np.asarray(importance, dtype=np.float32))
    limit = robust_limit(values)
    values = pixel_means(values, sample_rate_hz, axis, axes.bbox.height)
    image = _draw(axes, values, duration_s, sample_rate_hz, axis, cmap=signed_colors(), vmin=-limit, vmax=limit)
    if bar:
        color_bar(axes, image).set_ticks([-limit, 0, limit], labels=["−", "0", "+"])
    return image


def robust_limit(values: np.ndarray, share: float = 0.99) -> float:
    """Return the magnitude that a share of the values other than zero stays below; 1 if all are zero.

    A few extreme bins, as gradients have them, would otherwise leave the rest of a map without colour.
    """
    magnitudes = np.abs(values[values != 0])
    return float(np.quantile(magnitudes, share)) if magnitudes.size else 1.0


_VEIL_RGB = (0.55, 0.55, 0.55)
_VEIL_OPACITY = 0.62


def _draw(
    axes: Axes,
    values: np.ndarray,
    duration_s: float,
    sample_rate_hz: float,
    axis: FrequencyAxis,
    **style: Any,
) -> AxesImage:
    """Draw values of shape (frequency, time) at their seconds and Hz, and set both axes."""
    values = np.asarray(values)
    if values.ndim != 2 or values.size == 0:
        raise ShapeError(f"expected values of shape (frequency, time), got shape {values.shape}")
    # The scale comes first: an image keeps the transform that the axes have when it is made.
    set_frequency_axis(axes, sample_rate_hz, axis)
    left_s, right_s = time_edges(values.shape[1], duration_s)
    values, low_hz, high_hz = frequency_edges(values, sample_rate_hz, axis)
    # imshow is much quicker than pcolormesh, and it maps every pixel through the scale of the axis too.
    extent = (left_s, right_s, low_hz, high_hz)
    image = axes.imshow(values, origin="lower", aspect="auto", extent=extent, rasterized=True, **style)
    # imshow sets the limits to the edges of the cells, which reach beyond both ends of the axes.
    set_frequency_axis(axes, sample_rate_hz, axis)
    set_time_axis(axes, duration_s)
    return image


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


def draw_map(
    axes: Axes, values: np.ndarray, duration_s: float, sample_rate_hz: float, axis: FrequencyAxis = "linear"
) -> AxesImage:
    """Draw an activation map of a network over its own range.

    Args:
        axes: Axes to draw on.
        values: Map, shape (frequency', time'). Its cells divide the frequency axis and the recording evenly.
        duration_s: Length of the recording, for the time axis.
        sample_rate_hz: Sample rate, for the frequency axis.
        axis: Scale of the frequency axis.
    """
    values = np.asarray(values)
    if values.ndim != 2 or values.size == 0:
        raise ShapeError(f"expected a map of shape (frequency, time), got shape {values.shape}")
    set_frequency_axis(axes, sample_rate_hz, axis)
    # A logarithmic axis has no 0 Hz: the lowest cell begins far below the end of the axis.
    extent = (0.0, duration_s, 0.1 if axis == "log" else 0.0, sample_rate_hz / 2)
    image = axes.imshow(values, origin="lower", aspect="auto", extent=extent, cmap=LEVEL_COLORS, rasterized=True)
    set_frequency_axis(axes, sample_rate_hz, axis)
    set_time_axis(axes, duration_s)
    color_bar(axes, image)
    return image


def _draw_outline(axes: Axes, mask: np.ndarray, duration_s: float, sample_rate_hz: float) -> None:
    """Draw a white line with a dark edge, visible on dark and bright regions, around what a mask keeps."""
    from matplotlib.patheffects import Normal, Stroke

    bins, frames = mask.shape
    density = kept_density(mask)
    if min(mask.shape) < 2 or np.ptp(density) < 0.05:
        return  # a mask that is the same everywhere has no outline
    times_s, frequencies_hz = np.linspace(0, duration_s, frames), np.linspace(0, sample_rate_hz / 2, bins)
    style: dict[str, Any] = {"colors": "white", "linewidths": 1.2, "levels": [density.max() / 2]}
    outline = axes.contour(times_s, frequencies_hz, density, **style)
    outline.set_path_effects([Stroke(linewidth=2.8, foreground="black"), Normal()])


def kept_density(mask: np.ndarray) -> np.ndarray:
    """Return the mean of a mask around each bin, without regions and holes that are too small to outline.

    Masks that are cut from gradients consist of thousands of single bins. The outline of their density is readable
    and quick to draw; for compact masks it hardly differs from the outline of the mask.

    Args:
        mask: Mask in [0, 1]. Shape (frequency, time).

    Returns:
        Density in [0, 1], same shape.
    """
    from scipy.ndimage import gaussian_filter

    # A neighbourhood of about one percent of both axes.
    sigma = [max(0.009 * size, 0.5) for size in mask.shape]
    density = gaussian_filter(np.asarray(mask, dtype=np.float32), sigma, mode="nearest", truncate=3)
    level = density.max() / 2
    density[_specks(density > level)] = 0
    density[_specks(density <= level)] = 2 * level
    return np.asarray(density)


def _specks(inside: np.ndarray) -> np.ndarray:
    """Return the connected regions that are smaller than 1/1000 of the picture: outlined, they would be specks."""
    from scipy.ndimage import label

    regions, _ = label(inside)
    is_small = np.bincount(regions.ravel()) < 0.001 * inside.size
    is_small[0] = False  # region 0 is everything outside
    return np.asarray(is_small[regions])
