"""Runs of windows, and the windows that are explained."""

import numpy as np
import pytest

from otoscope.audio import WindowPlan
from otoscope.recordings.long.events import (
    Job,
    Run,
    choose_jobs,
    find_runs,
    hysteresis_runs,
    run_borders,
    run_cores,
    run_reaches,
)

PLAN = WindowPlan(samples=1000, window=200, hop=100, step=10)
# windows x labels
PROBABILITIES = np.array(
    [
        [0.9, 0.1, 0.0],
        [0.4, 0.6, 0.0],
        [0.1, 0.4, 0.5],
        [0.2, 0.1, 0.7],
        [0.8, 0.1, 0.1],
        [0.6, 0.1, 0.3],
        [0.2, 0.1, 0.7],
        [0.1, 0.1, 0.8],
        [0.2, 0.2, 0.6],
    ],
    np.float32,
)


def test_with_equal_thresholds_every_dip_divides():
    values = np.array([0.6, 0.45, 0.7, 0.2, 0.46, 0.1])
    assert hysteresis_runs(values, 0.5, 0.5) == [(0, 0), (2, 2)]
    assert hysteresis_runs(values, 0.5, 0.4) == [(0, 2)]


@pytest.mark.parametrize("values", [[], [0.1, 0.2], [0.49]])
def test_nothing_reaches_the_upper_threshold(values):
    assert hysteresis_runs(np.array(values), 0.5, 0.1) == []


def test_runs_of_all_labels_in_the_order_of_their_begins():
    runs = find_runs(PROBABILITIES, [0, 1], 0.5, 0.35)
    assert runs == [Run(0, 0, 1, 0), Run(1, 1, 2, 1), Run(0, 4, 5, 4)]


def test_cores_and_reaches():
    runs = [Run(0, 0, 1, 0), Run(1, 1, 2, 1), Run(0, 3, 4, 4)]
    assert run_cores(runs, PLAN) == [(0, 250), (150, 350), (350, 550)]
    # The two runs of label 0 overlap from 300 to 300 + 0: each ends where the windows of the other are the nearest.
    assert run_reaches(runs, PLAN) == [(0, 300), (100, 400), (300, 600)]
    close = [Run(0, 0, 1, 0), Run(0, 3, 4, 4), Run(0, 6, 7, 6)]
    overlapping = WindowPlan(samples=1000, window=300, hop=100, step=10)
    assert run_reaches(close, overlapping) == [(0, 400), (300, 700), (600, 1000)]
    near = [Run(0, 0, 0, 0), Run(0, 2, 2, 2)]
    wide = WindowPlan(samples=1000, window=400, hop=100, step=10)
    assert run_reaches(near, wide) == [(0, 350), (250, 600)]


def heard(begin, end, plan):
    """Probability of a classifier that hears the share of a sound in each window."""
    spans = [plan.span(index) for index in range(plan.count)]
    shares = [max(min(end, high) - max(begin, low), 0) / plan.window for low, high in spans]
    return np.array(shares)[:, None]


@pytest.mark.parametrize("begin", range(300, 400, 10))
def test_borders_do_not_depend_on_where_the_windows_begin(begin):
    """The cores of the windows miss these borders by up to half a hop."""
    end = begin + 350
    probabilities = heard(begin, end, PLAN)
    runs = find_runs(probabilities, [0], 0.5, 0.25)
    assert run_borders(runs, probabilities, PLAN, 0.25) == [pytest.approx((begin, end), abs=1e-6)]


def test_borders_at_the_ends_of_the_recording_and_beside_dips():
    values = np.array([0.9, 0.4, 0.9, 0.3, 0.1, 0.0, 0.0, 0.3, 0.7])[:, None]
    runs = find_runs(values, [0], 0.5, 0.25)
    first, last = run_borders(runs, values, PLAN, 0.25)
    # Half of the peak is passed between the third and the fourth window, whose centres are 300 and 400.
    assert first == pytest.approx((0, 300 + 100 * 0.45 / 0.6))
    assert last == pytest.approx((800 + 100 * 0.05 / 0.4, 1000))


def test_borders_with_a_high_lower_threshold():
    values = np.array([0.0, 0.7, 1.0, 0.7, 0.0, 0.0, 0.0, 0.0, 0.0])[:, None]
    runs = find_runs(values, [0], 0.9, 0.9)
    assert run_borders(runs, values, PLAN, 0.9) == [pytest.approx((300 - 100 / 3, 300 + 100 / 3))]


def test_borders_of_a_single_window():
    plan = WindowPlan(samples=150, window=200, hop=100, step=10)
    values = np.array([[0.8]])
    assert run_borders(find_runs(values, [0], 0.5, 0.25), values, plan, 0.25) == [(0, 150)]


RUNS = [Run(0, 0, 1, 0), Run(1, 1, 2, 1), Run(0, 4, 5, 4)]


def chosen(explain, top_k=None, labels=(0, 1)):
    return [(job.window, job.label) for job in choose_jobs(RUNS, PROBABILITIES, labels, explain, top_k)]


def test_windows_that_are_explained():
    assert chosen("none") == []
    assert chosen("events") == [(0, 0), (1, 0), (1, 1), (2, 1), (4, 0), (5, 0)]
    assert chosen("changes") == [(0, 0), (1, 1), (4, 0)]
    assert chosen("events", top_k=1) == [(0, 0), (1, 1)]
    assert [window for window, _ in chosen("all")] == [0, 1, 1, 2, 3, 4, 5, 6, 7, 8]
    assert chosen("all", labels=(0, 1, 2))[-1] == (8, 2)


def test_events_are_scored_by_their_most_confident_explained_window():
    jobs = choose_jobs(RUNS, PROBABILITIES, [0, 1], "events", None)
    assert [job for job in jobs if job.run is not None] == [Job(0, 0, 0), Job(1, 1, 1), Job(4, 0, 2)]
    jobs = choose_jobs(RUNS, PROBABILITIES, [0, 1], "events", 1)
    assert [job.run for job in jobs] == [0, 1]
