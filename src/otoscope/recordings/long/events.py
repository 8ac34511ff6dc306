"""Events of a long recording: runs of windows, found with two thresholds, and the windows that are explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from otoscope.audio import WindowPlan


@dataclass(frozen=True)
class Run:
    """Consecutive windows of one label.

    Attributes:
        label: Index of the label.
        first: First window.
        last: Last window.
        peak: Window with the highest probability.
    """

    label: int
    first: int
    last: int
    peak: int


@dataclass(frozen=True)
class Job:
    """Window that is explained.

    Attributes:
        window: Index of the window.
        label: Index of the explained label.
        run: Event whose scores come from this window; None if none do.
    """

    window: int
    label: int
    run: int | None = None


def hysteresis_runs(values: np.ndarray, high: float, low: float) -> list[tuple[int, int]]:
    """Return first and last index of the runs of values that stay at ``low`` and reach ``high``.

    A sound whose probability sways around one threshold would become many events; with two it is one.

    Args:
        values: Values, shape (windows,).
        high: Value that every run reaches.
        low: Value that all of a run reach.

    Example:
        >>> hysteresis_runs(np.array([0.4, 0.6, 0.4, 0.1, 0.4, 0.7, 0.2]), 0.5, 0.3)
        [(0, 2), (4, 5)]
    """
    active = np.concatenate([[False], values >= low, [False]])
    begins, ends = (np.flatnonzero(active[1:] & ~active[:-1]), np.flatnonzero(~active[1:] & active[:-1]))
    return [
        (int(begin), int(end) - 1)
        for begin, end in zip(begins, ends, strict=True)
        if values[begin:end].max() >= high
    ]


def find_runs(probabilities: np.ndarray, labels: Sequence[int], high: float, low: float) -> list[Run]:
    """Return the runs of all labels, in the order of their begins.

    Args:
        probabilities: Probability of each class in each window. Shape (windows, classes).
        labels: Labels that may become events.
        high: Probability that a window of every run reaches.
        low: Probability that all of its windows reach.
    """
    runs = []
    for label in labels:
        values = np.ascontiguousarray(probabilities[:, label])
        for first, last in hysteresis_runs(values, high, low):
            runs.append(Run(label, first, last, first + int(values[first : last + 1].argmax())))
    return sorted(runs, key=lambda run: (run.first, run.label))


def run_cores(runs: Sequence[Run], plan: WindowPlan) -> list[tuple[int, int]]:
    """Return the samples that are nearer to the windows of each run than to other windows."""
    return [(plan.core(run.first)[0], plan.core(run.last)[1]) for run in runs]


def run_reaches(runs: Sequence[Run], plan: WindowPlan) -> list[tuple[int, int]]:
    """Return the samples that the evidence of each run may lie in: its windows, without those of its neighbours.

    Windows of two runs of one label may overlap where few windows lie between them. Each then reaches to where the
    other's windows are the nearest.
    """
    cores = run_cores(runs, plan)
    reaches = [(plan.start(run.first), plan.span(run.last)[1]) for run in runs]
    latest: dict[int, int] = {}
    for index, run in enumerate(runs):
        if run.label in latest:
            before = latest[run.label]
            reaches[index] = (max(reaches[index][0], cores[before][1]), reaches[index][1])
            reaches[before] = (reaches[before][0], min(reaches[before][1], cores[index][0]))
        latest[run.label] = index
    return reaches


def choose_jobs(
    runs: Sequence[Run],
    probabilities: np.ndarray,
    labels: Sequence[int],
    explain: str,
    top_k: int | None,
    targets: Sequence[int] = (),
) -> list[Job]:
    """Return the windows that are explained, in their order.

    Args:
        runs: Events.
        probabilities: Probability of each class in each window. Shape (windows, classes).
        labels: Labels that may be explained.
        explain: Windows that are explained; see `LongOptions`.
        top_k: Largest number of explained windows of each label.
        targets: The only labels that are explained (default: all of ``labels``).
    """
    if explain == "none":
        return []
    pairs = {
        (window, run.label)
        for run in runs
        if not targets or run.label in targets
        for window in ([run.first] if explain == "changes" else range(run.first, run.last + 1))
    }
    if explain == "all" and targets:
        pairs |= {(window, target) for window in range(len(probabilities)) for target in targets}
    elif explain == "all":
        best = np.asarray(labels)[np.asarray(probabilities[:, list(labels)]).argmax(1)]
        pairs |= set(enumerate(best.tolist()))
    if top_k is not None:
        pairs = _most_confident(pairs, probabilities, top_k)
    # Each event gets its scores from the most confident of its windows that are explained.
    scored: dict[tuple[int, int], int] = {}
    for index, run in enumerate(runs):
        windows = [window for window in range(run.first, run.last + 1) if (window, run.label) in pairs]
        if windows:
            best_window = max(windows, key=lambda window: (probabilities[window, run.label], -window))
            scored[best_window, run.label] = index
    return [Job(*pair, run=scored.get(pair)) for pair in sorted(pairs)]


def _most_confident(pairs: set[tuple[int, int]], probabilities: np.ndarray, count: int) -> set[tuple[int, int]]:
    chosen: set[tuple[int, int]] = set()
    for label in {label for _, label in pairs}:
        windows = [window for window, other in pairs if other == label]
        ranked = sorted(windows, key=lambda window: (-probabilities[window, label], window))
        chosen.update((window, label) for window in ranked[:count])
    return chosen
