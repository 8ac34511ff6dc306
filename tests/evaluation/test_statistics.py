"""Bootstrap intervals against a slow loop, their coverage, and paired comparisons."""

import numpy as np
import pytest
from scipy import stats

from otoscope.evaluation.statistics import (
    Estimate,
    Sampling,
    better,
    estimate,
    resampling,
    resampling_by,
)


def test_interval_equals_a_loop_over_samples():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(17, 2))
    values[4, 1] = np.nan
    table = resampling(17, 200, seed=5)
    drawn = np.random.default_rng(5).integers(17, size=(200, 17))
    for column, result in enumerate(estimate(values, table)):
        means = [np.nanmean([values[clip, column] for clip in sample]) for sample in drawn]
        assert result.mean == pytest.approx(np.nanmean(values[:, column]))
        clips = 17 - column
        # The expanded tail of Hesterberg (2015), in per cent.
        tail = 100 * stats.norm.cdf(np.sqrt(clips / (clips - 1)) * stats.t.ppf(0.025, clips - 1))
        assert (result.low, result.high) == pytest.approx(tuple(np.percentile(means, (tail, 100 - tail))))
        assert result.clips == clips


@pytest.mark.parametrize("clips", [6, 10, 40])
def test_coverage_of_normal_values(clips):
    rng = np.random.default_rng(0)
    table = resampling(clips, 1000, seed=1)
    results = estimate(rng.normal(2.0, 1.0, size=(clips, 2000)), table)
    covered = np.mean([result.low <= 2.0 <= result.high for result in results])
    assert 0.93 < covered < 0.97


def test_values_that_are_all_undefined():
    (result,) = estimate(np.full((5, 1), np.nan), resampling(5, 100, 0))
    assert np.isnan([result.mean, result.low, result.high]).all()
    assert result.clips == 0
    assert not result.excludes_zero


def test_samples_without_a_defined_clip_are_left_out():
    values = np.full((8, 1), np.nan)
    values[2] = 4.0
    assert estimate(values, resampling(8, 100, 0)) == [Estimate(4.0, 4.0, 4.0, 1)]


def test_paired_difference_is_significant_though_intervals_overlap():
    rng = np.random.default_rng(0)
    clip = rng.normal(0, 10, size=(30, 1))
    first, second = clip + 1 + rng.normal(0, 0.5, size=(30, 1)), clip
    table = resampling(30, 500, 0)
    (first_mean,), (second_mean,) = estimate(first, table), estimate(second, table)
    assert first_mean.low < second_mean.high
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


def test_rate_of_false_alarms_is_near_the_level():
    rng = np.random.default_rng(2)
    differences = estimate(rng.normal(size=(60, 400)), resampling(60, 400, 0))
    assert np.mean([better(difference, "higher") != 0 for difference in differences]) < 0.09


def test_clips_of_one_recording_are_drawn_together():
    table = resampling_by(["a", "b", "a", "c"], 50, seed=0)
    assert np.array_equal(table[:, 0], table[:, 2])
    # three recordings are drawn each time, and "a" counts twice
    assert np.array_equal(table[:, [0, 1, 3]].sum(1), np.full(50, 3))


def test_coverage_of_clips_that_were_cut_from_few_recordings():
    rng = np.random.default_rng(0)
    recordings = np.repeat([f"r{number}" for number in range(20)], 4)
    # a recording shifts all of its clips alike: the correlation within a recording is 0.8
    shifts = np.repeat(rng.normal(0, 2.0, (20, 500)), 4, axis=0)
    values = 3.0 + shifts + rng.normal(0, 1.0, (80, 500))
    by_clip = estimate(values, resampling(80, 500, seed=1))
    by_recording = estimate(values, resampling_by(recordings, 500, seed=1), recordings=recordings)
    covered = [
        np.mean([result.low <= 3.0 <= result.high for result in results]) for results in (by_clip, by_recording)
    ]
    assert covered[0] < 0.8
    assert 0.92 < covered[1] < 0.98


def test_recordings_and_not_clips_decide_whether_a_difference_may_count():
    values = np.linspace(1.0, 2.0, 20)[:, None]
    recordings = np.repeat(["a", "b", "c", "d"], 5)
    assert better(estimate(values, resampling(20, 200, 0))[0], "higher") == 1
    table = resampling_by(recordings, 200, 0)
    by_recording = estimate(values, table, recordings=recordings)[0]
    assert (by_recording.clips, by_recording.recordings) == (20, 4)
    assert by_recording.low > 0
    assert better(by_recording, "higher") == 0
    values[:5] = np.nan
    assert estimate(values, table, recordings=recordings)[0].recordings == 3


def test_clips_without_recordings_are_drawn_as_before():
    values = np.random.default_rng(0).normal(size=(9, 2))
    clips = [f"clip{number}" for number in range(9)]
    assert Sampling(100, 3).estimates(clips, values) == estimate(values, resampling(9, 100, 3))
    together = Sampling(100, 3, {"clip0": "a", "clip1": "a"})
    assert together.recordings_of(clips[:3]) == ["a", "a", "clip2"]
    assert together.estimates(clips, values)[0].recordings == 8
