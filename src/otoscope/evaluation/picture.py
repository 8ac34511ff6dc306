"""Pictures of an evaluation: scores with their intervals, and curves over the area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.evaluation.mask_scores import OWN
from otoscope.evaluation.table import Block, Table, stands_beside
from otoscope.metrics import SCORES, scores_shown
from otoscope.plots import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SERIES = (("mask", "tab:blue", -0.17), ("heard", "tab:orange", 0.17))


def draw_table(table: Table, area: float, path: Path) -> Path:
    """Draws conditions as rows and scores as columns: at one equal area, and with each method's own mask.

    Args:
        table: What to draw.
        area: Drawn filled, its interval as a line; own masks are hollow, without one.
        path: A PNG file.
    """
    from matplotlib.figure import Figure

    conditions = list(dict.fromkeys(block.condition for block in table.estimates))
    shown = {score for scores in table.estimates.values() for score in scores}
    columns = [score for score in scores_shown("picture") if score in shown]
    rows = {one: _rows(table, one, area) for one in conditions}
    heights = [0.9 + 0.24 * len(rows[one]) for one in conditions]
    size = (2.6 + 2.3 * len(columns), sum(heights) + 1.0)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    panels = figure.subplots(len(conditions), len(columns), squeeze=False, height_ratios=heights, sharey="row")
    for condition, line in zip(conditions, panels, strict=True):
        for score, axis in zip(columns, line, strict=True):
            _draw_panel(axis, table, (condition, score), rows[condition], area)
        line[0].set_ylabel(condition.replace("_", " "), fontsize=12, fontweight="bold")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(handles), fontsize=9)
    return save_picture(figure, path)


def draw_curves(curves: Mapping[str, Mapping[str, Mapping[str, Any]]], areas: Sequence[float], path: Path) -> Path:
    """Draws insertion and deletion over the area, one row of panels for each condition.

    Args:
        curves: Points (``mean``, ``low``, ``high``) by condition, method and side.
        areas: Of the points.
        path: A PNG file.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.6 * len(curves)), dpi=100, layout="constrained")
    panels = figure.subplots(len(curves), 2, squeeze=False, sharey=True)
    for (condition, methods), line in zip(curves.items(), panels, strict=True):
        for side, axis in zip(("insertion", "deletion"), line, strict=True):
            for i, (method, sides) in enumerate(methods.items()):
                points = sides[side]
                color, dashes = colormaps["tab20"](i % 20), "-" if i < 20 else "--"
                axis.plot(areas, points["mean"], dashes, color=color, label=method, marker=".", linewidth=1.4)
                axis.fill_between(areas, points["low"], points["high"], color=color, alpha=0.08, linewidth=0)
            kept = "the most important bins alone" if side == "insertion" else "all but the most important bins"
            axis.set(title=f"{condition}, {side}: {kept}", xlabel="area of the mask", ylim=(0, 1.02), xlim=(0, 1))
            axis.grid(alpha=0.3)
        line[0].set_ylabel("probability of the explained class")
        line[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return save_picture(figure, path)


def _rows(table: Table, condition: str, area: float) -> list[str]:
    at_area, own = (Block(condition, mask, "mask") for mask in (str(area), OWN))
    rows = [row for block in (at_area, own) if block in table.estimates for row in table.rows(block)]
    return [row for row in dict.fromkeys(rows) if not stands_beside(row)]


def _draw_panel(axis: Axes, table: Table, what: tuple[str, str], rows: Sequence[str], area: float) -> None:
    condition, score = what
    for domain, color, shift in _SERIES:
        for mask, filled in ((str(area), True), (OWN, False)):
            found = table.estimates.get(Block(condition, mask, domain), {}).get(score, {})
            places = [(i + shift, found[row]) for i, row in enumerate(rows) if row in found and found[row].clips]
            if not places:
                continue
            name = f"{'area ' + mask if filled else 'own mask'}, {'seen' if domain == 'mask' else 'heard'}"
            x, y = [one.mean for _, one in places], [place for place, _ in places]
            if filled:
                span = [[one.mean - one.low for _, one in places], [one.high - one.mean for _, one in places]]
                axis.errorbar(x, y, xerr=span, fmt="o", color=color, markersize=4, linewidth=1.2, label=name)
            else:
                axis.plot(x, y, "o", color=color, markersize=5, markerfacecolor="none", label=name)
    if not axis.has_data():  # no truth in this condition
        axis.set_axis_off()
        return
    axis.set_yticks(range(len(rows)), rows, fontsize=9)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    meaning = SCORES[score]
    unit = f" ({meaning.unit})" if meaning.unit else ""
    axis.set_title(f"{score}{unit}, {meaning.better} is better", fontsize=9)
    axis.grid(axis="x", alpha=0.3)
    axis.tick_params(axis="x", labelsize=8)
