"""Where each method stands in the comparisons: first, level with the first, or behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from otoscope.evaluation.known_use.leaders import POOLED
from otoscope.metrics import SCORES

FAITHFUL = ("AI", "AD", "AG", "FF", "Fid-In", "IoU")
"""Scores of the masks of equal area that are compared."""
KNOWN_USE = ("rank", "AUROC", "pointing", "swap")
BY_GROUP = ("rank", "AUROC", "pointing")
"""Scores that are shown for each listener and cue, with intervals."""
_NAMES = {
    "conv2d": "Conv2d",
    "cnn14": "CNN14",
    "vit": "ViT",
    "focalnet": "FocalNet",
    "waveform": "Network on waveforms",
    "esc10": "ESC-10",
    "synthetic": "synthetic scenes",
    "planted": "planted cues",
    "designed": "Designed listeners",
}
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
        if "mean_rank" in result:
            continue  # known use, whose leaders are those of listeners and cues
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


def markdown(summary: Mapping[str, Any], seconds: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Return the tables as Markdown.

    Args:
        summary: Results by place, and where each method stands.
        seconds: Times per clip by classifier and method, as `benchmarks.trust.seconds` measures them.
    """
    results = summary["results"]
    faithful = {place: result for place, result in results.items() if "mean_rank" not in result}
    used = {place: result for place, result in results.items() if "mean_rank" in result}
    parts = []
    if faithful:
        parts.append("## Faithfulness")
        for domain in ("heard", "mask"):
            if summary["standing"][domain]:
                parts.append(_standing(domain, summary["standing"][domain]))
        parts += [_faithful(place, result) for place, result in faithful.items()]
    if used:
        parts.append("## Known use")
        parts += [_known_use(place, result) for place, result in used.items()]
    if checked := {place: result for place, result in faithful.items() if result.get("randomisation")}:
        parts.append("## Shuffled weights and inaudible changes")
        parts += [_checked(place, result) for place, result in checked.items()]
    if seconds:
        parts += ["## Seconds per clip", _seconds(seconds)]
    return "\n\n".join(parts)


def _standing(domain: str, entries: Mapping[str, Any]) -> str:
    seen = "heard sound" if domain == "heard" else "masked spectrogram"
    rows = []
    order = sorted(entries, key=lambda name: (len(entries[name]["behind"]), -entries[name]["first"]))
    for name in order:
        entry = entries[name]
        rows.append([name, f"{entry['first']}", f"{entry['level']}", f"{len(entry['behind'])}"])
    title = f"First or level with the first, {seen}, all areas and scores"
    return _table(title, ["first", "level", "behind"], rows)


def _faithful(place: str, result: Mapping[str, Any]) -> str:
    (condition, masks), *_ = result["scores"].items()
    parts = []
    for area in (mask for mask in masks if mask[0] == "0"):
        rows = masks[area]["heard"]
        columns = [name for name in FAITHFUL if any(name in row for row in rows.values())]
        clips = result["conditions"][condition]["clips"]
        cells = [[name, *(_value(score, row.get(score)) for score in columns)] for name, row in rows.items()]
        parts.append(_table(f"{_title(place)}, heard, area {area}, {clips} clips", columns, cells))
    return "\n\n".join(parts)


def _known_use(place: str, result: Mapping[str, Any]) -> str:
    """Return the means over listeners or cues, and a table of each score of `BY_GROUP` by listener or cue."""
    methods = [name for name in (*result["mean_rank"], "truth") if name in result["means"]]
    rows = []
    for name in methods:
        values = [_number(result["means"][name][column], 2) for column in (*KNOWN_USE, "SI-SDR")]
        rows.append([name, *values, _number(result["mean_rank"].get(name), 2)])
    parts = [_table(f"{_title(place)}, mean over groups", [*KNOWN_USE, "SI-SDR", "mean rank"], rows)]
    if "leaders" in result:
        parts.append(_first(place, result["leaders"]))
    groups = {name: scores for name, scores in result["scores"].items() if name not in result["thin"]}
    for score in BY_GROUP:
        rows = [[name, *(_interval(of[name][score]) for of in groups.values())] for name in methods]
        headings = [f"{name} ({of[methods[0]][score]['n']})" for name, of in groups.items()]
        parts.append(_table(f"{_title(place)}, {score} (number of explanations)", headings, rows))
    return "\n\n".join(parts)


