"""Picture of an explanation: recording, attribution, mask, evidence, and what they do to the decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from otoscope.errors import ShapeError
from otoscope.plots.decision import SufficiencyCurve, draw_curve, draw_probabilities
from otoscope.plots.spectrogram import draw_importance, draw_mask, draw_spectrogram, peak_magnitude
from otoscope.plots.style import (
    TEXT_POINTS,
    TITLE_POINTS,
    FrequencyAxis,
    new_figure,
    title,
)
from otoscope.plots.text import literal, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Panel = tuple[str, "Callable[[Axes], object]"]
"""Title of a panel, and the function that draws it."""


def explanation_picture(
    log_magnitude: np.ndarray,
    mask: np.ndarray,
    duration_s: float,
    sample_rate_hz: float,
    *,
    name: str = "",
    label: str = "",
    method: str = "",
    importance: np.ndarray | None = None,
    recording_probabilities: Mapping[str, float] | None = None,
    evidence_probabilities: Mapping[str, float] | None = None,
    remainder_probabilities: Mapping[str, float] | None = None,
    curve: SufficiencyCurve | None = None,
    verdict: str = "",
    axis: FrequencyAxis = "linear",
) -> Figure:
    """Draw an explanation as one picture for a slide, 1920 x 1080 pixels; panels without data are left out.

    Args:
        log_magnitude: ``log1p`` of the recording's magnitude. Shape (frequency, time).
        mask: Mask in [0, 1], same shape.
        duration_s: Length of the recording.
        sample_rate_hz: Sample rate.
        name: Name of the recording.
        label: Explained class.
        method: Title of the method.
        importance: Attribution map that the mask is cut from, signed, same shape.
        recording_probabilities: Probability of each class for the recording, by label.
        evidence_probabilities: Probabilities of the evidence alone.
        remainder_probabilities: Probabilities of the remainder.
        curve: Probability of the explained class over the area of the mask.
        verdict: Headline of one sentence.
        axis: Scale of the frequency axes, ``linear``, ``mel`` or ``log``.

    Raises:
        ConfigurationError: The scale of the frequency axis is another one.
        ShapeError: Mask or attribution map differ in shape from the spectrogram.
    """
    log_magnitude, mask = np.asarray(log_magnitude), np.asarray(mask)
    for part, values in (("mask", mask), ("importance", importance)):
        if values is not None and np.shape(values) != log_magnitude.shape:
            raise ShapeError(
                f"{part}: shape {np.shape(values)} differs from that of the spectrogram, {log_magnitude.shape}"
            )
    peak = peak_magnitude(log_magnitude)
    place = (duration_s, sample_rate_hz, axis)

    def draw_overlay(axes: Axes) -> None:
        draw_spectrogram(axes, log_magnitude, *place, peak=peak, bar=False)
        draw_mask(axes, mask, *place)

    # In the order of the argument: what was heard, what counted in it, what was cut out, and what that does.
    panels: list[Panel] = [("Recording", lambda axes: draw_spectrogram(axes, log_magnitude, *place, peak=peak))]
    if importance is not None:
        panels.append(("Attribution", lambda axes: draw_importance(axes, importance, *place)))
    panels.append((f"Mask: {100 * mask.mean():.3g} % of the area", draw_overlay))
    panels.append(
        ("Evidence alone", lambda axes: draw_spectrogram(axes, log_magnitude * mask, *place, peak=peak))
    )
    numbers: list[Panel] = []
    if recording_probabilities:
        before, after, without = recording_probabilities, evidence_probabilities, remainder_probabilities
        numbers.append(
            ("Decision", lambda axes: draw_probabilities(axes, before, after, without, label or None))
        )
    if curve is not None:
        numbers.append((f"How much suffices for {readable(label, 20)}", lambda axes: draw_curve(axes, curve)))

    figure = new_figure()
    probability = (recording_probabilities or {}).get(label)
    _write_titles(figure, name, label, probability, method, verdict)
    for axes, (heading, draw) in zip(_axes(figure, len(panels), len(numbers)), panels + numbers, strict=True):
        draw(axes)
        title(axes, heading)
    return figure


def _write_titles(
    figure: Figure, name: str, label: str, probability: float | None, method: str, verdict: str
) -> None:
    """Write the name of the recording, what is explained, and the headline."""
    name = readable(name, 60)
    figure.text(0.045, 0.955, name, fontsize=TITLE_POINTS, fontweight="bold", va="center", **literal(name))
    parts = [readable(label, 40)] if label else []
    if probability is not None:
        parts[-1:] = [f"{parts[-1]}, p = {probability:.2f}"]
    parts += [readable(method, 40)] if method else []
    line = "   ·   ".join(parts)
    figure.text(0.985, 0.955, line, fontsize=TEXT_POINTS + 1, va="center", ha="right", **literal(line))
    headline = readable(verdict, 120)
    figure.text(0.045, 0.905, headline, fontsize=TEXT_POINTS + 2, va="center", **literal(headline))


def _axes(figure: Figure, spectrograms: int, numbers: int) -> list[Axes]:
    """Place three spectrograms in the first row, and what remains with equal widths in the second.

    Fixed places instead of a constrained layout, which draws the whole figure twice.
    """
    second = spectrograms - 3 + numbers
    top, bottom = 0.84, 0.08
    rows = 2 if second else 1
    height = (top - bottom - 0.13 * (rows - 1)) / rows
    axes = []
    for row, count in enumerate([3, second][:rows]):
        low = top - height - row * (height + 0.13)
        axes += [figure.add_axes((*_columns(count)[i][:1], low, _columns(count)[i][1], height)) for i in range(count)]
    return axes


def _columns(count: int) -> list[tuple[float, float]]:
    """Return the left edge and the width of panels side by side, with room for ticks and colour bars between."""
    pitch = (0.985 - 0.01) / count
    return [(0.01 + i * pitch + 0.05, pitch - 0.09) for i in range(count)]

