"""The table: means over clips with their intervals, and which differences between methods are real."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from otoscope.evaluation.mask_scores import BESIDE_OWN, OWN
from otoscope.evaluation.statistics import Estimate, Values, better, estimate, resampling
from otoscope.metrics import SCORES, scores_shown
from otoscope.scoring import CONTROLS

_COMPARED = {
    name
    for place in ("own mask", "equal area", "map")
    for name in scores_shown(place)
    if SCORES[name].better != "neither"
}


@dataclass(frozen=True, order=True)
class Block:
    """What one part of the table is about.

    Attributes:
        condition: Such as ``clean``.
        mask: ``own``, an area such as ``0.2``, or ``map``.
        domain: ``mask`` or ``heard``.
    """

    condition: str
    mask: str
    domain: str


@dataclass(frozen=True)
class Pair:
    """Two rows compared on the same clips.

    Attributes:
        first: Name of a row.
        second: Name of another.
        difference: First minus second, with the interval of the paired bootstrap.
        better: The better row; empty where the interval holds 0.
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
        """Methods and controls of a block, in their order."""
        return list(dict.fromkeys(row for rows in self.estimates[block].values() for row in rows))

    def leaders(self, block: Block, score: str) -> tuple[str, set[str]]:
        """The row with the best mean, and the rows that cannot be told from it; empty without a direction.

        Controls that cheat by keeping everything or by knowing the truth do not lead.
        """
        direction = SCORES[score].better
        rows = {row: one for row, one in self.estimates[block][score].items() if row not in ("all-pass", "ideal")}
        rows = {row: one for row, one in rows.items() if one.clips}
        if direction == "neither" or not rows or score not in self.pairs.get(block, {}):
            return "", set()
        best = (max if direction == "higher" else min)(rows, key=lambda row: rows[row].mean)
        alike = {
            (pair.second if pair.first == best else pair.first)
            for pair in self.pairs[block][score]
            if best in (pair.first, pair.second) and not pair.better
        }
        return best, alike & rows.keys()


def make_table(
    records: Mapping[str, Mapping[str, Mapping[str, Any]]],
    clips: Mapping[str, Sequence[str]],
    count: int,
    seed: int,
) -> Table:
    """Averages the records of single clips.

    Args:
        records: By condition, method and clip.
        clips: Names by condition, in order.
        count: Bootstrap samples.
        seed: Makes them.
    """
    table = Table()
    for condition, methods in records.items():
        names = clips[condition]
        weights = resampling(len(names), count, seed) if names else np.zeros((count, 0))
        for block, scores in _values(condition, methods, names).items():
            table.estimates[block], table.pairs[block] = {}, {}
            for score in sorted(scores, key=list(SCORES).index):
                rows = scores[score]
                found = estimate(np.stack(list(rows.values()), 1), weights)
                table.estimates[block][score] = dict(zip(rows, found, strict=True))
                if score in _COMPARED and len(rows) > 1:
                    table.pairs[block][score] = compare(rows, weights, score)
    return table


def compare(rows: Mapping[str, Values], weights: Values, score: str) -> list[Pair]:
    """Compares every two rows by the paired bootstrap: clips are drawn, and both rows take the same ones.

    Args:
        rows: Values of each clip, by row. Shape (clips,) each.
        weights: See `resampling`.
        score: Whose direction says what is better.
    """
    names = list(itertools.combinations(rows, 2))
    differences = np.stack([rows[first] - rows[second] for first, second in names], 1)
    found = []
    for (first, second), one in zip(names, estimate(differences, weights), strict=True):
        side = better(one, SCORES[score].better)
        found.append(Pair(first, second, one, {1: first, -1: second, 0: ""}[side]))
    return found


def table_csv(table: Table) -> str:
    """Long format, one line for each number."""
    lines = (
        [block.condition, row, block.mask, block.domain, score, *_numbers(one)]
        for block, scores in table.estimates.items()
        for score, rows in scores.items()
        for row, one in rows.items()
    )
    return _csv(["condition", "method", "mask", "domain", "score", "mean", "low", "high", "n"], lines)


def pairs_csv(table: Table) -> str:
    """Long format, one line for each comparison; ``better`` is empty where the interval holds 0."""
    lines = (
        [
            block.condition,
            block.mask,
            block.domain,
            score,
            one.first,
            one.second,
            *_numbers(one.difference),
            one.better,
        ]
        for block, scores in table.pairs.items()
        for score, pairs in scores.items()
        for one in pairs
    )
    head = ["condition", "mask", "domain", "score", "first", "second", "difference", "low", "high", "n", "better"]
    return _csv(head, lines)


def _values(
    condition: str, methods: Mapping[str, Mapping[str, Any]], clips: Sequence[str]
) -> dict[Block, dict[str, dict[str, Values]]]:
    """Values of all clips by block, score and row; NaN where a clip has none."""
    result: dict[Block, dict[str, dict[str, Values]]] = {}
    for method, records in methods.items():
        for position, clip in enumerate(clips):
            for mask, domains in records.get(clip, {}).get("scores", {}).items():
                beside = BESIDE_OWN.get(mask)
                row = f"{beside} as {method}" if beside else method
                for domain, scores in domains.items():
                    block = result.setdefault(Block(condition, OWN if beside else mask, domain), {})
                    for score, value in scores.items():
                        rows = block.setdefault(score, {})
                        if row not in rows:
                            rows[row] = np.full(len(clips), np.nan)
                        rows[row][position] = np.nan if value is None else value
    return result


def _numbers(one: Estimate) -> list[str]:
    return [*(f"{value:.6g}" for value in (one.mean, one.low, one.high)), str(one.clips)]


def _csv(head: Sequence[str], lines: Iterator[list[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return text.getvalue()


def is_control(row: str) -> bool:
    """Whether a row of the table is a control."""
    return row in CONTROLS or stands_beside(row)


def stands_beside(row: str) -> bool:
    """Whether a row is a control with the area of a method's own mask."""
    return row.startswith(tuple(f"{name} as " for name in BESIDE_OWN.values()))
