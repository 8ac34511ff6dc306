"""Panels over time and frequency: levels in dB, masks, attribution maps. Each can be drawn on any axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from otoscope.errors import ShapeError
from otoscope.plots.cells import (
    FLOOR_DB,
    decibels,
    frequency_edges,
    peak_magnitude,
    pixel_means,
    robust_limit,
    time_edges,
)
from otoscope.plots.outline import kept_density
from otoscope.plots.style import (
    LEVEL_COLORS,
    FrequencyAxis,
    color_bar,
    set_frequency_axis,
    set_time_axis,
    signed_colors,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage


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