def _first(place: str, leaders: Mapping[str, Any]) -> str:
    """Return the scores in which each method is first or level with the first, over the explanations of all groups.

    Of a single cue there are so few clips that hardly any difference is significant; only the first are counted.
    """
    groups = [of for group, of in leaders.items() if group != POOLED]
    firsts = [leader["best"] for of in groups for leader in of.values() if leader["best"]]
    pooled = {score: of for score, of in leaders[POOLED].items() if of["best"]}
    names = dict.fromkeys([*firsts, *(name for of in pooled.values() for name in _together(of))])
    together = {name: [score for score, of in pooled.items() if name in _together(of)] for name in names}
    order = sorted(names, key=lambda name: (-len(together[name]), -firsts.count(name)))
    rows = [[name, ", ".join(together[name]), f"{firsts.count(name)}"] for name in order]
    columns = ["first or level over all explanations", f"first of {len(firsts)} by score and listener or cue"]
    return _table(f"{_title(place)}, first or level with the first", columns, rows)


def _together(leader: Mapping[str, Any]) -> list[str]:
    return [leader["best"], *leader["not_told_from_it"]]


def _checked(place: str, result: Mapping[str, Any]) -> str:
    """Return the similarity of maps with those of shuffled classifiers and of changed sounds, and the verdicts."""
    rows = []
    for name, shuffled in result["randomisation"].items():
        layers = result["sanity"].get(name, {}).get("rank_correlation", {})
        stable = result["stability"].get(name, {})
        whole = list(layers.values())[-1]["mean"] if layers else None
        correlations = [of["rank_correlation"]["mean"] for key, of in stable.items() if key != "verdict"]
        rows.append(
            [
                name,
                _verdict(whole, result["sanity"].get(name, {}).get("verdict")),
                _verdict(shuffled["rank_correlation"]["mean"], shuffled["verdict"]),
                _number(shuffled["overlap"]["mean"], 2),
                _verdict(shuffled["eMPRT"]["mean"], shuffled["eMPRT_verdict"]),
                _verdict(min(correlations, default=None), stable.get("verdict")),
            ]
        )
    columns = ["cascade, whole network", "five shuffles", "overlap of the best fifth", "eMPRT", "inaudible changes"]
    clips = next(iter(result["randomisation"].values()))["rank_correlation"]["clips"]
    return _table(f"{_title(place)}, {clips} recordings", columns, rows)


def _seconds(seconds: Mapping[str, Mapping[str, Any]]) -> str:
    names = dict.fromkeys(name for of_classifier in seconds.values() for name in of_classifier)
    order = sorted(names, key=lambda name: min(of[name]["seconds"] for of in seconds.values() if name in of))
    rows = [
        [name, *(_number(of[name]["seconds"], 2) if name in of else "" for of in seconds.values())]
        for name in order
    ]
    return _table("Narrow classifiers", [_NAMES[classifier] for classifier in seconds], rows)


def _title(place: str) -> str:
    """Return the title of a place: ``conv2d:esc10`` is Conv2d, ESC-10."""
    return ", ".join(_NAMES.get(part, part) for part in place.split(":") if part != "listener")


def _verdict(value: float | None, verdict: str | None) -> str:
    # the cascade's verdict has its reason behind a colon
    return f"{_number(value, 2)} {verdict.partition(':')[0]}" if verdict else ""


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"### {title}", "", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
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
