"""Pictures of a dictionary's components, and of those that an explanation consists of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from otoscope.plots.cells import FLOOR_DB, frequency_edges, pixel_means
from otoscope.plots.style import (
    EVIDENCE_COLOR,
    LEVEL_COLORS,
    RECORDING_COLOR,
    TICK_POINTS,
    FrequencyAxis,
    color_bar,
    figure_title,
    new_figure,
    set_frequency_axis,
    set_time_axis,
    tick_labels,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_IRRELEVANT_COLOR = "#a6a6a6"


def components_picture(
    components: np.ndarray, centroids_hz: np.ndarray, sample_rate_hz: float, axis: FrequencyAxis = "linear"
) -> Figure:
    """Draw the spectra of a dictionary side by side, each in dB relative to its maximum.

    Args:
        components: Spectra of log magnitudes, not negative. Shape (frequency, components).
        centroids_hz: Centroid of each spectrum, marked in it. Shape (components,).
        sample_rate_hz: Sample rate, for the frequency axis.
        axis: Scale of the frequency axis, ``linear``, ``mel`` or ``log``.
    """
    count = components.shape[1]
    figure = new_figure(max(6.4, 0.1 * count + 2.2), 5.4)
    width = figure.get_size_inches()[0]
    figure.subplots_adjust(left=0.8 / width, right=1 - 1.0 / width, bottom=0.11, top=0.92)
    axes = figure.subplots()
    image = _draw_spectra(axes, components, sample_rate_hz, axis)
    # With a dark edge, so that they are visible on every colour.
    style: dict[str, Any] = {"markersize": 4.5, "markeredgecolor": "black", "markeredgewidth": 0.6}
    axes.plot(range(count), centroids_hz, "o", color="white", label="centroid", **style)
    axes.legend(loc="upper left", fontsize=TICK_POINTS)
    axes.set_xlabel("component", fontsize=TICK_POINTS)
    title(axes, f"{count} components, the lowest centroid first")
    color_bar(axes, image, "dB relative to the component's maximum")
    return figure


def relevance_picture(
    indices: Sequence[int],
    relevance: np.ndarray,
    spectra: np.ndarray,
    activations: np.ndarray,
    threshold: float,
    name: str,
    sample_rate_hz: float,
    duration_s: float,
    axis: FrequencyAxis = "linear",
) -> Figure:
    """Draw the components of an explanation: relevance, spectrum, and activation over time.

    Args:
        indices: Indices of the components in their dictionary, in the order of drawing.
        relevance: Relevance of each component, in [-1, 1]. Shape (components,).
        spectra: Spectrum of each component, a log magnitude. Shape (frequency, components).
        activations: Activation of each component. Shape (components, time).
        threshold: Relevance above which a component counts; drawn as a line.
        name: Title of the figure.
        sample_rate_hz: Sample rate, for the frequency axis.
        duration_s: Length of the recording, for the time axis.
        axis: Scale of the frequency axis, ``linear``, ``mel`` or ``log``.
    """
    figure = new_figure(height_inches=4.8)
    figure.subplots_adjust(left=0.055, right=0.95, bottom=0.125, top=0.82, wspace=0.3)
    bars, shapes, course = figure.subplots(1, 3, width_ratios=(1, 1.1, 1.7))
    names = [str(index) for index in indices]
    _draw_relevance(bars, names, relevance, threshold)
    image = _draw_spectra(shapes, spectra, sample_rate_hz, axis)
    color_bar(shapes, image)
    tick_labels(shapes, "x", names, TICK_POINTS - 2)
    shapes.set_xlabel("component", fontsize=TICK_POINTS)
    title(shapes, "Spectrum, dB below its maximum")
    edges = (0.0, duration_s, len(names) - 0.5, -0.5)
    style: dict[str, Any] = {"aspect": "auto", "cmap": LEVEL_COLORS, "interpolation": "nearest"}
    color_bar(course, course.imshow(activations, extent=edges, rasterized=True, **style))
    set_time_axis(course, duration_s)
    tick_labels(course, "y", names, TICK_POINTS)
    title(course, "Activation over time")
    figure_title(figure, name)
    return figure


def _draw_relevance(axes: Axes, names: Sequence[str], relevance: np.ndarray, threshold: float) -> None:
    colors = [EVIDENCE_COLOR if value > threshold else _IRRELEVANT_COLOR for value in relevance]
    axes.barh(range(len(names)), relevance, color=colors)
    axes.axvline(threshold, color=RECORDING_COLOR, linewidth=1.2, linestyle="--")
    # The axis runs downwards: the first component is on top, as in the activations on the right.
    axes.set(xlim=(-1.05, 1.05), ylim=(len(names) - 0.5, -0.5))
    axes.set_ylabel("component", fontsize=TICK_POINTS)
    axes.tick_params(labelsize=TICK_POINTS)
    tick_labels(axes, "y", names, TICK_POINTS)
    title(axes, "Relevance")


def _draw_spectra(axes: Axes, spectra: np.ndarray, sample_rate_hz: float, axis: FrequencyAxis) -> AxesImage:
    """Draw spectra as columns, each in dB relative to its maximum."""
    set_frequency_axis(axes, sample_rate_hz, axis)
    power = np.square(np.expm1(np.asarray(spectra, dtype=np.float64)))
    # Each spectrum has its own maximum as reference, since the levels of components differ widely. The lower limits
    # keep an empty component, and the zeros of the others, at the floor.
    relative = pixel_means(power / np.maximum(power.max(0), 1e-24), sample_rate_hz, axis, axes.bbox.height)
    levels = 10 * np.log10(np.maximum(relative, 10 ** (FLOOR_DB / 10)))
    levels, low_hz, high_hz = frequency_edges(levels, sample_rate_hz, axis)
    count = levels.shape[1]
    # Half a column on both sides, so that whole numbers lie in the middle of their spectrum.
    extent = (-0.5, count - 0.5, low_hz, high_hz)
    style: dict[str, Any] = {"cmap": LEVEL_COLORS, "vmin": FLOOR_DB, "vmax": 0, "interpolation": "nearest"}
    image = axes.imshow(levels, origin="lower", aspect="auto", extent=extent, rasterized=True, **style)
    set_frequency_axis(axes, sample_rate_hz, axis)
    axes.set_xlim(-0.5, count - 0.5)
    return image
