"""Choice of what a paper shows of an evaluation: blocks, columns and rows with their marks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from otoscope.evaluation.mask_scores import OWN
from otoscope.evaluation.paper.options import PaperOptions
from otoscope.evaluation.statistics import Estimate
from otoscope.evaluation.table import Block, Table, is_control
from otoscope.metrics import SCORES, scores_shown
from otoscope.metrics.control_rows import Mark, mark_of, matched_control


@dataclass(frozen=True)
class PaperCell:
    """Mean of a score.

    Attributes:
        estimate: Mean with its interval.
        mark: ``best`` of the rows that are shown, ``equal`` (not significantly different from it), or empty.
    """

    estimate: Estimate
    mark: Mark = ""


@dataclass(frozen=True)
class PaperRow:
    """Row of a block.

    Attributes:
        name: Name of the method or control; of equal controls, one name for all.
        is_control: Whether it is a control.
        cells: Cells by score, of those that are defined.
    """

    name: str
    is_control: bool
    cells: Mapping[str, PaperCell]


@dataclass(frozen=True)
class PaperBlock:
    """Rows of one condition, mask and domain.

    Attributes:
        block: Block of the evaluation.
        rows: Rows, methods first.
        clips: Largest number of clips of a cell.
    """

    block: Block
    rows: Sequence[PaperRow]
    clips: int

    @property
    def title(self) -> str:
        """Title in words, such as ``clean, area 0.2, heard``."""
        mask = "own masks" if self.block.mask == OWN else f"area {self.block.mask}"
        domain = "heard" if self.block.domain == "heard" else "masked spectrogram"
        return f"{self.block.condition.replace('_', ' ')}, {mask}, {domain}"


@dataclass(frozen=True)
class PaperTable:
    """What a paper shows of an evaluation.

    Attributes:
        blocks: Blocks.
        scores: Names of the columns.
        intervals: Whether half of the interval stands behind each mean.
        precision: Precision that the classifier's network ran in.
    """

    blocks: Sequence[PaperBlock]
    scores: Sequence[str]
    intervals: bool = True
    precision: str = "float32"

    @property
    def caption(self) -> str:
        """Return what the table shows, as one paragraph."""
        clips = {block.clips for block in self.blocks}
        number = f"{max(clips, default=0)}" if len(clips) < 2 else f"{min(clips)} to {max(clips)}"
        interval = " with half of their 95 % intervals over recordings" if self.intervals else ""
        marks = {cell.mark for block in self.blocks for row in block.rows for cell in row.cells.values()}
        best = " Bold: the best of a column within its block." if "best" in marks else ""
        equal = " Equals sign: not significantly different from it (paired bootstrap)." if "equal" in marks else ""
        network = "" if self.precision == "float32" else f" The classifier's network ran in {self.precision}."
        return f"Means over {number} clips{interval}.{best}{equal}{network}"

    def text(self, cell: PaperCell, score: str) -> tuple[str, str]:
        """Return a mean and half of its interval; the latter is empty if intervals are not shown.

        Args:
            cell: Cell.
            score: Name of its column, which has the same number of decimals in all rows.
        """
        digits = 1 if SCORES[score].unit in ("%", "dB") else 2
        mean = f"{cell.estimate.mean + 0.0:.{digits}f}"
        mean = mean.removeprefix("-") if float(mean) == 0 else mean  # no minus before zero
        half = (cell.estimate.high - cell.estimate.low) / 2
        return mean, f"{half:.{digits}f}" if self.intervals and math.isfinite(half) else ""


def heading(score: str) -> tuple[str, str, str]:
    """Return the name of a column with its unit and direction.

    Example:
        >>> heading("AD")
        ('AD', '%', 'lower')
    """
    return score, SCORES[score].unit, SCORES[score].better


def select(
    table: Table, areas: Sequence[float], options: PaperOptions | None = None, precision: str = "float32"
) -> PaperTable:
    """Return what a paper shows of an evaluation. What was skipped is left out.

    Args:
        table: Table of the evaluation.
        areas: Areas of the evaluation.
        options: Choices.
        precision: Precision that the classifier's network ran in.
    """
    options = options or PaperOptions()
    present = list(dict.fromkeys(block.condition for block in table.estimates))
    conditions = present[:1] if options.conditions is None else options.conditions
    keys = [
        Block(condition, mask, domain)
        for condition in conditions
        for mask in options.masks(areas)
        for domain in options.domains
    ]
    keys = [key for key in keys if key in table.estimates]
    scores = scores_shown("picture") if options.scores is None else options.scores
    scores = [score for score in scores if any(score in table.estimates[key] for key in keys)]
    blocks = [_block(table, key, scores, options) for key in keys]
    return PaperTable([block for block in blocks if block.rows], scores, options.intervals, precision)


def _block(table: Table, key: Block, scores: Sequence[str], options: PaperOptions) -> PaperBlock:
    shown = _rows(table, key, options)
    members = [row for group in shown.values() for row in group]
    estimates = table.estimates[key]
    leaders = {score: table.leaders(key, score, members) for score in scores if score in estimates}
    rows = []
    for name, group in shown.items():
        cells = {}
        for score, (best, alike) in leaders.items():
            estimate = estimates[score].get(group[0])
            if estimate is not None and estimate.clips:
                cells[score] = PaperCell(estimate, mark_of(group, best, alike))
        if cells:
            rows.append(PaperRow(name, is_control(group[0]), cells))
    clips = max((cell.estimate.clips for row in rows for cell in row.cells.values()), default=0)
    return PaperBlock(key, rows, clips)


def _rows(table: Table, key: Block, options: PaperOptions) -> dict[str, list[str]]:
    """Return the rows to show by name: the chosen methods, then the chosen controls, of these methods."""
    present = table.rows(key)
    methods = [row for row in present if not is_control(row)]
    if options.methods is not None:
        methods = [method for method in options.methods if method in methods]
    controls = [
        row
        for control in options.controls
        for row in present
        if row == control or (matched_control(row) == control and row.partition(" as ")[2] in methods)
    ]
    return table.shown_rows(key, [*methods, *controls])
