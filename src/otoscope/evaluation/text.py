"""Table as text for a terminal, with a block for each condition, mask and domain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from otoscope.evaluation.mask_scores import MAP, OWN
from otoscope.evaluation.statistics import Estimate
from otoscope.evaluation.table import Block, Table, is_control
from otoscope.metrics import scores_shown
from otoscope.metrics.control_rows import Mark, mark_of

_COLUMNS = {OWN: scores_shown("own mask"), MAP: scores_shown("map")}
_AT_AREA = scores_shown("equal area")
_MARKS: dict[Mark, str] = {"best": "*", "equal": "=", "": " "}
_DOMAINS = {"mask": "masked spectrogram", "heard": "heard: its sound, analysed again"}
LEGEND = (
    "mean ± half of its 95 % interval over recordings; * marks the best method of a column, = the methods that are "
    "not significantly different from it (paired bootstrap)"
)


def format_results(table: Table) -> str:
    """Return all blocks and the legend."""
    return "\n\n".join([*(format_block(table, block) for block in table.estimates), LEGEND])


def format_block(table: Table, block: Block) -> str:
    """Return one block, with a line for each method and control and a column for each score."""
    columns = [score for score in _COLUMNS.get(block.mask, _AT_AREA) if score in table.estimates[block]]
    shown = table.shown_rows(block)
    rows = list(shown)
    width = max([len(row) for row in rows] + [8])
    lines = [f"{block.condition}, {_title(block)}", " " * width + "".join(f"{name:>14}" for name in columns)]
    leaders = {score: table.leaders(block, score) for score in columns}
    for row, next_row in zip(rows, [*rows[1:], ""], strict=True):
        cells = ""
        for score in columns:
            mark = _MARKS[mark_of(shown[row], *leaders[score])]
            cells += f"{_cell(table.estimates[block][score].get(shown[row][0])):>13}{mark}"
        lines.append(f"{row:<{width}}{cells}".rstrip())
        # A rule separates methods and controls. Own masks have none: their controls stand between the methods.
        if block.mask != OWN and is_control(next_row) and not is_control(row):
            lines.append("-" * width)
    return "\n".join(lines)


def format_sanity(sanity: Mapping[str, Any]) -> str:
    """Return the rank correlations of the sanity check by method and layer, and the verdicts."""
    layers = list(dict.fromkeys(layer for check in sanity.values() for layer in check["rank_correlation"]))
    width = max([len(name) for name in sanity] + [8])
    lines = [
        "sanity check: rank correlation with the original map, with the classifier shuffled from the head down to",
        " " * width + "".join(f"{layer[-12:]:>14}" for layer in layers),
    ]
    for name, check in sanity.items():
        values = (check["rank_correlation"].get(layer, {}).get("mean") for layer in layers)
        cells = "".join(f"{'-' if value is None or math.isnan(value) else f'{value:.2f}':>14}" for value in values)
        lines.append(f"{name:<{width}}{cells}  {check['verdict']}")
    return "\n".join(lines)


def format_seconds(seconds: Mapping[str, Any]) -> str:
    """Return the mean time per clip of each method, as text."""
    width = max([len(name) for name in seconds] + [8])
    lines = ["seconds per clip (decoding and mask, without scoring)"]
    return "\n".join(lines + [f"{name:<{width}}{times['mean']:>10.4f}" for name, times in seconds.items()])


def _title(block: Block) -> str:
    if block.mask == MAP:
        return "whole map"
    mask = "own mask" if block.mask == OWN else f"equal area {block.mask}"
    return f"{mask}, {_DOMAINS[block.domain]}"


def _cell(estimate: Estimate | None) -> str:
    if estimate is None or not estimate.clips:
        return "-"
    digits = 1 if abs(estimate.mean) >= 10 else 2
    return f"{estimate.mean:.{digits}f}±{(estimate.high - estimate.low) / 2:.{digits}f}"
