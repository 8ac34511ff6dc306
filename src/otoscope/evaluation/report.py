"""What an evaluation writes and prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from otoscope.evaluation.mask_scores import curve_areas
from otoscope.evaluation.picture import draw_curves, draw_table
from otoscope.evaluation.sanity import verdict
from otoscope.evaluation.statistics import Estimate, estimate, resampling
from otoscope.evaluation.table import Table, make_table, pairs_csv, table_csv
from otoscope.evaluation.text import format_results, format_sanity, format_seconds
from otoscope.files.atomic import replace_text
from otoscope.files.json import write_json


@dataclass(frozen=True)
class Report:
    """The results of an evaluation.

    Attributes:
        results: What ``results.json`` holds.
        table: Means, intervals and comparisons.
        text: What the terminal shows and ``table.txt`` holds.
        folder: Where it was written.
    """

    results: dict[str, Any]
    table: Table
    text: str
    folder: Path


def make_report(
    folder: Path,
    records: Mapping[str, Mapping[str, Mapping[str, Any]]],
    clips: Mapping[str, Sequence[str]],
    sanity: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
    skipped: Mapping[str, Mapping[str, str]],
    about: Mapping[str, Any],
) -> Report:
    """Averages records, and writes tables and pictures.

    Args:
        folder: Where they go.
        records: By condition, row and clip.
        clips: Names by condition.
        sanity: Records of the sanity check by method and clip; empty if it was not made.
        settings: Of the run.
        skipped: Reasons by name, of methods and conditions.
        about: What else ``results.json`` says of the run.
    """
    count, seed = int(settings["bootstrap"]), int(settings["seed"])
    table = make_table(records, clips, count, seed)
    drawn = list(records)[:1] if settings["curves"] else []
    curves = {name: _curves(records[name], clips[name], count, seed) for name in drawn}
    curves = {name: methods for name, methods in curves.items() if methods}
    checked = {name: _sanity(found, count, seed) for name, found in sanity.items() if found}
    results = {
        **about,
        "settings": dict(settings),
        "conditions": {name: _condition(rows, clips[name]) for name, rows in records.items()},
        "skipped": {kind: dict(reasons) for kind, reasons in skipped.items()},
        "scores": _nested(table),
        "leaders": _leaders(table),
        "curves": {"areas": curve_areas(), **curves},
        "sanity": checked,
        "seconds_per_clip": _seconds(records),
        "undefined": _undefined(records),
    }
    text = _text(table, results)
    write_json(folder / "results.json", results)
    replace_text(folder / "table.csv", table_csv(table))
    replace_text(folder / "pairs.csv", pairs_csv(table))
    replace_text(folder / "table.txt", text + "\n")
    areas = settings["areas"]
    draw_table(table, areas[len(areas) // 2], folder / "table.png")
    if curves:
        draw_curves(curves, curve_areas(), folder / "curves.png")
    return Report(results, table, text, folder)


def _text(table: Table, results: Mapping[str, Any]) -> str:
    parts = [format_results(table)]
    if results["sanity"]:
        parts.append(format_sanity(results["sanity"]))
    if results["seconds_per_clip"]:
        parts.append(format_seconds(results["seconds_per_clip"]))
    parts.append(
        "\n".join(
            f"{name}: {one['clips']} clips, the classifier is right on {100 * one['accuracy']:.1f} %"
            for name, one in results["conditions"].items()
        )
    )
    for kind, reasons in results["skipped"].items():
        parts += [f"skipped {kind[:-1]} {name}: {reason}" for name, reason in reasons.items()]
    parts += [
        f"{name}: its map or mask is not finite on {count} clips, which are left out of its means"
        for name, count in results["undefined"].items()
    ]
    return "\n\n".join(parts)


def _condition(rows: Mapping[str, Mapping[str, Any]], clips: Sequence[str]) -> dict[str, Any]:
    records = next(iter(rows.values())).values()
    right = [record["label"] == record["predicted"] for record in records]
    return {"clips": len(clips), "accuracy": float(np.mean(right))}


def _curves(
    rows: Mapping[str, Mapping[str, Any]], clips: Sequence[str], count: int, seed: int
) -> dict[str, dict[str, Any]]:
    weights = resampling(len(clips), count, seed)
    found: dict[str, dict[str, Any]] = {}
    for row, records in rows.items():
        for side in ("insertion", "deletion"):
            points = [records.get(clip, {}).get("curves", {}).get(side) for clip in clips]
            known = next((one for one in points if one is not None), None)
            if known is None:
                continue
            values = np.array([[np.nan] * len(known) if one is None else one for one in points], dtype=float)
            estimates = estimate(values, weights)
            parts = ("mean", "low", "high")
            found.setdefault(row, {})[side] = {part: [getattr(one, part) for one in estimates] for part in parts}
    return found


def _sanity(records: Mapping[str, Any], count: int, seed: int) -> dict[str, Any]:
    lines = [record["layers"] for record in records.values()]
    weights = resampling(len(lines), count, seed)
    found: dict[str, dict[str, Estimate]] = {}
    for name in ("rank_correlation", "ssim"):
        found[name] = {}
        for layer in lines[0]:
            values = np.array([[line[layer][name]] for line in lines], dtype=float)
            found[name][layer] = estimate(values, weights)[0]
    parts = {name: {layer: one.to_dict() for layer, one in layers.items()} for name, layers in found.items()}
    return {**parts, "verdict": verdict(found["rank_correlation"])}


def _seconds(records: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """Without intervals: the clips of a batch share one time."""
    times: dict[str, list[float]] = {}
    for rows in records.values():
        for row, found in rows.items():
            times.setdefault(row, []).extend(one["seconds"] for one in found.values() if "seconds" in one)
    return {
        row: {"mean": float(np.mean(values)), "median": float(np.median(values)), "n": len(values)}
        for row, values in times.items()
        if values
    }


def _undefined(records: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, int]:
    """How many clips have no number for a method, because its map or its mask holds NaN."""
    counts: dict[str, int] = {}
    for rows in records.values():
        for row, found in rows.items():
            bad = sum(
                any(domains["mask"].get("p_evidence", 0.0) is None for domains in one["scores"].values())
                for one in found.values()
            )
            counts[row] = counts.get(row, 0) + bad
    return {row: count for row, count in counts.items() if count}


def _nested(table: Table) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for block, scores in table.estimates.items():
        place = result.setdefault(block.condition, {}).setdefault(block.mask, {}).setdefault(block.domain, {})
        for score, rows in scores.items():
            for row, one in rows.items():
                place.setdefault(row, {})[score] = one.to_dict()
    return result


def _leaders(table: Table) -> dict[str, Any]:
    """The best row of each score, and those whose difference from it may be chance."""
    result: dict[str, Any] = {}
    for block, scores in table.pairs.items():
        place = result.setdefault(block.condition, {}).setdefault(block.mask, {}).setdefault(block.domain, {})
        for score in scores:
            best, alike = table.leaders(block, score)
            place[score] = {"best": best, "not_told_from_it": sorted(alike)}
    return result
