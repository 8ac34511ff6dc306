"""Checks of randomised weights and of stability: records, resuming, failures, verdicts and text."""

import json

import numpy as np
import pytest
import torch

from otoscope.classifiers import CallableClassifier
from otoscope.data.clips import Clip
from otoscope.errors import ConfigurationError, DataError
from otoscope.evaluation import Conditions, Settings, report, run_evaluation
from otoscope.evaluation.check_results import (
    changes_verdict,
    randomisation_results,
    rise_verdict,
    stability_results,
    stays_verdict,
)
from otoscope.evaluation.stability import CHANGES
from otoscope.evaluation.statistics import Estimate, Sampling

CLEAN = Conditions(wham=None, white_noise=False, mixture=False, speech=None)
QUICK = {
    "areas": (0.2,),
    "bootstrap": 100,
    "curves": False,
    "sanity": False,
    "clips": 3,
    "check_clips": 2,
    "shuffles": 2,
    "noisy_inputs": 1,
}


@pytest.fixture
def run(classifier, data, kinds, tmp_path, monkeypatch):
    """Function that runs a small evaluation with both checks, without pictures."""
    monkeypatch.setattr(report, "draw_table", lambda *arguments: None)

    def evaluate(names=("gradient",), folder="out", network=classifier, methods=None, **options):
        specs = methods or {name: kinds[name](network) for name in names}
        settings = Settings(**{**QUICK, **options})
        return run_evaluation(network, specs, data, tmp_path / folder, CLEAN, settings, progress=False)

    return evaluate


