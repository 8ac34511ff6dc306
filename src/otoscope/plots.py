"""Pictures of spectrograms, masks, dictionaries and confusion matrices. matplotlib is imported on first use."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from otoscope.files.atomic import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def spectra_picture(panels: Mapping[str, np.ndarray], title: str, sample_rate_hz: int, duration_s: float) -> Figure:
    """Draw spectrograms and masks side by side with shared axes.

    Args:
        panels: Spectrograms and masks by title. Shape (frequency, time) each. Those whose title begins with "mask"
            are drawn from 0 to 1, the others share one range of log magnitude.
        title: Title of the figure.
        sample_rate_hz: Sample rate, for the frequency axis.
        duration_s: Length of the recording, for the time axis.
    """
    # A Figure without pyplot needs no display and leaves no global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(panels), 3.6), dpi=100, layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    # One range for all spectrograms, so that their colours can be compared.
    loudest = max((values.max() for name, values in panels.items() if not name.startswith("mask")), default=1.0)
    # Axes in seconds and kHz; the highest bin lies at half the sample rate.
    extent = (0.0, duration_s, 0.0, sample_rate_hz / 2000)
    for axis, (name, values) in zip(axes, panels.items(), strict=True):
        is_mask = name.startswith("mask")
        image = axis.imshow(
            values,
            origin="lower",
            aspect="auto",
            extent=extent,
            vmin=0,
            vmax=1 if is_mask else max(float(loudest), 1e-6),
            cmap="gray" if is_mask else "magma",
            interpolation="nearest",
        )
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("time (s)")
        figure.colorbar(image, ax=axis, label="mask" if is_mask else "log1p magnitude")
    axes[0].set_ylabel("frequency (kHz)")
    figure.suptitle(title)
    return figure


def maps_picture(maps: Mapping[str, np.ndarray], title: str, sample_rate_hz: int, duration_s: float) -> Figure:
    """Draw activation maps in rows of four, each over its own range.

    Args:
        maps: Maps by title. Shape (frequency', time') each.
        title: Title of the figure.
        sample_rate_hz: Sample rate, for the frequency axis.
        duration_s: Length of the recording, for the time axis.
    """
    from matplotlib.figure import Figure

    columns = min(4, len(maps))
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.8 * rows + 0.4), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    extent = (0.0, duration_s, 0.0, sample_rate_hz / 2000)
    # The last row may have more places than maps.
    for axis in axes[len(maps) :]:
        axis.set_axis_off()
    for axis, (name, values) in zip(axes, maps.items(), strict=False):
        image = axis.imshow(values, origin="lower", aspect="auto", extent=extent, cmap="viridis")
        axis.set_title(name, fontsize=10)
        figure.colorbar(image, ax=axis)
    axes[0].set_ylabel("frequency (kHz)")
    axes[0].set_xlabel("time (s)")
    figure.suptitle(title)
    return figure


def confusion_picture(matrix: np.ndarray, labels: Sequence[str], path: str | os.PathLike[str]) -> Path:
    """Draw a confusion matrix, rows true and columns predicted, and save it.

    Args:
        matrix: Number of clips of each pair of classes. Shape (classes, classes).
        labels: Names of the classes.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    side = 3.0 + 0.32 * len(labels)
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
    axis = figure.subplots()
    # Colours show the share within each true class, so that rare classes are as visible as frequent ones.
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axis.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axis.set_xticks(range(len(labels)), labels, rotation=90)
    axis.set_yticks(range(len(labels)), labels)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    for row, column in zip(*np.nonzero(matrix), strict=True):
        color = "white" if share[row, column] > 0.5 else "black"
        axis.text(column, row, str(int(matrix[row, column])), ha="center", va="center", color=color, fontsize=8)
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)
    axis.set_title(f"accuracy {100 * accuracy:.1f} % of {int(matrix.sum())} clips")
    return save_picture(figure, path)


