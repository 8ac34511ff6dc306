"""Report of an evaluation: its results as JSON, CSV, text and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from otoscope.evaluation.check_results import format_checks, randomisation_results, stability_results
from otoscope.evaluation.checks import RANDOMISATION, SANITY, STABILITY
from otoscope.evaluation.mask_scores import ANNOTATED, curve_areas
from otoscope.evaluation.paper import PaperOptions, PaperTable, select, write_paper
from otoscope.evaluation.picture import draw_curves, draw_table
from otoscope.evaluation.road import SIDES, road_areas
from otoscope.evaluation.sanity import verdict
from otoscope.evaluation.statistics import Estimate, Sampling
from otoscope.evaluation.table import Table, make_table, pairs_csv, table_csv
from otoscope.evaluation.text import format_results, format_sanity, format_seconds
from otoscope.files.atomic import replace_text
from otoscope.files.json import write_json
from otoscope.metrics import SCORES
from otoscope.views import Shown


@dataclass(frozen=True, repr=False)
class Report(Shown):
    """The results of an evaluation.

    Attributes:
        results: Content of ``results.json``.
        table: Means, intervals and comparisons.
        text: Output for the terminal, which is also the content of ``table.txt``.
        folder: Folder of the files.
    """

    view: ClassVar[str] = "evaluation"

    results: dict[str, Any]
    table: Table
    text: str
    folder: Path

    def paper(self, options: PaperOptions | None = None) -> PaperTable:
        """Return chosen areas, domains and methods; see `otoscope.evaluation.paper` for tables of them.

        Args:
            options: Choices.

        Raises:
            ConfigurationError: The evaluation has no such area, method or condition.
        """
        settings, skipped = self.results["settings"], self.results["skipped"]
        options = options or PaperOptions()
        methods = [*self.table.methods(), *skipped.get("methods", {})]
        options.check(settings["areas"], methods, [*self.results["conditions"], *skipped.get("conditions", {})])
        return select(self.table, settings["areas"], options, settings.get("precision", "float32"))

    def __repr__(self) -> str:
        methods = ", ".join(name for name in self.table.methods())
        return f"Report({methods} in {', '.join(self.results['conditions'])}; files in {self.folder})"


def make_report(
    folder: Path,
    records: Mapping[str, Mapping[str, Mapping[str, Any]]],
    clips: Mapping[str, Sequence[str]],
    checks: Mapping[str, Mapping[str, Mapping[str, Any]]],
    settings: Mapping[str, Any],
    skipped: Mapping[str, Mapping[str, str]],
    about: Mapping[str, Any],
    recordings: Mapping[str, str] | None = None,
    paper: PaperOptions | None = None,
) -> Report:
    """Average the records, and write tables and pictures.

    Args:
        folder: Folder of the files.
        records: Records by condition, row and clip.
        clips: Names of the clips by condition.
        checks: Records by check, method and clip; empty for checks that were not made.
        settings: Settings of the evaluation.
        skipped: Reasons by name, for methods, conditions and checks.
        about: Description of the run, which is added to ``results.json``.
        recordings: Recording of each clip that was cut from one; clips of one recording are drawn together.
        paper: What the tables and the figure for papers show.
    """
    sampling = Sampling(int(settings["bootstrap"]), int(settings["seed"]), dict(recordings or {}))
    table = make_table(records, clips, sampling)
    curves = _all_curves("curves", records, clips, sampling) if settings["curves"] else {}
    road = _all_curves("road", records, clips, sampling) if settings.get("road") else {}
    results = {
        **about,
        "settings": dict(settings),
        "conditions": {name: _condition(rows, clips[name], sampling) for name, rows in records.items()},
        "skipped": {kind: dict(reasons) for kind, reasons in skipped.items()},
        "scores": _nested(table),
        "leaders": _leaders(table),
        "curves": {"areas": curve_areas(), **curves},
        "road": {"areas": road_areas(), **road},
        SANITY: {name: _sanity(by_clip, sampling) for name, by_clip in checks.get(SANITY, {}).items() if by_clip},
        RANDOMISATION: randomisation_results(checks.get(RANDOMISATION, {}), sampling),
        STABILITY: stability_results(checks.get(STABILITY, {}), sampling),
        "seconds_per_clip": _seconds(records),
        "undefined": _undefined(records),
    }
    report = Report(results, table, _text(table, results), folder)
    _write(report, curves, paper or PaperOptions())
    return report


def _write(report: Report, curves: Mapping[str, Mapping[str, Any]], paper: PaperOptions) -> None:
    folder, areas = report.folder, report.results["settings"]["areas"]
    write_json(folder / "results.json", report.results)
    replace_text(folder / "table.csv", table_csv(report.table))
    replace_text(folder / "pairs.csv", pairs_csv(report.table))
    replace_text(folder / "table.txt", report.text + "\n")
    # The picture shows masks of one area, that in the middle of the list.
    draw_table(report.table, areas[len(areas) // 2], folder / "table.png")
    if curves:
        draw_curves(curves, curve_areas(), folder / "curves.png")
    write_paper(folder, report.paper(paper), paper.figures)


def _text(table: Table, results: Mapping[str, Any]) -> str:
    parts = [format_results(table)]
    if results["sanity"]:
        parts.append(format_sanity(results["sanity"]))
    parts += format_checks(results)
    if results["seconds_per_clip"]:
        parts.append(format_seconds(results["seconds_per_clip"]))
    parts.append(
        "\n".join(
            f"{name}: {facts['clips']} clips of {facts['recordings']} recordings, the classifier is right on "
            f"{100 * facts['accuracy']:.1f} %{_annotated(facts)}"
            for name, facts in results["conditions"].items()
        )
    )
    precision = results["settings"].get("precision", "float32")
    if precision != "float32":
        parts.append(
            f"the classifier's network ran in {precision}, so that all scores differ a little from those in float32"
        )
    for kind, reasons in results["skipped"].items():
        parts += [f"skipped {kind[:-1]} {name}: {reason}" for name, reason in reasons.items()]
    parts += [
        f"{name}: its map or mask is not finite on {count} clips, which are left out of its means"
        for name, count in results["undefined"].items()
    ]
    return "\n\n".join(parts)


def _annotated(facts: Mapping[str, Any]) -> str:
    """Return how many clips have no annotation of the explained label; nothing where nothing is annotated."""
    if "annotated" not in facts:
        return ""
    count, without = facts["annotated"], facts["clips"] - facts["annotated"]
    scores = ", ".join(name for name, score in SCORES.items() if "annotation" in score.needs)
    return (
        f"; {count} of them have an annotated event of the explained label, the other {without} are left out of "
        f"{scores}"
    )


def _condition(rows: Mapping[str, Mapping[str, Any]], clips: Sequence[str], sampling: Sampling) -> dict[str, Any]:
    """Return the numbers of clips and recordings in a condition, and the classifier's accuracy."""
    # The records of every row repeat the predictions, so any row serves.
    records = next(iter(rows.values())).values()
    right = [record["label"] == record["predicted"] for record in records]
    recordings = len(set(sampling.recordings_of(clips)))
    facts = {"clips": len(clips), "recordings": recordings, "accuracy": float(np.mean(right))}
    annotated = [record["annotated"] for record in records if "annotated" in record]
    return facts | ({"annotated": sum(annotated)} if annotated else {})


