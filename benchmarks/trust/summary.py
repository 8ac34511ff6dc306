"""Where each method stands in the comparisons: first, level with the first, or behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from otoscope.metrics import SCORES

FAITHFUL = ("AI", "AD", "AG", "FF", "Fid-In", "IoU")
"""Scores of the masks of equal area that are compared."""
KNOWN_USE = ("rank", "AUROC", "pointing", "swap")
BY_GROUP = ("rank", "AUROC", "pointing")
"""Scores that are shown for each listener and cue, with intervals."""
_CONTROLS = ("all-pass", "random", "loudest", "ideal", "truth")


class Cell(NamedTuple):
    """A comparison of all methods by one score.

    Attributes:
        place: Classifier and kind of data.
        area: Area of the masks, as text.
        score: Name of the score.
        best: Method with the best mean.
        level: Methods whose difference from it is not significant, by the paired bootstrap.
    """

    place: str
    area: str
    score: str
    best: str
    level: frozenset[str]


def cells(results: Mapping[str, Any], domain: str) -> Iterator[Cell]:
    """Yield the comparisons of an evaluation's scores in one domain, ``mask`` or ``heard``."""
    for place, result in results.items():
        for areas in result.get("leaders", {}).values():
            for area, domains in areas.items():
                for score, leader in domains.get(domain, {}).items():
                    if area[0] == "0" and score in FAITHFUL and leader["best"]:
                        level = frozenset(leader["not_told_from_it"])
                        yield Cell(place, area, score, leader["best"], level)


def standing(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return for each method how often it is first or level, and where it is behind, in both domains.

    Args:
        results: Results by classifier and kind of data.
    """
    counts: dict[str, Any] = {}
    for domain in ("heard", "mask"):
        of_domain: dict[str, Any] = {}
        for cell in cells(results, domain):
            for method in _methods(results[cell.place]):
                entry = of_domain.setdefault(method, {"first": 0, "level": 0, "behind": []})
                if method == cell.best:
                    entry["first"] += 1
                elif method in cell.level:
                    entry["level"] += 1
                else:
                    entry["behind"].append(f"{cell.place}, {cell.score} at {cell.area}: {cell.best}")
        counts[domain] = of_domain
    ranks = {place: result["mean_rank"] for place, result in results.items() if "mean_rank" in result}
    return {**counts, "known_use_mean_rank": ranks}


def markdown(summary: Mapping[str, Any]) -> str:
    """Return the tables as Markdown."""
    parts = []
    for place, result in summary["results"].items():
        parts.append(_known_use(place, result) if "mean_rank" in result else _faithful(place, result))
    for domain in ("heard", "mask"):
        if summary["standing"][domain]:
            parts.append(_standing(domain, summary["standing"][domain]))
    return "\n\n".join(parts)


def _standing(domain: str, entries: Mapping[str, Any]) -> str:
    seen = "heard sound" if domain == "heard" else "masked spectrogram"
    lines = [f"First or level with the first, {seen}, all areas and scores", "", "| | first | level | behind |"]
    lines.append("|---|---|---|---|")
    order = sorted(entries, key=lambda name: (len(entries[name]["behind"]), -entries[name]["first"]))
    for name in order:
        entry = entries[name]
        lines.append(f"| {name} | {entry['first']} | {entry['level']} | {len(entry['behind'])} |")
    return "\n".join(lines)


def _faithful(place: str, result: Mapping[str, Any]) -> str:
    (condition, masks), *_ = result["scores"].items()
    lines = []
    for area in (mask for mask in masks if mask[0] == "0"):
        rows = masks[area]["heard"]
        columns = [name for name in FAITHFUL if any(name in row for row in rows.values())]
        clips = result["conditions"][condition]["clips"]
        lines += [f"{place}, heard, area {area}, {clips} clips", "", "| | " + " | ".join(columns) + " | seconds |"]
        lines.append("|---" * (len(columns) + 2) + "|")
        for name, row in rows.items():
            seconds = result["seconds_per_clip"].get(name, {}).get("median")
            values = [_value(score, row.get(score)) for score in columns]
            lines.append(
                f"| {name} | " + " | ".join(values) + f" | {'' if seconds is None else f'{seconds:.2f}'} |"
            )
        lines.append("")
    return "\n".join(lines).rstrip()


def _known_use(place: str, result: Mapping[str, Any]) -> str:
    """Return the means over listeners or cues, and a table of each score of `BY_GROUP` by listener or cue."""
    methods = [name for name in (*result["mean_rank"], "truth") if name in result["means"]]
    rows = []
    for name in methods:
        values = [_number(result["means"][name][column], 2) for column in (*KNOWN_USE, "SI-SDR", "seconds")]
        rows.append([name, *values, _number(result["mean_rank"].get(name), 2)])
    parts = [_table(f"{place}, mean over groups", [*KNOWN_USE, "SI-SDR", "seconds", "mean rank"], rows)]
    groups = {name: scores for name, scores in result["scores"].items() if name not in result["thin"]}
    for score in BY_GROUP:
        rows = [[name, *(_interval(of[name][score]) for of in groups.values())] for name in methods]
        headings = [f"{name} ({of[methods[0]][score]['n']})" for name, of in groups.items()]
        parts.append(_table(f"{place}, {score} (number of explanations)", headings, rows))
    return "\n\n".join(parts)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [title, "", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _methods(result: Mapping[str, Any]) -> list[str]:
    return [name for name in result["seconds_per_clip"] if name not in _CONTROLS]


def _value(score: str, cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    half = (cell["high"] - cell["low"]) / 2
    digits = 0 if SCORES[score].unit == "%" else 2
    return f"{cell['mean']:.{digits}f} ± {half:.{digits}f}"


def _interval(estimate: Mapping[str, Any]) -> str:
    if not estimate["n"]:
        return ""
    return f"{estimate['mean']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or value != value else f"{value:.{digits}f}"
