"""Pictures of an evaluation: scores with their intervals, and curves over the area."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.evaluation.mask_scores import OWN
from otoscope.evaluation.table import Block, Table, is_matched_control
from otoscope.metrics import SCORES, scores_shown
from otoscope.plots import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SERIES = (("mask", "tab:blue", -0.17), ("heard", "tab:orange", 0.17))
"""Domain, colour, and distance of the points from the middle of their row."""


def draw_table(table: Table, area: float, path: Path) -> Path:
    """Draw conditions as rows and scores as columns, with the masks of one equal area and the methods' own masks.

    Args:
        table: Table to draw.
        area: Area of the masks that are drawn as filled points with their intervals; own masks are drawn hollow,
            without intervals.
        path: Path of the PNG file.
    """
    from matplotlib.figure import Figure

    conditions = list(dict.fromkeys(block.condition for block in table.estimates))
    # Scores that need the truth are missing where no clip has it.
    shown = {score for scores in table.estimates.values() for score in scores}
    columns = [score for score in scores_shown("picture") if score in shown]
    rows = {condition: _rows(table, condition, area) for condition in conditions}
    heights = [0.9 + 0.24 * len(rows[condition]) for condition in conditions]
    size = (2.6 + 2.3 * len(columns), sum(heights) + 1.0)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    panels = figure.subplots(len(conditions), len(columns), squeeze=False, height_ratios=heights, sharey="row")
    for condition, line in zip(conditions, panels, strict=True):
        for score, axis in zip(columns, line, strict=True):
            _draw_panel(axis, table, condition, score, rows[condition], area)
        line[0].set_ylabel(condition.replace("_", " "), fontsize=12, fontweight="bold")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(handles), fontsize=9)
    return save_picture(figure, path)


def draw_curves(curves: Mapping[str, Mapping[str, Mapping[str, Any]]], areas: Sequence[float], path: Path) -> Path:
    """Draw insertion and deletion over the area, with one row of panels for each condition.

    Args:
        curves: Points (``mean``, ``low``, ``high``) by condition, method and side (``insertion``, ``deletion``).
        areas: Areas of the masks at the points.
        path: Path of the PNG file.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.6 * len(curves)), dpi=100, layout="constrained")
    panels = figure.subplots(len(curves), 2, squeeze=False, sharey=True)
    for (condition, methods), line in zip(curves.items(), panels, strict=True):
        for side, axis in zip(("insertion", "deletion"), line, strict=True):
            for i, (method, sides) in enumerate(methods.items()):
                points = sides[side]
                # The colour map has 20 colours; dashes distinguish the methods after them.
                color, dashes = colormaps["tab20"](i % 20), "-" if i < 20 else "--"
                axis.plot(areas, points["mean"], dashes, color=color, label=method, marker=".", linewidth=1.4)
                axis.fill_between(areas, points["low"], points["high"], color=color, alpha=0.08, linewidth=0)
            bins = "only the most important bins" if side == "insertion" else "all but the most important bins"
            axis.set(title=f"{condition}, {side}: {bins}", xlabel="area of the mask", ylim=(0, 1.02), xlim=(0, 1))
            axis.grid(alpha=0.3)
        line[0].set_ylabel("probability of the explained class")
        line[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return save_picture(figure, path)


def _rows(table: Table, condition: str, area: float) -> list[str]:
    """Return the rows of a condition, without the matched controls, which would triple their number."""
    blocks = [Block(condition, mask, "mask") for mask in (str(area), OWN)]
    rows = [row for block in blocks if block in table.estimates for row in table.rows(block)]
    return [row for row in dict.fromkeys(rows) if not is_matched_control(row)]


def _draw_panel(axis: Axes, table: Table, condition: str, score: str, rows: Sequence[str], area: float) -> None:
    for domain, color, shift in _SERIES:
        at_area = list(_points(table, Block(condition, str(area), domain), score, rows, shift))
        own_masks = list(_points(table, Block(condition, OWN, domain), score, rows, shift))
        name = "seen" if domain == "mask" else "heard"
        if at_area:
            y, x, low, high = zip(*at_area, strict=True)
            # Matplotlib expects the lengths of the two sides of an interval, not its ends.
            sides = [[m - a for m, a in zip(x, low, strict=True)], [b - m for m, b in zip(x, high, strict=True)]]
            label = f"area {area}, {name}"
            axis.errorbar(x, y, xerr=sides, fmt="o", color=color, markersize=4, linewidth=1.2, label=label)
        if own_masks:
            y, x, *_ = zip(*own_masks, strict=True)
            axis.plot(x, y, "o", color=color, markersize=5, markerfacecolor="none", label=f"own mask, {name}")
    if not axis.has_data():  # for example a score that needs the truth, in a condition without it
        axis.set_axis_off()
        return
    _label_panel(axis, score, rows)


def _label_panel(axis: Axes, score: str, rows: Sequence[str]) -> None:
    axis.set_yticks(range(len(rows)), rows, fontsize=9)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    meaning = SCORES[score]
    unit = f" ({meaning.unit})" if meaning.unit else ""
    axis.set_title(f"{score}{unit}, {meaning.better} is better", fontsize=9)
    axis.grid(axis="x", alpha=0.3)
    axis.tick_params(axis="x", labelsize=8)


def _points(
    table: Table, block: Block, score: str, rows: Sequence[str], shift: float
) -> Iterator[tuple[float, float, float, float]]:
    """Yield the vertical position, the mean and the ends of the interval of each row that has a score."""
    cells = table.estimates.get(block, {}).get(score, {})
    for position, row in enumerate(rows):
        if row in cells and cells[row].clips:
            yield position + shift, cells[row].mean, cells[row].low, cells[row].high
