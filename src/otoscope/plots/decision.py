"""Panels of numbers: probabilities before and after masking, and the curve over the area of the mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from otoscope.plots.style import (
    EVIDENCE_COLOR,
    RECORDING_COLOR,
    REMAINDER_COLOR,
    TICK_POINTS,
)
from otoscope.plots.text import literal, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class SufficiencyCurve:
    """Probability of the explained class over the area of the mask.

    Attributes:
        area: Areas of the mask, increasing, in (0, 1]. Shape (points,).
        evidence: Probability of the evidence alone. Shape (points,).
        remainder: Probability of the remainder; None if it was not measured. Shape (points',).
        remainder_area: Areas at which the remainder was measured (default: ``area``). Shape (points',).
        chosen_area: Area of the mask that is shown; None if the curve is not marked.
    """

    area: np.ndarray
    evidence: np.ndarray
    remainder: np.ndarray | None = None
    chosen_area: float | None = None
    remainder_area: np.ndarray | None = None


_SERIES = (
    # name, colour, hatch: the hatch distinguishes the bars in print without colour
    ("recording", RECORDING_COLOR, ""),
    ("evidence", EVIDENCE_COLOR, ""),
    ("remainder", REMAINDER_COLOR, "///"),
)


def draw_probabilities(
    axes: Axes,
    recording: Mapping[str, float],
    evidence: Mapping[str, float] | None = None,
    remainder: Mapping[str, float] | None = None,
    label: str | None = None,
    classes: int = 3,
) -> None:
    """Draw the probabilities of the leading classes as bars: of the recording, the evidence and the remainder.

    Args:
        axes: Axes to draw on.
        recording: Probability of each class, by label.
        evidence: Probabilities of the evidence alone; a class that is missing has no bar.
        remainder: Probabilities of the remainder.
        label: Explained class, drawn on top (default: the most probable class).
        classes: Number of classes that are drawn.
    """
    labels = leading_labels(recording, evidence, remainder, label, classes)
    probabilities = zip(_SERIES, (recording, evidence, remainder), strict=True)
    given = [(*series, values) for series, values in probabilities if values]
    # A class takes one line for its name, which may be long, and one for each bar.
    pitch = len(given) + 1.6
    for i, (name, color, hatch, values) in enumerate(given):
        rows = [row for row, key in enumerate(labels) if key in values]
        widths = [float(values[labels[row]]) for row in rows]
        places = [row * pitch + i + 1 for row in rows]
        axes.barh(places, widths, 0.86, color=color, hatch=hatch, edgecolor="white", linewidth=0, label=name)
        for place, width in zip(places, widths, strict=True):
            axes.text(width + 0.015, place, f"{width:.2f}", va="center", fontsize=TICK_POINTS - 1.5)
    for row, key in enumerate(labels):
        text = readable(key, 28)
        weight = "bold" if key == label else "normal"
        axes.text(0, row * pitch, text, va="center", fontsize=TICK_POINTS, fontweight=weight, **literal(text))
    # The axis runs downwards: the explained class is on top. Below the last class is room for the legend.
    axes.set(xlim=(0, 1.12), ylim=(max(len(labels), 1) * pitch + 1.0, -0.9))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_yticks([])
    axes.set_xlabel("probability", fontsize=TICK_POINTS)
    _finish(axes, "x")
    _legend(axes, "lower center")


def leading_labels(
    recording: Mapping[str, float],
    evidence: Mapping[str, float] | None,
    remainder: Mapping[str, float] | None,
    label: str | None,
    classes: int,
) -> list[str]:
    """Return the labels to draw: the explained class, then those with the largest probability anywhere.

    Example:
        >>> leading_labels({"dog": 0.9, "cat": 0.1, "hen": 0.0}, None, {"dog": 0.1, "hen": 0.8}, "dog", 2)
        ['dog', 'hen']
    """
    largest: dict[str, float] = {}
    for values in (recording, evidence or {}, remainder or {}):
        for key, value in values.items():
            largest[key] = max(largest.get(key, 0.0), float(value))
    # Sorting is stable: equal classes keep the order of the recording's.
    ranked = sorted(largest, key=lambda key: (key != label, -largest[key]))
    return ranked[:classes]


def draw_curve(axes: Axes, curve: SufficiencyCurve) -> None:
    """Draw the probability of the explained class over the area of the mask, on a logarithmic scale.

    Args:
        axes: Axes to draw on.
        curve: Curve to draw; its chosen area is marked.
    """
    style: dict[str, Any] = {"linewidth": 2.2, "markersize": 5}
    axes.plot(curve.area, curve.evidence, "-o", color=EVIDENCE_COLOR, label="evidence", **style)
    if curve.remainder is not None:
        areas = curve.area if curve.remainder_area is None else curve.remainder_area
        axes.plot(areas, curve.remainder, "--s", color=REMAINDER_COLOR, label="remainder", **style)
    if curve.chosen_area is not None:
        axes.axvline(curve.chosen_area, color=RECORDING_COLOR, linewidth=1.4, linestyle=":")
        # The text stands on the side of the line that has room.
        on_right = curve.chosen_area < 0.05
        axes.annotate(
            f"shown: {100 * curve.chosen_area:.3g} %",
            (curve.chosen_area, 1.08),
            xytext=(5 if on_right else -5, 0),
            textcoords="offset points",
            ha="left" if on_right else "right",
            va="center",
            fontsize=TICK_POINTS,
        )
    # Above 1 is room for that text and the legend.
    # Logarithmic, because the smallest share that suffices is often a few per cent.
    axes.set(xscale="log", xlim=(8e-4, 1.1), ylim=(0, 1.34))
    axes.set_xticks([0.001, 0.01, 0.1, 1], ["0.1 %", "1 %", "10 %", "100 %"])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_xlabel("area of the mask", fontsize=TICK_POINTS)
    axes.set_ylabel("probability", fontsize=TICK_POINTS)
    _finish(axes, "both")
    _legend(axes, "upper center")


def _legend(axes: Axes, place: Literal["lower center", "upper center"]) -> None:
    axes.legend(loc=place, ncols=3, fontsize=TICK_POINTS - 1, frameon=False, columnspacing=1, handlelength=1.3)


def _finish(axes: Axes, grid: str) -> None:
    axes.tick_params(labelsize=TICK_POINTS)
    axes.grid(axis=grid, alpha=0.25)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
