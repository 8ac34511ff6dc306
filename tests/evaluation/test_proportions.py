"""Exact intervals of proportions, and their coverage where clips depend on each other."""

import numpy as np
import pytest
from scipy import stats

from otoscope.evaluation.proportions import effective_number, estimate_proportion, exact_interval
from otoscope.evaluation.statistics import Estimate

FOLD = np.repeat(np.arange(59), [1] * 45 + [2] * 7 + [3] * 7)
"""Recordings of 80 clips, divided as in a fold of ESC-10."""
PAIRS = np.repeat(np.arange(12), 5)


def test_exact_interval_agrees_with_scipy():
    for successes, trials in ((0, 10), (3, 10), (80, 80)):
        expected = stats.binomtest(successes, trials).proportion_ci(method="exact")
        assert exact_interval(successes, trials) == pytest.approx((expected.low, expected.high))


def test_effective_number_lies_between_that_of_equal_recordings_and_one():
    assert effective_number([str(name) for name in range(7)]) == 7
    assert effective_number(["a"] * 6) == 1
    assert len(FOLD) == 80
    assert 45 < effective_number([str(name) for name in FOLD]) < 59


def _covered(recordings, share, agreement, repetitions=1500):
    """Return how often the intervals by recording and by clip hold the share, for clips that agree by chance."""
    rng = np.random.default_rng(0)
    names = [str(name) for name in recordings]
    hits = np.zeros(2)
    for _ in range(repetitions):
        # A clip repeats the value of its recording with the probability `agreement`, else it is independent.
        of_recording = rng.random(recordings.max() + 1)[recordings] < share
        alone = rng.random(len(recordings)) < share
        values = np.where(rng.random(len(recordings)) < agreement, of_recording, alone).astype(float)
        plain = Estimate(float(values.mean()), np.nan, np.nan, len(values))
        for place, grouped in enumerate((names, None)):
            result = estimate_proportion(values, plain, 1.0, grouped)
            hits[place] += result.low <= share <= result.high
    return hits / repetitions


@pytest.mark.parametrize("recordings", [FOLD, PAIRS])
@pytest.mark.parametrize("share", [0.7, 0.95])
@pytest.mark.parametrize("agreement", [0.0, 0.8, 1.0])
def test_coverage_of_dependent_clips(recordings, share, agreement):
    by_recording, by_clip = _covered(recordings, share, agreement)
    assert by_recording >= 0.945
    if recordings is PAIRS and agreement == 1.0:
        assert by_clip < 0.9


def test_undefined_clips_count_neither_as_trials_nor_as_successes():
    values = np.array([100.0, np.nan, 100.0, 0.0])
    plain = Estimate(200 / 3, 0.0, 100.0, 3)
    result = estimate_proportion(values, plain, 100.0, ["a", "a", "b", "b"])
    assert (result.mean, result.clips) == (plain.mean, 3)
    trials = effective_number(["a", "b", "b"])
    assert (result.low / 100, result.high / 100) == pytest.approx(exact_interval(2 / 3 * trials, trials))
    undefined = Estimate(np.nan, np.nan, np.nan, 0)
    assert estimate_proportion(np.full(3, np.nan), undefined, 1.0) is undefined
