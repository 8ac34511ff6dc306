"""Comparison of methods on known use: baselines, planted cues that are verified by intervention, resuming."""

import json
from dataclasses import replace

import pytest
import torch

from otoscope.classifiers import Classifier, ListenerClassifier, Prediction
from otoscope.data import ListenerScenes, PlantedCues
from otoscope.errors import ConfigurationError
from otoscope.evaluation import Settings, run_known_use
from otoscope.evaluation.known_use import groups_of
from otoscope.files.json import json_text
from otoscope.interpreters import IntegratedGradientsInterpreter

SETTINGS = Settings(clips=4, bootstrap=100)
LABELS = ["siren", "dog", "rooster"]
TONE_HZ = 7500.0


class ToneClassifier(Classifier):
    """Decides for a siren if a band around `TONE_HZ` is loud over time, else for a rooster."""

    @property
    def representation_channels(self):
        return (1,)

    def forward(self, log_magnitude, frames=None):
        row = round(TONE_HZ * self.frontend.n_fft / self.frontend.sample_rate_hz)
        level = log_magnitude[:, row - 2 : row + 3].mean((1, 2))
        logits = torch.stack([20 * (level - 0.15), -20 + 0 * level, 0 * level], dim=1)
        return Prediction(logits, (log_magnitude[:, None],))


@pytest.fixture
def planted():
    cues = {"siren": {"kind": "tone", "frequency_hz": TONE_HZ, "level_db": -25, "jitter": 0.0}, "dog": "hum"}
    return PlantedCues(
        cues, of="Synthetic", of_options={"clips_per_class": 24, "classes": LABELS, "duration_s": 0.5}
    )


def test_known_use_is_in_float32_alone():
    with pytest.raises(ConfigurationError, match=r"precision: .* in float32 alone"):
        run_known_use(ListenerClassifier(), {}, ListenerScenes(["band"]), settings=Settings(precision="bfloat16"))


def test_listeners_compare_methods_with_baselines(tmp_path):
    data = ListenerScenes(["band", "onset"], clips=3)
    report = run_known_use(
        ListenerClassifier(), {"IG": "integrated_gradients"}, data, tmp_path, SETTINGS, progress=False
    )
    means = report.results["means"]
    for score in ("mass", "rank", "AUROC", "IoU", "pointing", "swap"):
        assert means["truth"][score] == 1
    assert means["IG"]["rank"] > 0.8 > 0.1 > means["loudest"]["rank"]
    assert means["loudest"]["swap"] == means["random"]["swap"] == 0.5
    assert min(report.results["mean_rank"], key=report.results["mean_rank"].get) == "IG"
    # the third scene holds the cues of both classes
    assert report.results["scores"]["band"]["IG"]["rank"]["n"] == 4
    # four explanations of three scenes are worth 16 / 6 independent ones
    assert report.results["scores"]["band"]["truth"]["pointing"]["low"] == pytest.approx(0.025 ** (6 / 16))
    assert json.loads((tmp_path / "known_use.json").read_text())["means"]["truth"]["rank"] == 1
    assert "band (4 explanations)" in (tmp_path / "known_use.txt").read_text()


def test_a_run_resumes_and_gives_the_same(tmp_path, monkeypatch):
    data, methods = ListenerScenes(["band"], clips=2), {"IG": "integrated_gradients"}
    first = run_known_use(ListenerClassifier(), methods, data, tmp_path, SETTINGS, progress=False)

    def fail(*arguments):
        raise AssertionError("a clip was explained again")

    monkeypatch.setattr(IntegratedGradientsInterpreter, "attribute", fail)
    again = run_known_use(ListenerClassifier(), methods, data, tmp_path, SETTINGS, progress=False)
    # as JSON, because a score that is not defined is NaN, which equals nothing
    assert json_text(again.results) == json_text(first.results)


def test_only_clips_that_the_cue_flips_count(planted):
    classifier = ToneClassifier(LABELS).freeze()
    planted.setup("test")
    tone, hum = groups_of(planted, classifier)
    assert tone.reliance.flipped == len(tone.cases) > 0
    assert tone.reliance.tested >= tone.reliance.flipped
    assert tone.reliance.own_lost > 0
    # nothing makes the classifier decide for a dog
    assert hum.reliance.tested > 0 == hum.reliance.flipped == len(hum.cases)
    for case in tone.cases:
        [question] = case.questions
        spectrogram = classifier.hear(case.waveform[None])
        assert int(classifier.predict(spectrogram).predicted) == question.target
        without = spectrogram.masked((~question.truth)[None].float())
        assert int(classifier.predict(without).predicted) != question.target


def test_the_loudest_bins_fail_on_planted_cues_by_design(planted):
    report = run_known_use(
        ToneClassifier(LABELS), {"input x gradient": "input_x_gradient"}, planted, None, SETTINGS, progress=False
    )
    [scores] = report.results["scores"].values()  # the hum flips no clip
    assert scores["loudest"]["rank"]["mean"] < 0.1
    assert scores["truth"]["rank"]["mean"] == 1
    assert scores["input x gradient"]["rank"]["mean"] > 0.6
    assert report.results["reliance"]["hum (dog)"]["flipped"] == 0
    assert "0 flipped" in report.text


def test_a_method_that_fails_is_skipped_and_faults_of_the_user_are_reported(planted):
    report = run_known_use(
        ListenerClassifier(), {"AMT": "amt"}, ListenerScenes(["band"], clips=1), None, SETTINGS, progress=False
    )
    assert "activation map" in report.results["skipped"]["band"]["AMT"]
    with pytest.raises(ConfigurationError, match="baseline"):
        run_known_use(
            ListenerClassifier(), {"truth": "saliency"}, ListenerScenes(["band"], clips=1), progress=False
        )
    with pytest.raises(ConfigurationError, match="classes"):
        run_known_use(ToneClassifier(["a", "b", "c"]), {}, planted, None, SETTINGS, progress=False)


def test_clips_of_one_recording_count_as_one(planted, monkeypatch):
    planted.setup("test")
    clips = [planted.source.test_set[index] for index in range(len(planted.source.test_set))]
    monkeypatch.setattr(planted.source, "setup", lambda stage: None)
    pointing = {}
    for recording in (None, "field.wav"):
        monkeypatch.setattr(planted.source, "test_set", [replace(clip, recording=recording) for clip in clips])
        report = run_known_use(ToneClassifier(LABELS), {}, planted, None, SETTINGS, progress=False)
        [scores] = report.results["scores"].values()
        pointing[recording] = scores["truth"]["pointing"]
    count = pointing[None]["n"]
    assert count == pointing["field.wav"]["n"] > 1
    assert pointing[None]["low"] == pytest.approx(0.025 ** (1 / count))
    assert pointing["field.wav"]["low"] == pytest.approx(0.025)