def _all_curves(
    kind: str,
    records: Mapping[str, Mapping[str, Mapping[str, Any]]],
    clips: Mapping[str, Sequence[str]],
    sampling: Sampling,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the mean ``curves`` or ``road`` by condition, method and side; only the first condition has any."""
    curves = {name: _curves(kind, records[name], clips[name], sampling) for name in list(records)[:1]}
    return {name: methods for name, methods in curves.items() if methods}


def _curves(
    kind: str, rows: Mapping[str, Mapping[str, Any]], clips: Sequence[str], sampling: Sampling
) -> dict[str, dict[str, Any]]:
    curves: dict[str, dict[str, Any]] = {}
    for row, records in rows.items():
        for side in ("insertion", "deletion") if kind == "curves" else SIDES:
            points = [records.get(clip, {}).get(kind, {}).get(side) for clip in clips]
            defined = [values for values in points if values is not None]
            if not defined:
                continue
            # A clip without a curve is a row of NaN, so that the samples draw the same clips for all methods.
            undefined = [np.nan] * len(defined[0])
            values = np.array([undefined if curve is None else curve for curve in points], dtype=float)
            # The same samples as in the table: curves and means rest on the same draws of clips.
            estimates = sampling.estimates(clips, values)
            parts = ("mean", "low", "high")
            curves.setdefault(row, {})[side] = {
                part: [getattr(point, part) for point in estimates] for part in parts
            }
    return curves


def _sanity(records: Mapping[str, Any], sampling: Sampling) -> dict[str, Any]:
    """Return mean similarities by name and layer, and the verdict."""
    clips = [record["layers"] for record in records.values()]
    estimates: dict[str, dict[str, Estimate]] = {}
    for name in ("rank_correlation", "ssim"):
        estimates[name] = {}
        for layer in clips[0]:
            values = np.array([[layers[layer][name]] for layers in clips], dtype=float)
            estimates[name][layer] = sampling.estimates(list(records), values)[0]
    means = {
        name: {layer: cell.to_dict() for layer, cell in by_layer.items()} for name, by_layer in estimates.items()
    }
    return {**means, "verdict": verdict(estimates["rank_correlation"])}


def _seconds(records: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """Return the times per clip of each method."""
    times: dict[str, list[float]] = {}
    for rows in records.values():
        for row, by_clip in rows.items():
            times.setdefault(row, []).extend(
                record["seconds"] for record in by_clip.values() if "seconds" in record
            )
    # There are no intervals: the clips of a batch share one time, so they are not independent.
    return {
        row: {"mean": float(np.mean(values)), "median": float(np.median(values)), "n": len(values)}
        for row, values in times.items()
        if values
    }


def _undefined(records: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, int]:
    """Return the number of clips, if any, on which a method has no scores because its map or mask holds NaN."""
    counts: dict[str, int] = {}
    for rows in records.values():
        for row, by_clip in rows.items():
            if row == ANNOTATED:
                continue  # clips without an annotation have no such mask
            # Records have None for NaN. The probability of the evidence is a number whenever the mask is.
            undefined = sum(
                any(domains["mask"].get("p_evidence", 0.0) is None for domains in record["scores"].values())
                for record in by_clip.values()
            )
            counts[row] = counts.get(row, 0) + undefined
    return {row: count for row, count in counts.items() if count}


def _nested(table: Table) -> dict[str, Any]:
    """Return the estimates by condition, mask, domain, row and score, as JSON objects."""
    result: dict[str, Any] = {}
    for block, scores in table.estimates.items():
        place = result.setdefault(block.condition, {}).setdefault(block.mask, {}).setdefault(block.domain, {})
        for score, rows in scores.items():
            for row, cell in rows.items():
                place.setdefault(row, {})[score] = cell.to_dict()
    return result


def _leaders(table: Table) -> dict[str, Any]:
    """Return the best row of each score, and the rows that are not significantly different from it."""
    result: dict[str, Any] = {}
    for block, scores in table.pairs.items():
        place = result.setdefault(block.condition, {}).setdefault(block.mask, {}).setdefault(block.domain, {})
        for score in scores:
            best, alike = table.leaders(block, score)
            place[score] = {"best": best, "not_told_from_it": sorted(alike)}
    return result
