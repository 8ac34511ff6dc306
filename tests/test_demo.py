"""The demo in a size that takes seconds, and how it reads its table."""

import json

import pytest

from otoscope import demo


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OTOSCOPE_CACHE", str(tmp_path / "cache"))


def test_the_whole_story(tmp_path, monkeypatch, capsys):
    from functools import partial

    from otoscope.classifiers import Conv2dClassifier
    from otoscope.data import Synthetic

    tiny = {"clips_per_class": 4, "classes": ["siren", "rooster"], "duration_s": 0.5, "batch_size": 8}
    monkeypatch.setattr(demo, "Synthetic", lambda seed, **_: Synthetic(**tiny, seed=seed))
    monkeypatch.setattr(demo, "Conv2dClassifier", partial(Conv2dClassifier, head_width=6))
    run = demo.run_training
    quick = {"max_epochs": 1, "enable_progress_bar": False}
    monkeypatch.setattr(demo, "run_training", lambda *args: run(*args[:3], {**args[3], **quick}))
    summary = demo.run_demo(tmp_path / "out", seed=3, clips=2)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert summary["seed"] == 3
    assert list(summary["scores"]) == ["PIQ", "all-pass", "random", "loudest", "ideal"]
    explained = sorted(path.name for path in (tmp_path / "out" / "explanations").iterdir())
    assert explained == ["rooster-0000", "siren-0000"]
    text = capsys.readouterr().out
    for words in ("1/4", "4/4", "PIQ against random: better on", "SI-SDRi", "siren-0000:"):
        assert words in text


SCORES = {
    "PIQ": {"AI": 20.0, "AD": 5.0, "MM": 0.5, "IoU": 0.4},
    "random": {"AI": 10.0, "AD": 5.0, "MM": 0.5, "IoU": 0.5},
    "loudest": {"AI": 30.0, "AD": 4.0, "MM": 0.1},
}


def test_reading_says_what_is_better_and_what_is_worse():
    assert demo._reading(SCORES) == (
        "PIQ against random: better on AI; worse on IoU.\nPIQ against loudest: better on none; worse on AI, AD."
    )


def test_ties_unknown_scores_and_scores_without_direction_count_for_nobody():
    assert not demo._better("AD", SCORES["PIQ"], SCORES["random"])
    assert not demo._better("IoU", SCORES["PIQ"], SCORES["loudest"])
    assert not demo._better("MM", SCORES["PIQ"], SCORES["loudest"])
    assert not demo._better("AI", {"AI": float("nan")}, SCORES["random"])
