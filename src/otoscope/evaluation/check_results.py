"""Results of the checks of randomised weights and of stability: means, intervals, verdicts, and their text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from otoscope.evaluation.checks import RANDOMISATION, STABILITY
from otoscope.evaluation.randomisation import TwoWayMean, two_way_mean
from otoscope.evaluation.sanity import SIMILAR
from otoscope.evaluation.stability import CHANGES
from otoscope.evaluation.statistics import Estimate, Sampling, Values

HALFWAY = {"rank_correlation": SIMILAR, "overlap": 0.6}
"""Similarity halfway between unrelated maps (0 and, of the best fifth, 0.2) and equal ones (1): a convention."""

Interval = TwoWayMean | Estimate


def randomisation_results(checked: Mapping[str, Mapping[str, Any]], sampling: Sampling) -> dict[str, Any]:
    """Return the results of the check with shuffled weights by method.

    Args:
        checked: Records by method and clip.
        sampling: Recordings of the clips; the values of clips of one recording are averaged.

    Returns:
        For each method the mean over clips and shuffles of each score with its interval and both variances, as in
        `TwoWayMean`; ``verdict`` of rank correlation and overlap, ``eMPRT_verdict``, and ``sMPRT_verdict`` if there
        were noisy copies.
    """
    results: dict[str, Any] = {}
    for method, records in checked.items():
        if not records:
            continue
        recordings = sampling.recordings_of(list(records))
        means = {
            score: two_way_mean(_by_recording(records, recordings, score))
            for score in next(iter(records.values()))["values"]
        }
        results[method] = {score: asdict(mean) for score, mean in means.items()}
        results[method]["verdict"] = changes_verdict({name: means[name] for name in HALFWAY})
        results[method]["eMPRT_verdict"] = rise_verdict(means["eMPRT"])
        if "sMPRT" in means:
            results[method]["sMPRT_verdict"] = changes_verdict({"rank_correlation": means["sMPRT"]})
    return results


def stability_results(checked: Mapping[str, Mapping[str, Any]], sampling: Sampling) -> dict[str, Any]:
    """Return the results of the stability check by method.

    Args:
        checked: Records by method and clip.
        sampling: Draws of the bootstrap.

    Returns:
        For each method and change the means of rank correlation, overlap, and the share of clips whose predicted
        class stays; and the ``verdict``.
    """
    results: dict[str, Any] = {}
    for method, records in checked.items():
        if not records:
            continue
        estimates: dict[str, dict[str, Estimate]] = {}
        for change in CHANGES:
            rows = [record["values"][change] for record in records.values()]
            values = np.array([[_number(row[name]) for name in rows[0]] for row in rows])
            estimates[change] = dict(zip(rows[0], sampling.estimates(list(records), values), strict=True))
        results[method] = {
            change: {name: cell.to_dict() for name, cell in by_name.items()}
            for change, by_name in estimates.items()
        }
        results[method]["verdict"] = stays_verdict(list(estimates.values()))
    return results


def changes_verdict(similarities: Mapping[str, Interval]) -> str:
    """Return whether a map changes with the classifier: every similarity must lie below `HALFWAY`.

    Example:
        >>> correlation, overlap = Estimate(0.1, 0.0, 0.2, 8), Estimate(0.7, 0.62, 0.8, 8)
        >>> changes_verdict({"rank_correlation": correlation, "overlap": overlap})
        'fails'
    """
    return _verdict(
        [(HALFWAY[name] - cell.high, HALFWAY[name] - cell.low, cell.clips) for name, cell in similarities.items()]
    )


def stays_verdict(similarities: Sequence[Mapping[str, Interval]]) -> str:
    """Return whether a map stays under every inaudible change: every similarity must lie above `HALFWAY`."""
    cells = [(by_name[name], limit) for by_name in similarities for name, limit in HALFWAY.items()]
    return _verdict([(cell.low - limit, cell.high - limit, cell.clips) for cell, limit in cells])


def rise_verdict(rise: Interval) -> str:
    """Return whether the complexity of a map rises with randomised weights, as eMPRT expects."""
    return _verdict([(rise.low, rise.high, rise.clips)])


def _verdict(margins: Sequence[tuple[float, float, int]]) -> str:
    """Return the verdict from the interval and the number of clips of each margin, which must be positive."""
    # The whole interval must lie on one side: a mean near the limit would pass or fail by the choice of clips.
    if any(not clips or not np.isfinite([low, high]).all() for low, high, clips in margins):
        return "undefined"
    if any(high <= 0 for _, high, _ in margins):
        return "fails"
    return "passes" if all(low > 0 for low, _, _ in margins) else "unclear"


def _by_recording(records: Mapping[str, Any], recordings: Sequence[str], score: str) -> Values:
    """Return the values of a score by shuffle and recording, shape (shuffles, recordings)."""
    by_recording: dict[str, list[list[float]]] = {}
    for recording, record in zip(recordings, records.values(), strict=True):
        by_recording.setdefault(recording, []).append([_number(value) for value in record["values"][score]])
    return np.stack([np.mean(rows, axis=0) for rows in by_recording.values()], axis=1)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def format_checks(results: Mapping[str, Any]) -> list[str]:
    """Return a block of text for each check that was made."""
    blocks = []
    if results[RANDOMISATION]:
        blocks.append(_format_randomisation(results[RANDOMISATION]))
    if results[STABILITY]:
        blocks.append(_format_stability(results[STABILITY]))
    return blocks


def _format_randomisation(results: Mapping[str, Any]) -> str:
    width = max(8, *map(len, results))
    shuffles = max(of_method["overlap"]["shuffles"] for of_method in results.values())
    recordings = max(of_method["overlap"]["clips"] for of_method in results.values())
    columns = ("rank corr.", "var. clips", "var. shuffles", "best fifth", "", "sMPRT", "", "eMPRT", "")
    lines = [
        f"randomisation check: similarity to the map of the classifier with all weights shuffled, "
        f"{shuffles} shuffles, {recordings} recordings",
        " " * width + "".join(f"{column:>14}" for column in columns).rstrip(),
    ]
    for name, of_method in results.items():
        correlation, smooth = of_method["rank_correlation"], of_method.get("sMPRT")
        cells = (
            _cell(correlation),
            f"{correlation['clip_variance']:.3f}",
            f"{correlation['shuffle_variance']:.3f}",
            _cell(of_method["overlap"]),
            of_method["verdict"],
            "-" if smooth is None else _cell(smooth),
            of_method.get("sMPRT_verdict", "-"),
            _cell(of_method["eMPRT"]),
            of_method["eMPRT_verdict"],
        )
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>14}" for cell in cells).rstrip())
    limit, of_overlap = HALFWAY["rank_correlation"], HALFWAY["overlap"]
    lines += [
        f"passes: the 95 % interval of the rank correlation lies below {limit}, and that of the overlap of the "
        f"best fifth (by chance 0.20) below {of_overlap}; fails: one lies above",
        f"sMPRT: rank correlation of maps averaged over noisy copies, below {limit}; eMPRT: relative rise of the "
        "map's complexity, above 0; intervals are for new clips and new shuffles",
    ]
    return "\n".join(lines)


def _format_stability(results: Mapping[str, Any]) -> str:
    width = max(8, *map(len, results))
    count = next(iter(results.values()))[CHANGES[0]]["overlap"]["n"]
    head = "".join(f"{f'{change}, {part}':>18}" for change in CHANGES for part in ("rank corr.", "best fifth"))
    lines = [
        "stability check: similarity to the map of the sound with noise at -50 dB, 1 ms later, 1 dB lower; "
        f"{count} clips",
        " " * width + head + f"{'decisions':>12}",
    ]
    for name, of_method in results.items():
        cells = "".join(
            f"{_cell(of_method[change][score]):>18}"
            for change in CHANGES
            for score in ("rank_correlation", "overlap")
        )
        # The lowest share of clips whose predicted class stays; where it changes, so may the right explanation.
        stay = min(of_method[change]["same_decision"]["mean"] for change in CHANGES)
        lines.append(f"{name:<{width}}{cells}{f'{100 * stay:.0f} % stay':>12}  {of_method['verdict']}")
    lines.append(
        f"passes: the 95 % interval of every rank correlation lies above {HALFWAY['rank_correlation']}, and that "
        f"of every overlap of the best fifth above {HALFWAY['overlap']}; fails: one lies below"
    )
    return "\n".join(lines)


def _cell(interval: Mapping[str, Any]) -> str:
    mean, low, high = (_number(interval[name]) for name in ("mean", "low", "high"))
    return "-" if np.isnan(mean) else f"{mean:.2f}±{(high - low) / 2:.2f}"
