"""Leaders on known use: paired differences, recordings drawn together, and explanations of all groups pooled."""

from otoscope.evaluation.known_use.leaders import POOLED, leaders


def _lines(values, recordings=None, score="rank"):
    recordings = recordings or [f"r{i}" for i in range(len(values))]
    return [
        {"clip": f"c{i}", "recording": recording, "scores": {score: value}}
        for i, (value, recording) in enumerate(zip(values, recordings, strict=True))
    ]


def test_small_differences_count_where_they_are_paired():
    hard_and_easy = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.15, 0.85]
    rows = {
        "tone": {
            "better": _lines([value + 0.02 for value in hard_and_easy]),
            "worse": _lines(hard_and_easy),
            "mixed": _lines([value + sign for value, sign in zip(hard_and_easy, [0.1, -0.1] * 4, strict=True)]),
            "truth": _lines([1.0] * 8),
        }
    }
    of_rank = leaders(rows, 500, seed=0)["tone"]["rank"]
    assert of_rank == {"best": "better", "not_told_from_it": ["mixed"]}


def test_clips_of_few_recordings_tell_nothing():
    rows = {"tone": {"a": _lines([1.0] * 8, ["x", "y"] * 4), "b": _lines([0.0] * 8, ["x", "y"] * 4)}}
    assert leaders(rows, 100, seed=0)["tone"]["rank"] == {"best": "a", "not_told_from_it": ["b"]}


def test_groups_are_too_small_alone_and_enough_together():
    recordings = {group: [f"{group}{i}" for i in range(3)] for group in ("tone", "hum", "hiss")}
    rows = {
        group: {"a": _lines([0.9, 0.8, 0.7], names), "b": _lines([0.5, 0.5, 0.5], names)}
        for group, names in recordings.items()
    }
    result = leaders(rows, 200, seed=0)
    assert all(result[group]["rank"]["not_told_from_it"] == ["b"] for group in rows)
    assert result[POOLED]["rank"] == {"best": "a", "not_told_from_it": []}
    assert result[POOLED]["swap"] == {"best": None, "not_told_from_it": []}
