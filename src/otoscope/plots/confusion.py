"""Picture of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from otoscope.plots.style import SHARE_COLORS, TEXT_POINTS, TICK_POINTS, new_figure, tick_labels, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_picture(matrix: np.ndarray, labels: Sequence[str]) -> Figure:
    """Draw a confusion matrix, rows true and columns predicted.

    Args:
        matrix: Number of clips of each pair of classes. Shape (classes, classes).
        labels: Names of the classes.
    """
    side = 3.4 + 0.36 * len(labels)
    figure = new_figure(side, side)
    figure.set_layout_engine("constrained")  # names of classes have any length
    axes = figure.subplots()
    # Colours show the share within each true class, so that rare classes are as visible as frequent ones.
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(share, vmin=0, vmax=1, cmap=SHARE_COLORS)
    tick_labels(axes, "x", labels, TICK_POINTS, rotation=90)
    tick_labels(axes, "y", labels, TICK_POINTS)
    axes.set_xlabel("predicted", fontsize=TEXT_POINTS)
    axes.set_ylabel("true", fontsize=TEXT_POINTS)
    for row, column in zip(*np.nonzero(matrix), strict=True):
        color = "white" if share[row, column] > 0.5 else "black"
        count = str(int(matrix[row, column]))
        axes.text(column, row, count, ha="center", va="center", color=color, fontsize=TICK_POINTS - 1)
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)
    title(axes, f"accuracy {100 * accuracy:.1f} % of {int(matrix.sum())} clips")
    return figure
