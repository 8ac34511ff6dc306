"""Figure for papers: means with intervals, a panel for each score, as wide as a page of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from otoscope.evaluation.mask_scores import OWN
from otoscope.evaluation.paper.selection import PaperBlock, PaperTable, heading
from otoscope.plots.style import EVIDENCE_COLOR, REMAINDER_COLOR
from otoscope.plots.text import literal, readable

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _ROW, _AROUND = 7.0, 0.17, 0.62
"""Inches: width, height of a row, height of titles and axis of a line of panels."""
_TEXT_POINTS, _TICK_POINTS = 8, 7
_COLORS = {"heard": EVIDENCE_COLOR, "mask": REMAINDER_COLOR}
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LONGEST_NAME = 36


def paper_figure(paper: PaperTable) -> Figure:
    """Draw the means with their intervals: conditions as lines of panels, scores as columns, methods as rows.

    Domains differ in colour and filling, areas in the shape of the points, so that print without colour shows both.

    Args:
        paper: What is shown, at least one block.
    """
    from matplotlib.figure import Figure as MatplotlibFigure

    lines: dict[str, list[PaperBlock]] = {}
    for block in paper.blocks:
        lines.setdefault(block.block.condition, []).append(block)
    names = {
        condition: list(dict.fromkeys(row.name for block in blocks for row in block.rows))
        for condition, blocks in lines.items()
    }
    pitch = _ROW * max(1.0, 0.45 * max(map(len, lines.values())))
    heights = [_AROUND + pitch * len(rows) for rows in names.values()]
    figure = MatplotlibFigure(figsize=(_WIDTH, sum(heights) + 0.35), layout="constrained")
    panels = figure.subplots(len(lines), len(paper.scores), squeeze=False, sharey="row", height_ratios=heights)
    for (condition, blocks), line in zip(lines.items(), panels, strict=True):
        for score, axes in zip(paper.scores, line, strict=True):
            _draw(axes, blocks, names[condition], score)
        _label_rows(line[0], names[condition])
        if len(lines) > 1:
            line[0].set_ylabel(readable(condition.replace("_", " "), _LONGEST_NAME), fontsize=_TEXT_POINTS)
    _legend(figure, panels.ravel().tolist())
    return figure


def _draw(axes: Axes, blocks: Sequence[PaperBlock], names: Sequence[str], score: str) -> None:
    """Draw the points of a score, those of different blocks below each other within a row."""
    masks = list(dict.fromkeys(block.block.mask for block in blocks))
    for position, block in enumerate(blocks):
        shift = 0.62 * ((position + 0.5) / len(blocks) - 0.5)
        values = {row.name: row.cells[score].estimate for row in block.rows if score in row.cells}
        if not values:
            continue
        places = [names.index(name) + shift for name in values]
        means = [estimate.mean for estimate in values.values()]
        # Matplotlib expects the lengths of the two sides of an interval, not its ends.
        sides = [
            [max(estimate.mean - estimate.low, 0.0) for estimate in values.values()],
            [max(estimate.high - estimate.mean, 0.0) for estimate in values.values()],
        ]
        color = _COLORS[block.block.domain]
        axes.errorbar(
            means,
            places,
            xerr=sides,
            fmt=_MARKERS[masks.index(block.block.mask) % len(_MARKERS)],
            color=color,
            markersize=3.2,
            markerfacecolor=color if block.block.domain == "heard" else "white",
            linewidth=0.9,
            label=_name(block),
        )
    _finish(axes, score, len(names))


def _name(block: PaperBlock) -> str:
    mask = "own mask" if block.block.mask == OWN else f"area {block.block.mask}"
    return f"{mask}, {'heard' if block.block.domain == 'heard' else 'seen'}"


_DIRECTIONS: Mapping[str, str] = {"higher": " →", "lower": " ←", "neither": ""}


def _finish(axes: Axes, score: str, rows: int) -> None:
    name, unit, better = heading(score)
    # The arrow points to where better methods are.
    axes.set_title(f"{name}{f' ({unit})' if unit else ''}{_DIRECTIONS[better]}", fontsize=_TEXT_POINTS)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(axis="both", labelsize=_TICK_POINTS, length=2, pad=2)
    axes.grid(axis="x", alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label_rows(axes: Axes, names: Sequence[str]) -> None:
    shown = [readable(name, _LONGEST_NAME) for name in names]
    axes.set_yticks(range(len(shown)), shown, fontsize=_TEXT_POINTS, **literal(*shown))


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    handles: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(str(label), handle)
    if len(handles) > 1:
        columns = min(len(handles), 4)
        figure.legend(
            handles=list(handles.values()),
            labels=list(handles),
            loc="outside upper center",
            ncols=columns,
            fontsize=_TEXT_POINTS,
            frameon=False,
        )
