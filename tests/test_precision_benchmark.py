"""The benchmark of precisions reads tables as it should."""

from benchmarks.precision import _changed_leaders, _means, _summary


def test_means_are_compared_by_score_and_in_halves_of_their_intervals():
    cell = {"mean": 2.0, "low": 1.0, "high": 3.0, "n": 4}
    scores = {"clean": {"0.1": {"mask": {"IG": {"AD": cell, "FF": {**cell, "mean": float("nan")}}}}}}
    assert dict(_means(scores)) == {("clean", "0.1", "mask", "IG", "AD"): (2.0, 1.0)}
    expected = {"largest": 0.5, "mean": 0.3, "largest_in_half_intervals": 0.25, "means": 2}
    assert _summary([(0.5, 2.0), (0.1, 0.0)]) == expected


def test_leaders_that_change_are_counted():
    def leaders(best):
        return {"clean": {"own": {"mask": {"AD": {"best": best}, "FF": {"best": "IG"}}}}}

    assert _changed_leaders(leaders("IG"), leaders("RISE")) == {"changed": 1, "columns": 2}
