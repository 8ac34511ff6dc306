"""Which methods lead on known use: the best of each score, and those that are level with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from otoscope.evaluation.known_use.scores import RANKED
from otoscope.evaluation.statistics import Values, estimate, resampling_by

POOLED = "all explanations"
"""Name of the comparison over the explanations of all groups."""


def leaders(
    rows: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], bootstrap: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Return the best method of each score, by group and over all explanations, and those that are level with it.

    A method is level with the best one if the interval of the mean difference, over the explanations that both
    have, includes 0. Clips of one recording are drawn together. The truth takes no part.

    Args:
        rows: Records by group and method.
        bootstrap: Number of bootstrap samples.
        seed: Seed of the draws.

    Returns:
        By group and score: ``best``, and the names ``not_told_from_it``.
    """
    pooled: dict[str, list[Mapping[str, Any]]] = {}
    for group, by_method in rows.items():
        for method, lines in by_method.items():
            pooled.setdefault(method, []).extend({**line, "clip": f"{group}: {line['clip']}"} for line in lines)
    return {
        group: {score: _leaders_of(by_method, score, bootstrap, seed) for score in RANKED}
        for group, by_method in {**rows, POOLED: pooled}.items()
    }


def _leaders_of(
    by_method: Mapping[str, Sequence[Mapping[str, Any]]], score: str, bootstrap: int, seed: int
) -> dict[str, Any]:
    """Return the leaders of one score in one group; ``best`` is None where no method has the score."""
    recording_of = {line["clip"]: str(line["recording"]) for lines in by_method.values() for line in lines}
    clips = list(recording_of)
    recordings = list(recording_of.values())
    values = {
        method: _values(lines, clips, score) for method, lines in by_method.items() if method != "truth" and lines
    }
    means = {method: float(np.nanmean(of)) for method, of in values.items() if np.isfinite(of).any()}
    if not means:
        return {"best": None, "not_told_from_it": []}
    best = max(means, key=lambda method: means[method])
    others = [method for method in means if method != best]
    differences = np.stack([values[best] - values[other] for other in [best, *others]], axis=1)
    estimates = estimate(differences, resampling_by(recordings, bootstrap, seed), recordings=recordings)[1:]
    alike = [other for other, difference in zip(others, estimates, strict=True) if not difference.excludes_zero]
    return {"best": best, "not_told_from_it": sorted(alike)}


def _values(lines: Sequence[Mapping[str, Any]], clips: Sequence[str], score: str) -> Values:
    """Return the scores of a method in the order of the clips; NaN where it has none."""
    of_clip = {line["clip"]: line["scores"].get(score) for line in lines}
    return np.array([np.nan if of_clip.get(clip) is None else of_clip[clip] for clip in clips], dtype=np.float64)