def test_results_text_and_records(run, tmp_path):
    evaluation = run(methods={"IG": "integrated_gradients", "saliency": "saliency"})
    results = evaluation.results["randomisation"]["IG"]
    assert {"rank_correlation", "overlap", "eMPRT", "sMPRT"} < results.keys()
    assert (results["overlap"]["shuffles"], results["overlap"]["clips"]) == (2, 2)
    assert results["overlap"]["low"] <= results["overlap"]["mean"] <= results["overlap"]["high"]
    assert {results[name] for name in ("verdict", "eMPRT_verdict", "sMPRT_verdict")} <= {
        "passes",
        "fails",
        "unclear",
    }
    stability = evaluation.results["stability"]["IG"]
    assert set(stability) == {*CHANGES, "verdict"}
    assert stability["level"]["rank_correlation"]["n"] == 2
    text = (tmp_path / "out" / "table.txt").read_text()
    assert "all weights shuffled, 2 shuffles, 2 recordings" in text
    assert "1 ms later, 1 dB lower; 2 clips" in text
    assert json.loads((tmp_path / "out" / "results.json").read_text())["stability"].keys() == {"IG", "saliency"}
    lines = (tmp_path / "out" / "records" / "randomisation" / "IG.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    assert record["settings"] == {"shuffles": 2, "noisy_inputs": 1, "noise": 0.1}
    assert np.shape(record["values"]["sMPRT"]) == (2,)


def test_a_killed_check_resumes_without_doing_anything_twice(run, kinds, monkeypatch):
    whole = run(("gradient", "constant"), folder="whole").results
    kind, made = kinds["constant"], []
    decode = kind.decode

    def killed(self, *arguments):
        made.append(len(arguments[0]))
        if len(made) == 3:
            raise KeyboardInterrupt
        return decode(self, *arguments)

    monkeypatch.setattr(kind, "decode", killed)
    with pytest.raises(KeyboardInterrupt):
        run(("gradient", "constant"))
    monkeypatch.setattr(kinds["gradient"], "decode", lambda *arguments: pytest.fail("decoded again"))
    # only the stability of the first method is missing still
    resumed = run(("constant",)).results
    monkeypatch.undo()
    assert json.dumps(resumed["randomisation"]["constant"]) == json.dumps(whole["randomisation"]["constant"])
    resumed = run(("gradient", "constant")).results
    for check in ("randomisation", "stability"):
        assert json.dumps(resumed[check]) == json.dumps(whole[check])


def test_results_do_not_depend_on_the_batch(run):
    options = {"check_clips": 3}
    single, together = (run(folder=f"out{size}", batch_size=size, **options).results for size in (1, 8))
    for name in ("rank_correlation", "overlap", "eMPRT", "sMPRT"):
        first, second = (results["randomisation"]["gradient"][name]["mean"] for results in (single, together))
        assert first == pytest.approx(second, abs=5e-3)


def test_clips_can_be_added_and_other_settings_are_refused(run):
    run(check_clips=1)
    assert run(check_clips=3).results["randomisation"]["gradient"]["eMPRT"]["clips"] == 3
    with pytest.raises(ConfigurationError, match=r"randomisation: holds records .*shuffles was 2, is 3"):
        run(shuffles=3)
    with pytest.raises(ConfigurationError, match="noisy_inputs was 1, is 0"):
        run(noisy_inputs=0)
    # without the check its records do not matter
    assert run(shuffles=3, randomisation=False).results["randomisation"] == {}


def test_records_of_an_evaluation_without_checks_are_taken(run, kinds, monkeypatch):
    run(randomisation=False, stability=False)
    decode, sizes = kinds["gradient"].decode, []
    monkeypatch.setattr(kinds["gradient"], "decode", lambda self, *a: sizes.append(len(a[0])) or decode(self, *a))
    results = run(stability=False).results
    assert sizes == [2, 2] * 3  # two clips, by the intact and two shuffled networks, each with a noisy copy
    assert results["scores"]["clean"]["0.2"]["mask"]["gradient"]["AD"]["n"] == 3


def test_records_of_another_sound_are_refused(run, data, monkeypatch):
    run()
    clips = [data.test_set[index] for index in range(9)]
    changed = [Clip(clip.waveform.flip(0), clip.target, clip.name, clip.key) for clip in clips]
    monkeypatch.setattr(data, "setup", lambda stage: None)
    monkeypatch.setattr(data, "test_set", changed)
    with pytest.raises(DataError, match="another sound"):
        run(folder="out")


def test_a_method_that_fails_is_named_and_the_others_continue(run, kinds, monkeypatch):
    decode, calls = kinds["constant"].decode, []

    def failing(self, *arguments):
        calls.append(1)
        if len(calls) > 1:  # the scores are computed first
            raise ValueError("no map of this network")
        return decode(self, *arguments)

    monkeypatch.setattr(kinds["constant"], "decode", failing)
    monkeypatch.setattr("otoscope.evaluation.settings._LEAST_BATCHES", 1)
    evaluation = run(("constant", "broken"), methods=None)
    skipped = evaluation.results["skipped"]["checks"]
    assert skipped["randomisation of constant"] == "ValueError: no map of this network"
    assert skipped["stability of constant"] == "ValueError: no map of this network"
    assert "skipped check randomisation of constant" in evaluation.text
    assert "constant" in evaluation.results["scores"]["clean"]["0.2"]["mask"]


def test_a_black_box_is_checked_for_stability_only(run, data):
    def level(waveforms):
        loud = np.clip(np.abs(waveforms).mean(1), 0, 0.5)
        return np.stack([loud, loud / 2, 1 - 1.5 * loud], 1)

    box = CallableClassifier(level, data.labels)
    results = run(network=box, methods={"occlusion": "occlusion"}).results
    assert "no weights" in results["skipped"]["checks"]["randomisation"]
    assert results["randomisation"] == {}
    assert results["stability"]["occlusion"]["verdict"] in ("passes", "unclear", "fails")


def _cell(low, high, clips=8):
    return Estimate((low + high) / 2, low, high, clips)


@pytest.mark.parametrize(
    ("correlation", "overlap", "word"),
    [
        (_cell(-0.1, 0.1), _cell(0.1, 0.3), "passes"),
        (_cell(0.6, 0.9), _cell(0.1, 0.3), "fails"),
        (_cell(-0.1, 0.1), _cell(0.65, 0.8), "fails"),
        (_cell(0.3, 0.6), _cell(0.1, 0.3), "unclear"),
        (_cell(np.nan, np.nan, 0), _cell(0.1, 0.3), "undefined"),
    ],
)
def test_verdict_of_shuffled_weights(correlation, overlap, word):
    assert changes_verdict({"rank_correlation": correlation, "overlap": overlap}) == word


def test_verdicts_of_complexity_and_stability():
    assert rise_verdict(_cell(0.1, 0.3)) == "passes"
    assert rise_verdict(_cell(0.0, 0.0)) == rise_verdict(_cell(-0.3, -0.1)) == "fails"
    assert rise_verdict(_cell(-0.1, 0.3)) == "unclear"
    steady, shaky = ({"rank_correlation": cell, "overlap": cell} for cell in (_cell(0.9, 1.0), _cell(0.1, 0.4)))
    assert stays_verdict([steady, steady]) == "passes"
    assert stays_verdict([steady, shaky]) == "fails"


def test_clips_of_one_recording_count_once():
    def record(value):
        return {"values": {name: [value, value + 0.1] for name in ("rank_correlation", "overlap", "eMPRT")}}

    records = {"IG": {"a1": record(0.0), "a2": record(0.4), "b": record(0.2)}}
    grouped = randomisation_results(records, Sampling(100, 0, {"a1": "a", "a2": "a"}))["IG"]
    assert grouped["overlap"]["clips"] == 2
    assert grouped["overlap"]["mean"] == pytest.approx(0.25)
    assert grouped["overlap"]["clip_variance"] == 0
    assert "sMPRT_verdict" not in grouped
    apart = randomisation_results(records, Sampling(100, 0))["IG"]
    assert apart["overlap"]["clips"] == 3
    changes = {change: {"rank_correlation": 0.9, "overlap": None, "same_decision": 1.0} for change in CHANGES}
    undefined = stability_results({"IG": {"a": {"values": changes}}}, Sampling(100, 0))["IG"]
    assert undefined["verdict"] == "undefined"
    assert torch.tensor(undefined["noise"]["rank_correlation"]["mean"]) == pytest.approx(0.9)
