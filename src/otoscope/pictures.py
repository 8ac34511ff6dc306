"""Pictures of spectrograms, masks and confusions. matplotlib is loaded when one is drawn."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def spectra_picture(panels: Mapping[str, np.ndarray], title: str, sample_rate_hz: int, duration_s: float) -> Figure:
    """Draws spectrograms and masks side by side over the same axes.

    Args:
        panels: Each (frequency, time), by title. Those whose title begins with "mask" are drawn from 0 to
            1, the others share one range of log magnitude.
        title: Of the whole.
        sample_rate_hz: Sets the frequency axis.
        duration_s: Sets the time axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(panels), 3.6), dpi=100, layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    loudest = max((values.max() for name, values in panels.items() if not name.startswith("mask")), default=1.0)
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


def confusion_picture(matrix: np.ndarray, labels: Sequence[str], path: str | os.PathLike[str]) -> Path:
    """Draws a confusion matrix, rows true and columns predicted, and saves it.

    Args:
        matrix: Counts. Shape (classes, classes).
        labels: Names of the classes.
        path: A PNG file.
    """
    from matplotlib.figure import Figure

    side = 3.0 + 0.32 * len(labels)
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
    axis = figure.subplots()
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


def save_picture(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Saves a figure as PNG, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".png")
    os.close(handle)
    try:
        figure.savefig(temporary, format="png")
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path