def components_picture(
    components: np.ndarray, centroids_hz: np.ndarray, sample_rate_hz: int, path: str | os.PathLike[str]
) -> Path:
    """Draw the spectra of a dictionary side by side, each relative to its maximum, and save the picture.

    Args:
        components: Spectra, not negative. Shape (frequency, components).
        centroids_hz: Centroid of each spectrum, marked in it. Shape (components,).
        sample_rate_hz: Sample rate, for the frequency axis.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    count = components.shape[1]
    figure = Figure(figsize=(max(5.0, 0.09 * count + 2), 5.0), dpi=100, layout="constrained")
    axis = figure.subplots()
    # Each spectrum has its own maximum as reference, since the levels of components differ widely.
    relative = components / np.maximum(components.max(0), 1e-12)
    # Half a column on both sides, so that whole numbers lie in the middle of their spectrum.
    extent = (-0.5, count - 0.5, 0.0, sample_rate_hz / 2000)
    image = axis.imshow(
        relative, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest"
    )
    axis.plot(range(count), centroids_hz / 1000, ".", color="white", markersize=3, label="centroid")
    axis.legend(loc="upper left", fontsize=8)
    axis.set_xlabel("component")
    axis.set_ylabel("frequency (kHz)")
    axis.set_title(f"{count} components, the lowest centroid first")
    figure.colorbar(image, ax=axis, label="log1p magnitude, relative to the component's maximum")
    return save_picture(figure, path)


def relevance_picture(
    indices: Sequence[int],
    relevance: np.ndarray,
    spectra: np.ndarray,
    activations: np.ndarray,
    threshold: float,
    title: str,
    sample_rate_hz: int,
    duration_s: float,
) -> Figure:
    """Draw the components of an explanation: relevance, spectrum, and activation over time.

    Args:
        indices: Indices of the components in their dictionary, in the order of drawing.
        relevance: Relevance of each component, in [-1, 1]. Shape (components,).
        spectra: Spectrum of each component. Shape (frequency, components).
        activations: Activation of each component. Shape (components, time).
        threshold: Relevance above which a component counts; drawn as a line.
        title: Title of the figure.
        sample_rate_hz: Sample rate, for the frequency axis.
        duration_s: Length of the recording, for the time axis.
    """
    from matplotlib.figure import Figure

    count = len(indices)
    figure = Figure(figsize=(12.6, 4.2), dpi=100, layout="constrained")
    bars, shapes, course = figure.subplots(1, 3, width_ratios=(1, 1, 1.6))
    colors = ["tab:orange" if value > threshold else "tab:gray" for value in relevance]
    bars.barh(range(count), relevance, color=colors)
    bars.axvline(threshold, color="black", linewidth=0.8, linestyle="--")
    # The axis runs downwards: the first component is on top, as in the activations on the right.
    bars.set(xlim=(-1.05, 1.05), ylim=(count - 0.5, -0.5), ylabel="component", title="relevance")
    bars.set_yticks(range(count), [str(index) for index in indices])
    style: dict[str, Any] = {"aspect": "auto", "cmap": "magma", "interpolation": "nearest"}
    relative = spectra / np.maximum(spectra.max(0), 1e-12)
    shapes.imshow(relative, origin="lower", extent=(-0.5, count - 0.5, 0.0, sample_rate_hz / 2000), **style)
    shapes.set_xticks(range(count), [str(index) for index in indices], fontsize=8)
    shapes.set(xlabel="component", ylabel="frequency (kHz)", title="spectrum")
    image = course.imshow(activations, extent=(0.0, duration_s, count - 0.5, -0.5), **style)
    course.set_yticks(range(count), [str(index) for index in indices])
    course.set(xlabel="time (s)", title="activation")
    figure.colorbar(image, ax=course)
    figure.suptitle(title)
    return figure


def save_picture(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Save a figure as PNG, atomically.

    Raises:
        OtoscopeError: The file cannot be written.
    """
    return replace_file(path, lambda temporary: figure.savefig(temporary, format="png"))
