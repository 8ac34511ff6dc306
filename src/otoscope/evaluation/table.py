"""Table of means over clips with their intervals, and of significant differences between methods."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from otoscope.evaluation.mask_scores import ANNOTATED, MATCHED_CONTROLS, OWN
from otoscope.evaluation.proportions import estimate_proportion
from otoscope.evaluation.statistics import Estimate, Sampling, Values, better, estimate, resampling_by
from otoscope.metrics import SCORES, scores_shown
from otoscope.metrics.control_rows import matched_control, shown_rows
from otoscope.scoring import CONTROLS

UNRANKED = ("all-pass", "ideal", ANNOTATED)
"""Controls that score well by keeping everything or by knowing the truth."""
_COMPARED = {
    name
    for place in ("own mask", "equal area", "map")
    for name in scores_shown(place)
    if SCORES[name].better != "neither"
}


@dataclass(frozen=True, order=True)
class Block:
    """Subject of one part of the table.

    Attributes:
        condition: Name of the condition, such as ``clean``.
        mask: Mask that is scored: ``own``, an area such as ``0.2``, or ``map``.
        domain: Input of the classifier: ``mask`` or ``heard``.
    """

    condition: str
    mask: str
    domain: str


@dataclass(frozen=True)
class Pair:
    """Two rows compared on the same clips.

    Attributes:
        first: Name of the first row.
        second: Name of the second row.
        difference: First minus second, with the interval of the paired bootstrap.
        better: Name of the better row; empty where the difference is not significant.
    """

    first: str
    second: str
    difference: Estimate
    better: str


@dataclass
class Table:
    """Scores by block, score and row (a method or a control).

    Attributes:
        estimates: Means with intervals.
        pairs: Comparisons of all rows, for scores that have a direction.
    """

    estimates: dict[Block, dict[str, dict[str, Estimate]]] = field(default_factory=dict)
    pairs: dict[Block, dict[str, list[Pair]]] = field(default_factory=dict)

    def rows(self, block: Block) -> list[str]:
        """Return the names of the methods and controls of a block, in their order."""
        return list(dict.fromkeys(row for rows in self.estimates[block].values() for row in rows))

    def shown_rows(self, block: Block, rows: Sequence[str] | None = None) -> dict[str, list[str]]:
        """Return the rows of a block by the name to show: equal controls are one row; see `shown_rows`.

        Args:
            block: Block.
            rows: Rows to show (default: all).
        """
        scores = self.estimates[block].values()

        def are_equal(first: str, second: str) -> bool:
            return all(_same(cells.get(first), cells.get(second)) for cells in scores)

        return shown_rows(self.rows(block) if rows is None else rows, are_equal)

    def methods(self) -> list[str]:
        """Return the names of the methods, in their order."""
        rows = dict.fromkeys(row for block in self.estimates for row in self.rows(block))
        return [row for row in rows if not is_control(row)]

    def leaders(self, block: Block, score: str, among: Collection[str] | None = None) -> tuple[str, set[str]]:
        """Return the row with the best mean, and the rows that are not significantly different from it.

        Both are empty for a score without a direction. The controls ``all-pass``, ``ideal`` and ``truth`` are not
        ranked: they score well by keeping everything or by knowing the truth.

        Args:
            block: Block.
            score: Name of the score.
            among: Rows that are compared (default: all).
        """
        direction = SCORES[score].better
        means = {
            row: cell.mean
            for row, cell in self.estimates[block][score].items()
            if cell.clips and row not in UNRANKED and (among is None or row in among)
        }
        if direction == "neither" or not means or score not in self.pairs.get(block, {}):
            return "", set()
        best = (max if direction == "higher" else min)(means, key=means.__getitem__)
        # Only comparisons with the best row count: two other rows may differ from each other, but neither from it.
        alike = {
            (pair.second if pair.first == best else pair.first)
            for pair in self.pairs[block][score]
            if best in (pair.first, pair.second) and not pair.better
        }
        return best, alike & means.keys()


def make_table(
    records: Mapping[str, Mapping[str, Mapping[str, Any]]],
    clips: Mapping[str, Sequence[str]],
    sampling: Sampling,
) -> Table:
    """Average the records of single clips, and compare the methods.

    Args:
        records: Records by condition, method and clip.
        clips: Names of the clips by condition, in order.
        sampling: Draws of the bootstrap.
    """
    table = Table()
    for condition, methods in records.items():
        names = clips[condition]
        recordings = sampling.recordings_of(names)
        # All methods and scores of a condition share the samples, so that their differences are paired.
        count, seed = sampling.count, sampling.seed
        weights = resampling_by(recordings, count, seed) if names else np.zeros((count, 0))
        for block, scores in _values(condition, methods, names).items():
            table.estimates[block], table.pairs[block] = {}, {}
            for score in sorted(scores, key=list(SCORES).index):
                rows = scores[score]
                cells = estimate(np.stack(list(rows.values()), 1), weights, recordings=recordings)
                if (success := SCORES[score].success) is not None:
                    pairs = zip(rows.values(), cells, strict=True)
                    cells = [estimate_proportion(values, cell, success, recordings) for values, cell in pairs]
                table.estimates[block][score] = dict(zip(rows, cells, strict=True))
                if score in _COMPARED and len(rows) > 1:
                    table.pairs[block][score] = compare(rows, weights, score, recordings)
    return table


def compare(
    rows: Mapping[str, Values], weights: Values, score: str, recordings: Sequence[str] | None = None
) -> list[Pair]:
    """Compare every two rows by the paired bootstrap: each sample draws the same clips for both rows.

    Args:
        rows: Values of each clip by row, shape (clips,) each.
        weights: Bootstrap samples of `resampling_by`, shape (samples, clips).
        score: Name of the score, whose direction decides which row is better.
        recordings: Recording of each clip (default: the clips are independent).
    """
    names = list(itertools.combinations(rows, 2))
    # Clips differ more from each other than methods do. The difference of a clip removes what both methods share,
    # so its interval can exclude 0 where the intervals of the two means overlap.
    differences = np.stack([rows[first] - rows[second] for first, second in names], 1)
    pairs = []
    for (first, second), difference in zip(
        names, estimate(differences, weights, recordings=recordings), strict=True
    ):
        side = better(difference, SCORES[score].better)
        pairs.append(Pair(first, second, difference, {1: first, -1: second, 0: ""}[side]))
    return pairs


def table_csv(table: Table) -> str:
    """Return the means in long format, one line for each."""
    lines = (
        [block.condition, row, block.mask, block.domain, score, *_numbers(cell)]
        for block, scores in table.estimates.items()
        for score, rows in scores.items()
        for row, cell in rows.items()
    )
    return _csv(["condition", "method", "mask", "domain", "score", "mean", "low", "high", "n"], lines)


def pairs_csv(table: Table) -> str:
    """Return the comparisons in long format, one line for each; ``better`` may be empty as in `Pair`."""
    lines = (
        [
            block.condition,
            block.mask,
            block.domain,
            score,
            pair.first,
            pair.second,
            *_numbers(pair.difference),
            pair.better,
        ]
        for block, scores in table.pairs.items()
        for score, pairs in scores.items()
        for pair in pairs
    )
    head = ["condition", "mask", "domain", "score", "first", "second", "difference", "low", "high", "n", "better"]
    return _csv(head, lines)


def _values(
    condition: str, methods: Mapping[str, Mapping[str, Any]], clips: Sequence[str]
) -> dict[Block, dict[str, dict[str, Values]]]:
    """Return the values of all clips by block, score and row; NaN where a clip has none."""
    result: dict[Block, dict[str, dict[str, Values]]] = {}
    for method, records in methods.items():
        for position, clip in enumerate(clips):
            for mask, domains in records.get(clip, {}).get("scores", {}).items():
                # Controls matched to a method's own mask are rows of the block of own masks.
                matched = MATCHED_CONTROLS.get(mask)
                row = f"{matched} as {method}" if matched else method
                for domain, scores in domains.items():
                    block = result.setdefault(Block(condition, OWN if matched else mask, domain), {})
                    for score, value in scores.items():
                        rows = block.setdefault(score, {})
                        if row not in rows:
                            # NaN marks clips without a score; the bootstrap leaves them out of means and samples.
                            rows[row] = np.full(len(clips), np.nan)
                        rows[row][position] = np.nan if value is None else value
    return result


def _numbers(cell: Estimate) -> list[str]:
    return [*(f"{value:.6g}" for value in (cell.mean, cell.low, cell.high)), str(cell.clips)]


def _csv(head: Sequence[str], lines: Iterator[list[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return text.getvalue()


def is_control(row: str) -> bool:
    """Return whether a row of the table is a control."""
    return row in (*CONTROLS, ANNOTATED) or is_matched_control(row)


def is_matched_control(row: str) -> bool:
    """Return whether a row is a control with the area of a method's own mask."""
    return matched_control(row) is not None


def _same(first: Estimate | None, second: Estimate | None) -> bool:
    """Return whether two cells show the same; means of no clip are NaN, which is equal to nothing."""
    if first is None or second is None or not (first.clips and second.clips):
        return (first is None or not first.clips) == (second is None or not second.clips)
    one_side, other_side = ((cell.mean, cell.low, cell.high, cell.clips) for cell in (first, second))
    return bool(np.array_equal(one_side, other_side, equal_nan=True))
