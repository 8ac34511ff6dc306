"""``otoscope demo`` in a size that takes seconds, and its comparison with the controls."""

import json

import pytest

from otoscope.cli import demo
from otoscope.models import sample_recordings


@pytest.fixture
def tiny(monkeypatch):
    """Make data, classifier and trainings of the demo tiny."""
    from functools import partial

    from otoscope import classifiers, data, training

    options = {"clips_per_class": 4, "classes": ["siren", "rooster"], "duration_s": 0.5, "batch_size": 8}
    small_data, classifier, run = data.Synthetic, classifiers.Conv2dClassifier, training.run_training
    quick = {"max_epochs": 1, "enable_progress_bar": False}
    monkeypatch.setattr(data, "Synthetic", lambda seed, **_: small_data(**options, seed=seed))
    monkeypatch.setattr(classifiers, "Conv2dClassifier", partial(classifier, head_width=6))
    monkeypatch.setattr(training, "run_training", lambda *args: run(*args[:3], {**args[3], **quick}))


def test_trains_explains_and_scores(tiny, run, tmp_path):
    code, output, messages = run("demo", "--out", tmp_path / "out", "--seed=3", "--clips=2", "--json")
    assert code == 0
    summary = json.loads(output)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert summary["seed"] == 3
    assert list(summary["scores"]) == ["PIQ", "all-pass", "random", "loudest", "ideal"]
    assert {"accuracy", "scores", "seed", "seconds", "explanations"} == set(summary)
    samples = {sample.name: sample for sample in sample_recordings()}
    assert [item["name"] for item in summary["explanations"]] == list(samples)
    for item in summary["explanations"]:
        assert item["label"] in samples[item["name"]].labels
        assert item["verdict"]["level"] in ("supported", "partly", "not supported")
        folder = tmp_path / "out" / "samples" / item["name"]
        assert item["folder"] == str(folder)
        assert (folder / "spectra.png").is_file()
        assert (folder / "interpretation_levelled.flac").is_file()
        assert f"    {item['name']}: {item['label']} (p = " in messages
    assert f"Look at {tmp_path / 'out' / 'samples'}/*/spectra.png" in messages
    explained = sorted(path.name for path in (tmp_path / "out" / "explanations").iterdir())
    assert explained == ["rooster-0000", "siren-0000"]
    for words in ("1/4", "4/4", "PIQ against random: better on", "SI-SDRi", "siren-0000:"):
        assert words in messages


@pytest.mark.parametrize(("arguments", "word"), [(["--sead", "1"], "--sead"), (["--seed", "one"], "seed")])
def test_mistakes_are_reported_in_one_line(assert_error, arguments, word):
    assert_error(["demo", *arguments], word)


SCORES = {
    "PIQ": {"AI": 20.0, "AD": 5.0, "MM": 0.5, "IoU": 0.4},
    "random": {"AI": 10.0, "AD": 5.0, "MM": 0.5, "IoU": 0.5},
    "loudest": {"AI": 30.0, "AD": 4.0, "MM": 0.1},
}


def test_the_comparison_lists_better_and_worse_scores():
    assert demo._comparison(SCORES) == (
        "PIQ against random: better on AI; worse on IoU.\nPIQ against loudest: better on none; worse on AI, AD."
    )


def test_ties_missing_scores_and_scores_without_direction_are_not_better():
    assert not demo._is_better("AD", SCORES["PIQ"], SCORES["random"])
    assert not demo._is_better("IoU", SCORES["PIQ"], SCORES["loudest"])
    assert not demo._is_better("MM", SCORES["PIQ"], SCORES["loudest"])
    assert not demo._is_better("AI", {"AI": float("nan")}, SCORES["random"])
