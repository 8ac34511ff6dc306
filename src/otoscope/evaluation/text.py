"""The table for a terminal: a block for each condition, mask and domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otoscope.evaluation.mask_scores import MAP, OWN
from otoscope.evaluation.statistics import Estimate
from otoscope.evaluation.table import Block, Table, is_control
from otoscope.metrics import scores_shown

_COLUMNS = {OWN: scores_shown("own mask"), MAP: scores_shown("map")}
_AT_AREA = scores_shown("equal area")
_DOMAINS = {"mask": "masked spectrogram", "heard": "heard: its sound, analysed again"}
LEGEND = (
    "mean±half its 95 % interval over clips; * the best method of a column, = not told from it "
    "(paired bootstrap, interval holds 0)"
)


def format_results(table: Table) -> str:
    """All blocks, as text."""
    return "\n\n".join([*(format_block(table, block) for block in table.estimates), LEGEND])


def format_block(table: Table, block: Block) -> str:
    """One block: a line for each method and control, a column for each score."""
    wanted = _COLUMNS.get(block.mask, _AT_AREA)
    columns = [score for score in wanted if score in table.estimates[block]]
    rows = table.rows(block)
    width = max([len(row) for row in rows] + [8])
    lines = [f"{block.condition}, {_title(block)}", " " * width + "".join(f"{name:>14}" for name in columns)]
    leaders = {score: table.leaders(block, score) for score in columns}
    for row in rows:
        cells = ""
        for score in columns:
            best, alike = leaders[score]
            mark = "*" if row == best else "=" if row in alike else " "
            cells += f"{_cell(table.estimates[block][score].get(row)):>13}{mark}"
        lines.append(f"{row:<{width}}{cells}".rstrip())
        if not is_control(row) and row != rows[-1] and is_control(rows[rows.index(row) + 1]) and block.mask != OWN:
            lines.append("-" * width)
    return "\n".join(lines)


def format_sanity(sanity: Mapping[str, Any]) -> str:
    """Rank correlations by method and layer, and the verdict."""
    layers = list(dict.fromkeys(layer for one in sanity.values() for layer in one["rank_correlation"]))
    width = max([len(name) for name in sanity] + [8])
    lines = [
        "sanity: rank correlation of the map with that of the classifier shuffled from the head down to",
        " " * width + "".join(f"{layer[-12:]:>14}" for layer in layers),
    ]
    for name, one in sanity.items():
        values = (one["rank_correlation"].get(layer, {}).get("mean") for layer in layers)
        cells = "".join(f"{'-' if value is None or value != value else f'{value:.2f}':>14}" for value in values)
        lines.append(f"{name:<{width}}{cells}  {one['verdict']}")
    return "\n".join(lines)


def format_seconds(seconds: Mapping[str, Any]) -> str:
    """Time of each method for each clip."""
    width = max([len(name) for name in seconds] + [8])
    lines = ["seconds per clip (decoding and mask, without scoring)"]
    return "\n".join(lines + [f"{name:<{width}}{one['mean']:>10.4f}" for name, one in seconds.items()])


def _title(block: Block) -> str:
    if block.mask == MAP:
        return "whole map"
    mask = "own mask" if block.mask == OWN else f"equal area {block.mask}"
    return f"{mask}, {_DOMAINS[block.domain]}"


def _cell(one: Estimate | None) -> str:
    if one is None or not one.clips:
        return "-"
    digits = 1 if abs(one.mean) >= 10 else 2
    return f"{one.mean:.{digits}f}±{(one.high - one.low) / 2:.{digits}f}"
