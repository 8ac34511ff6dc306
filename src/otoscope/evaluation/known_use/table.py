"""Means and intervals of known-use scores, by listener or cue and by method, and how the methods rank."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from otoscope.evaluation.known_use.leaders import POOLED, leaders
from otoscope.evaluation.known_use.scores import BASELINES, RANKED, SCORES
from otoscope.evaluation.proportions import estimate_proportion
from otoscope.evaluation.statistics import Values, estimate, resampling_by

Rows = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]
"""Records by group and method."""

_COLUMNS = (*SCORES, "seconds")
_EXACT = "pointing"
ALL = "all"
"""Name of the mean over groups."""


def summarise(rows: Rows, bootstrap: int, seed: int, thin: Collection[str] = ()) -> dict[str, Any]:
    """Return means with intervals, mean ranks, and the leaders of each score, as JSON values.

    Intervals are over recordings; two questions about one clip, and clips of one recording, are drawn together. The
    interval of ``pointing``, a proportion, is exact; see `estimate_proportion`. The mean over groups gives each
    group the same weight and has no interval.

    Args:
        rows: Records by group and method.
        bootstrap: Number of bootstrap samples.
        seed: Seed of the draws.
        thin: Groups with too few clips, which count neither in the means over groups nor in ranks and leaders.
    """
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    for group, by_method in rows.items():
        scores[group] = {method: _estimates(lines, bootstrap, seed) for method, lines in by_method.items()}
    counted = {group: by_method for group, by_method in scores.items() if group not in thin}
    methods = list(dict.fromkeys(method for by_method in counted.values() for method in by_method))
    means = {method: {column: _mean(counted, method, column) for column in _COLUMNS} for method in methods}
    return {
        "scores": scores,
        "means": means,
        "mean_rank": mean_ranks(counted, methods),
        "leaders": leaders({group: rows[group] for group in counted}, bootstrap, seed),
        "thin": sorted(thin),
    }


def mean_ranks(scores: Mapping[str, Any], methods: Sequence[str]) -> dict[str, float]:
    """Return the mean rank of each method over groups and scores; 1 is the best, equal scores share their ranks.

    The truth takes no part. A method without a score has the last rank.
    """
    from scipy.stats import rankdata  # only evaluations need it

    compared = [method for method in methods if method != "truth"]
    ranks = []
    for by_method in scores.values():
        for column in RANKED:
            values = [by_method.get(method, {}).get(column, {}).get("mean", np.nan) for method in compared]
            if np.isfinite(values).any():
                ranks.append(rankdata(-np.nan_to_num(np.array(values, dtype=float), nan=-np.inf)))
    mean = np.mean(ranks, axis=0) if ranks else np.full(len(compared), np.nan)
    return dict(sorted(zip(compared, map(float, mean), strict=True), key=lambda pair: pair[1]))


def _estimates(lines: Sequence[Mapping[str, Any]], bootstrap: int, seed: int) -> dict[str, Any]:
    """Return the estimate of each column as JSON values."""
    values: Values = np.array(
        [[_number(line["scores"].get(column)) for column in _COLUMNS] for line in lines], dtype=np.float64
    )
    recordings = [str(line["recording"]) for line in lines]
    estimates = estimate(values, resampling_by(recordings, bootstrap, seed), recordings=recordings)
    results = {}
    for position, (column, of_column) in enumerate(zip(_COLUMNS, estimates, strict=True)):
        if column == _EXACT:
            of_column = estimate_proportion(values[:, position], of_column, 1.0, recordings)
        results[column] = of_column.to_dict()
    return results


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _mean(scores: Mapping[str, Any], method: str, column: str) -> float:
    means = [by_method[method][column]["mean"] for by_method in scores.values() if method in by_method]
    defined = [mean for mean in means if np.isfinite(mean)]
    return float(np.mean(defined)) if defined else float("nan")


def format_known_use(results: Mapping[str, Any]) -> str:
    """Return the results as text: reliance on planted cues, a block for each group, and the means with ranks."""
    blocks = []
    if results["reliance"]:
        blocks.append("\n".join(["reliance on planted cues, by intervention", *_reliance(results["reliance"])]))
    for group, by_method in results["scores"].items():
        count = max(of_method["rank"]["n"] for of_method in by_method.values())
        blocks.append(_block(f"{group} ({count} explanations)", by_method))
    if results["means"]:
        blocks += [_means(results), _leading(results["leaders"][POOLED])]
    else:
        blocks.append(
            "too few clips count: the classifier hardly relies on a cue; train it longer or on louder cues"
        )
    for group, reasons in results["skipped"].items():
        blocks += [f"skipped on {group}: {name}: {reason}" for name, reason in reasons.items()]
    return "\n\n".join(blocks)


def _reliance(reliance: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: added to {counts['tested']} clips of other classes, {counts['flipped']} flipped (these count); "
        f"removed from {counts['own_tested']} of its class, {counts['own_lost']} lost"
        for name, counts in reliance.items()
    ]


def _block(title: str, by_method: Mapping[str, Any]) -> str:
    width = max(len(name) for name in by_method)
    lines = [title, " " * width + "".join(f"{column:>12}" for column in SCORES)]
    for name, estimates in by_method.items():
        cells = "".join(f"{_cell(estimates[column]):>12}" for column in SCORES)
        lines.append(f"{name:<{width}}{cells}")
    return "\n".join(lines)


def _cell(estimate: Mapping[str, Any]) -> str:
    if not estimate["n"]:
        return "-"
    digits = 1 if abs(estimate["mean"]) >= 10 else 2
    half = (estimate["high"] - estimate["low"]) / 2
    return f"{estimate['mean']:.{digits}f}±{half:.{digits}f}"


def _means(results: Mapping[str, Any]) -> str:
    columns = [*SCORES, "seconds"]
    width = max(len(name) for name in results["means"])
    groups = len(set(results["scores"]) - set(results["thin"]))
    lines = [
        f"mean over {groups} groups, and mean rank over {', '.join(RANKED)}",
        " " * width + "".join(f"{column:>9}" for column in [*columns, "rank no."]),
    ]
    order = [*results["mean_rank"], *(name for name in BASELINES if name not in results["mean_rank"])]
    for name in order:
        if name not in results["means"]:
            continue
        cells = "".join(f"{_plain(results['means'][name][column]):>9}" for column in columns)
        lines.append(f"{name:<{width}}{cells}{_plain(results['mean_rank'].get(name, float('nan'))):>9}")
    return "\n".join(lines)


def _leading(leaders_of: Mapping[str, Any]) -> str:
    """Return as text the best method of each score and those that paired differences do not distinguish from it."""
    lines = ["first over all explanations, and level with it by the paired bootstrap"]
    for score, leader in leaders_of.items():
        if leader["best"] is not None:
            lines.append(f"{score}: {', '.join([leader['best'], *leader['not_told_from_it']])}")
    return "\n".join(lines)


def _plain(value: float) -> str:
    return "-" if value != value else f"{value:.2f}"
