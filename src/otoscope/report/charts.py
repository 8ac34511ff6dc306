"""Geometry of the figures, which templates draw as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from otoscope.metrics import SCORES, scores_shown
from otoscope.report.evaluation import Block, Cell, EvaluationResult

_LOWEST_AREA = 0.001
MOST_STYLES = 8
"""Number of styles of lines; further lines use them again."""


@dataclass(frozen=True)
class Line:
    """Line of a chart, in the unit square with the origin below.

    Attributes:
        name: What it shows.
        style: Number of its style, which decides colour, dashes and marker.
        points: Points (x, y).
        band: Outline of its interval; empty if there is none.
    """

    name: str
    style: int
    points: list[tuple[float, float]]
    band: list[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """Lines over an axis.

    Attributes:
        title: Title.
        x_label: Name of the horizontal axis.
        x_ticks: Places in [0, 1] with their texts.
        lines: Lines.
        marked: Place of a vertical line with its text; None: there is none.
    """

    title: str
    x_label: str
    x_ticks: list[tuple[float, str]]
    lines: list[Line]
    marked: tuple[float, str] | None = None


@dataclass(frozen=True)
class Dot:
    """Mean with its interval, in [0, 1].

    Attributes:
        row: Number of the row.
        domain: ``mask`` or ``heard``.
        x: Place of the mean.
        low: Place of the lower end.
        high: Place of the upper end.
        text: Value in words.
    """

    row: int
    domain: str
    x: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Panel:
    """Column of a figure of scores.

    Attributes:
        score: Name of the score.
        better: Direction.
        ticks: Places in [0, 1] with their texts.
        dots: Means.
    """

    score: str
    better: str
    ticks: list[tuple[float, str]]
    dots: list[Dot]


@dataclass(frozen=True)
class ScoreFigure:
    """Scores of all methods in a condition.

    Attributes:
        condition: Name of the condition.
        area: Area of the masks.
        rows: Names of the methods and controls.
        panels: Panels.
    """

    condition: str
    area: str
    rows: list[str]
    panels: list[Panel]


def sufficiency_chart(curve: dict[str, list[tuple[float, float]]], shown: float | None) -> Chart | None:
    """Return the chart of the probability over the area of the mask, or None if there are no points.

    Args:
        curve: Points (area, probability) of ``evidence`` and ``remainder``.
        shown: Area of the mask of the explanation.

    Example:
        >>> chart = sufficiency_chart({"evidence": [(0.001, 0.2), (1.0, 0.9)]}, 0.1)
        >>> chart.lines[0].points, chart.marked
        ([(0.0, 0.2), (1.0, 0.9)], (0.6666666666666667, 'shown: 10 %'))
    """
    lines = [
        Line(name, style, [(_log_place(area), min(max(p, 0.0), 1.0)) for area, p in points], [])
        for style, (name, points) in enumerate(curve.items())
        if points
    ]
    if not lines:
        return None
    ticks = [(_log_place(area), text) for area, text in zip((0.001, 0.01, 0.1, 1), _PERCENT, strict=True)]
    marked = (_log_place(shown), f"shown: {100 * shown:.3g} %") if shown else None
    return Chart("How much of the sound suffices", "area of the mask", ticks, lines, marked)


_PERCENT = ("0.1 %", "1 %", "10 %", "100 %")


def _log_place(area: float) -> float:
    return 1 - math.log(max(min(area, 1.0), _LOWEST_AREA)) / math.log(_LOWEST_AREA)


def curve_charts(evaluation: EvaluationResult) -> list[Chart]:
    """Return the charts of insertion and deletion, two for each condition that has them."""
    ticks = [(share, f"{100 * share:.0f} %") for share in (0, 0.25, 0.5, 0.75, 1)]
    bins = {"insertion": "only the most important bins", "deletion": "all but the most important bins"}
    charts = []
    for condition, methods in evaluation.curves.items():
        for side, meaning in bins.items():
            lines = [
                _line(name, style, evaluation.areas, sides[side])
                for style, (name, sides) in enumerate(methods.items())
                if side in sides
            ]
            charts.append(Chart(f"{condition}, {side}: {meaning}", "area of the mask", ticks, lines))
    return charts


def _line(name: str, style: int, areas: Sequence[float], points: dict[str, list[float]]) -> Line:
    upper = list(zip(areas, points["high"], strict=True))
    lower = list(zip(areas, points["low"], strict=True))
    mean = list(zip(areas, points["mean"], strict=True))
    return Line(name, style % MOST_STYLES, mean, [*upper, *reversed(lower)])


def score_figures(evaluation: EvaluationResult) -> list[ScoreFigure]:
    """Return a figure of the most important scores at the middle area for each condition."""
    figures = []
    for condition in evaluation.conditions:
        blocks = [
            block for block in evaluation.blocks if block.condition == condition and block.mask == evaluation.middle
        ]
        if blocks:
            figures.append(_score_figure(condition, evaluation.middle, blocks))
    return figures


def _score_figure(condition: str, area: str, blocks: Sequence[Block]) -> ScoreFigure:
    rows = list(dict.fromkeys(row.name for block in blocks for row in block.rows))
    panels = []
    for score in scores_shown("picture"):
        cells = {
            (rows.index(row.name), block.domain): row.cells[score]
            for block in blocks
            for row in block.rows
            if score in row.cells
        }
        if cells:
            panels.append(_panel(score, cells))
    return ScoreFigure(condition, area, rows, panels)


def _panel(score: str, cells: dict[tuple[int, str], Cell]) -> Panel:
    unit = SCORES[score].unit
    # Percentages and scores in [0, 1] have whole axes, so that panels can be compared; the ends are round numbers.
    whole = 100.0 if unit == "%" else 1.0
    step = whole / 4
    low = step * math.floor(min(0.0, *(cell.low for cell in cells.values())) / step + 1e-9)
    high = step * math.ceil(max(whole, *(cell.high for cell in cells.values())) / step - 1e-9)

    def place(value: float) -> float:
        return (value - low) / (high - low)

    dots = [
        Dot(row, domain, place(cell.mean), place(cell.low), place(cell.high), cell_text(cell, unit))
        for (row, domain), cell in cells.items()
    ]
    ticks = [(place(value), f"{value:.3g}") for value in (low, (low + high) / 2, high)]
    return Panel(score, SCORES[score].better, ticks, dots)


def cell_text(cell: Cell, unit: str) -> str:
    """Return a mean with its interval in words.

    Example:
        >>> cell_text(Cell(12.5, 0.31, 52.6, 8), "%")
        '12.5 % [0.3, 52.6]'
    """
    digits = 1 if max(abs(cell.mean), abs(cell.high)) >= 10 else 2
    unit = f" {unit}" if unit else ""
    return f"{cell.mean:.{digits}f}{unit} [{cell.low:.{digits}f}, {cell.high:.{digits}f}]"
