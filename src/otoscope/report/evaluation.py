"""Evaluations as a report reads them: tables of means with intervals, and the points of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from otoscope.errors import DataError
from otoscope.metrics import SCORES, scores_shown
from otoscope.metrics.control_rows import Mark, mark_of, matched_control, shown_rows
from otoscope.metrics.scores import Place
from otoscope.report.contents import Content

# Names in results.json. They are repeated here, and compared in a test, because importing `otoscope.evaluation`
# takes longer than writing a report.
OWN, MAP = "own", "map"
CONTROLS = ("all-pass", "random", "loudest", "ideal")
DOMAINS = {"mask": "seen", "heard": "heard"}
"""Name of each domain for readers: the masked spectrogram, and its sound analysed again."""


@dataclass(frozen=True)
class Cell:
    """Mean of a score.

    Attributes:
        mean: Mean over clips.
        low: Lower end of its interval.
        high: Upper end.
        clips: Number of clips.
        mark: ``best``, ``equal`` (not significantly different from the best), or empty.
    """

    mean: float
    low: float
    high: float
    clips: int
    mark: Mark = ""


@dataclass(frozen=True)
class Row:
    """Row of a table.

    Attributes:
        name: Name of the method or control; of equal controls, one name for all.
        control: Whether it is a control.
        cells: Cells by score.
    """

    name: str
    control: bool
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Block:
    """Table of one condition, mask and domain.

    Attributes:
        condition: Name of the condition.
        mask: ``own``, an area such as ``0.2``, or ``map``.
        domain: ``mask`` or ``heard``.
        scores: Columns.
        rows: Rows.
    """

    condition: str
    mask: str
    domain: str
    scores: list[str]
    rows: list[Row]

    @property
    def title(self) -> str:
        """Title in words."""
        if self.mask == MAP:
            return f"{self.condition}: whole map"
        mask = "own mask" if self.mask == OWN else f"equal area {self.mask}"
        return f"{self.condition}: {mask}, {DOMAINS[self.domain]}"


@dataclass
class EvaluationResult:
    """Evaluation of methods.

    Attributes:
        path: Path of ``results.json``.
        classifier: Name of the classifier.
        labels: Names of the classes.
        conditions: Number of clips and recordings, and the classifier's accuracy, by condition.
        blocks: Tables.
        curves: Points of insertion and deletion by condition and method.
        areas: Areas of these points.
        middle: Area in the middle of the list, which the figure of scores shows.
        skipped: Skipped methods, conditions and checks, with the reason.
        seconds: Mean seconds per clip by method.
        verdicts: Results of the checks, as lines.
        precision: Precision that the classifier's network ran in.
    """

    path: Path
    classifier: str
    labels: list[str]
    conditions: dict[str, dict[str, float]]
    blocks: list[Block]
    curves: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = field(default_factory=dict)
    areas: list[float] = field(default_factory=list)
    middle: str = ""
    skipped: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    verdicts: list[str] = field(default_factory=list)
    precision: str = "float32"

    @property
    def scores(self) -> list[str]:
        """Names of all scores in the tables."""
        shown = {score for block in self.blocks for score in block.scores}
        return [score for score in SCORES if score in shown]


def open_evaluation(path: Path) -> EvaluationResult:
    """Read the results of an evaluation.

    Args:
        path: Path of ``results.json``.

    Raises:
        DataError: The file is damaged, or holds something else.
    """
    return evaluation_result(Content.read(path))


def evaluation_result(content: Content) -> EvaluationResult:
    """Return the results of an evaluation.

    Args:
        content: Content of ``results.json``.

    Raises:
        DataError: The content is damaged, or that of something else.
    """
    path = content.path
    if "conditions" not in content.values or "scores" not in content.values:
        raise DataError(f"{path}: holds no results of `otoscope evaluate`; name another folder")
    conditions, skipped, settings = (content.part(name) for name in ("conditions", "skipped", "settings"))
    areas = settings.values.get("areas")
    areas = areas if isinstance(areas, list) else []
    return EvaluationResult(
        path=path,
        classifier=content.text("classifier", "classifier"),
        labels=content.texts("labels"),
        conditions={name: conditions.numbers(name) for name in conditions.values},
        blocks=list(_blocks(content)),
        curves=_curves(content.part("curves")),
        areas=[float(area) for area in content.part("curves").values.get("areas", [])],
        middle=str(areas[len(areas) // 2]) if areas else "",
        skipped=[
            f"{kind.removesuffix('s')} {name}: {reason}"
            for kind in skipped.values
            for name, reason in skipped.part(kind).values.items()
        ],
        seconds=_seconds(content.part("seconds_per_clip")),
        verdicts=list(_verdicts(content)),
        precision=settings.text("precision", "float32"),
    )


def _blocks(content: Content) -> list[Block]:
    blocks = []
    scores, leaders = content.part("scores"), content.part("leaders")
    for condition in scores.values:
        for mask in scores.part(condition).values:
            for domain in scores.part(condition).part(mask).values:
                place = leaders.part(condition).part(mask).part(domain)
                blocks.append(_block((condition, mask, domain), scores.part(condition).part(mask), place))
    return [block for block in blocks if block.scores]


def _block(name: tuple[str, str, str], domains: Content, leaders: Content) -> Block:
    condition, mask, domain = name
    if domain not in DOMAINS:
        raise DataError(f"{domains.path}: {domain!r} is no domain of scores; evaluate again")
    methods = domains.part(domain)
    places: dict[str, Place] = {OWN: "own mask", MAP: "map"}
    present = {score for row in methods.values for score in methods.part(row).values}
    columns = [score for score in scores_shown(places.get(mask, "equal area")) if score in present]
    rows = []
    for row in methods.values:
        cells = {}
        for score in columns:
            values = methods.part(row).part(score)
            if values.values.get("mean") is not None:
                cells[score] = _cell(values)
        rows.append(Row(row, row in CONTROLS or matched_control(row) is not None, cells))
    return Block(condition, mask, domain, columns, _marked_rows(rows, leaders))


def _cell(values: Content) -> Cell:
    mean = values.number("mean")
    ends = [values.optional_number(name) for name in ("low", "high")]
    low, high = (mean if end is None else end for end in ends)
    return Cell(mean, low, high, int(values.number("n")))


def _marked_rows(rows: Sequence[Row], leaders: Content) -> list[Row]:
    """Return the rows to show with their marks; controls of equal values are one row, whichever of them leads."""
    by_name = {row.name: row for row in rows}
    shown = shown_rows(list(by_name), lambda first, second: by_name[first].cells == by_name[second].cells)
    marked = []
    for name, equal in shown.items():
        first = by_name[equal[0]]
        cells = {}
        for score, cell in first.cells.items():
            leader = leaders.part(score)
            mark = mark_of(equal, leader.text("best", ""), leader.texts("not_told_from_it"))
            cells[score] = replace(cell, mark=mark)
        marked.append(Row(name, first.control, cells))
    return marked


def _curves(content: Content) -> dict[str, dict[str, dict[str, dict[str, list[float]]]]]:
    areas = content.values.get("areas", [])
    curves: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = {}
    for condition in content.values:
        if condition == "areas":
            continue
        for method in content.part(condition).values:
            sides = content.part(condition).part(method)
            for side in ("insertion", "deletion"):
                points = sides.part(side).values
                if _is_curve(points, len(areas)):
                    curves.setdefault(condition, {}).setdefault(method, {})[side] = points
    return curves


def _is_curve(points: dict[str, object], count: int) -> bool:
    return all(
        isinstance(values := points.get(name), list)
        and len(values) == count
        and all(isinstance(value, int | float) for value in values)
        for name in ("mean", "low", "high")
    )


def _seconds(content: Content) -> dict[str, float]:
    return {name: content.part(name).number("mean") for name in content.values}


def _verdicts(content: Content) -> list[str]:
    lines = []
    for check in ("sanity", "randomisation", "stability"):
        for method in content.part(check).values:
            verdict = content.part(check).part(method).values.get("verdict")
            if isinstance(verdict, str):
                lines.append(f"{check}, {method}: {verdict}")
    return lines
