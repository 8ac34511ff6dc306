"""Bootstrap intervals against a slow loop, their coverage, and paired comparisons."""

import numpy as np
import pytest
from scipy import stats

from otoscope.evaluation.statistics import Estimate, better, estimate, resampling


def test_equals_a_loop_over_samples():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(17, 2))
    values[4, 1] = np.nan
    table = resampling(17, 200, seed=5)
    drawn = np.random.default_rng(5).integers(17, size=(200, 17))
    for column, found in enumerate(estimate(values, table)):
        means = [np.nanmean([values[clip, column] for clip in sample]) for sample in drawn]
        assert found.mean == pytest.approx(np.nanmean(values[:, column]))
        clips = 17 - column
        tail = 100 * stats.norm.cdf(np.sqrt(clips / (clips - 1)) * stats.t.ppf(0.025, clips - 1))
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, (tail, 100 - tail))))
        assert found.clips == clips


@pytest.mark.parametrize("clips", [6, 10, 40])
def test_covers_the_truth_as_often_as_it_says(clips):
    rng = np.random.default_rng(0)
    table = resampling(clips, 1000, seed=1)
    found = estimate(rng.normal(2.0, 1.0, size=(clips, 2000)), table)
    covered = np.mean([one.low <= 2.0 <= one.high for one in found])
    assert 0.93 < covered < 0.97


def test_undefined_throughout():
    (found,) = estimate(np.full((5, 1), np.nan), resampling(5, 100, 0))
    assert np.isnan([found.mean, found.low, found.high]).all()
    assert found.clips == 0
    assert not found.excludes_zero


def test_one_defined_clip_leaves_out_samples_without_it():
    values = np.full((8, 1), np.nan)
    values[2] = 4.0
    (found,) = estimate(values, resampling(8, 100, 0))
    assert (found.mean, found.low, found.high, found.clips) == (4.0, 4.0, 4.0, 1)


def test_pairing_sees_what_separate_intervals_hide():
    rng = np.random.default_rng(0)
    clip = rng.normal(0, 10, size=(30, 1))
    first, second = clip + 1 + rng.normal(0, 0.5, size=(30, 1)), clip
    table = resampling(30, 500, 0)
    (one,), (two,) = estimate(first, table), estimate(second, table)
    assert one.low < two.high
    assert better(estimate(first - second, table)[0], "higher") == 1


@pytest.mark.parametrize(
    ("low", "high", "clips", "direction", "expected"),
    [
        (1, 3, 40, "higher", 1),
        (1, 3, 40, "lower", -1),
        (-3, -1, 40, "higher", -1),
        (-1, 3, 40, "higher", 0),
        (0, 3, 40, "higher", 0),
        (1, 3, 5, "higher", 0),
        (1, 3, 40, "neither", 0),
    ],
)
def test_better_only_where_the_interval_excludes_zero(low, high, clips, direction, expected):
    assert better(Estimate((low + high) / 2, low, high, clips), direction) == expected


def test_no_false_alarms_beyond_the_level():
    rng = np.random.default_rng(2)
    same = estimate(rng.normal(size=(60, 400)), resampling(60, 400, 0))
    assert np.mean([better(one, "higher") != 0 for one in same]) < 0.09
