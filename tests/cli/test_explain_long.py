"""``otoscope explain`` with long recordings: timelines beside explanations, and one line for every mistake."""

import json
import re
from typing import get_args

import numpy as np
import pytest
import soundfile

from otoscope.cli.long_options import _EXPLAINED, _OPTIONS, _TABLE
from otoscope.recordings import TABLES, LongOptions
from otoscope.recordings.long.options import Explained

LABELS = ["dog", "rain", "helicopter"]  # those of the fixture esc50


@pytest.fixture
def night(tmp_path):
    """Twelve seconds: tones of the three classes of the fixture, one after the other, on faint noise."""
    time_s = np.arange(4 * 16_000) / 16_000
    tones = [0.5 * np.sin(2 * np.pi * pitch_hz * time_s) for pitch_hz in (300, 1500, 5000)]
    noise = 0.05 * np.random.default_rng(0).standard_normal(12 * 16_000)
    soundfile.write(tmp_path / "night.wav", np.concatenate(tones) + noise, 16_000)
    return tmp_path / "night.wav"


@pytest.fixture
def common(piq_folder, tmp_path):
    """Options of most commands here; any class is an event."""
    return ["--model", piq_folder, "--out", tmp_path / "out", "--min_confidence", "0.34", "--pages", "1"]


def test_a_model_knows_the_length_of_its_clips(piq_folder):
    config = json.loads((piq_folder / "classifier" / "config.json").read_text())
    assert config["clip_s"] == 0.5


def test_short_and_long_recordings_in_one_run(run, night, esc50, common, tmp_path):
    clip = sorted((esc50 / "audio").glob("5-*"))[0]
    options = ["--window_s", "2", "--top_k", "2", "--tables", "csv", "raven", "--segments"]
    code, output, error = run("explain", night, clip, *common, *options)
    assert code == 0, error
    assert "2 explained" in error
    assert re.search(r"night: \d+ events? .* windows explained -> .*night\n", output)
    assert (tmp_path / "out" / clip.stem / "explanation.json").is_file()
    names = {path.name for path in (tmp_path / "out" / "night").iterdir()}
    assert {"evidence.flac", "events.csv", "events.raven.txt", "segments", "timeline.png"} <= names
    assert "events.jsonl" not in names
    assert len(list((tmp_path / "out" / "night" / "events").iterdir())) == 1


def test_json_and_skipping(run, night, common, tmp_path):
    options = ["--target", "rain", "--explain", "none", "--json"]
    code, output, _ = run("explain", night, *common, *options)
    assert code == 0
    (line,) = json.loads(output)
    assert line["status"] == "explained"
    assert {event["label"] for event in line["events"]} <= {"rain"}
    # Twice the clips of the training, half a second long, is shorter than the recording.
    assert line["window_s"] == pytest.approx(0.5, abs=0.01)
    code, output, _ = run("explain", night, *common, *options, "--skip_existing")
    assert (code, json.loads(output)) == (0, [])
    assert not list((tmp_path / "out").glob(".*"))


def test_options_are_those_of_the_python_function():
    defaults = LongOptions()
    for name, (_, settings) in _OPTIONS.items():
        default = settings.get("default", False)
        assert getattr(defaults, name) == (tuple(default) if isinstance(default, list) else default)
    assert set(get_args(_TABLE)) == set(TABLES)
    assert get_args(_EXPLAINED) == get_args(Explained)


def test_mistakes_are_reported_in_one_line(assert_error, night, common):
    explain = ["explain", night, *common]
    assert_error([*explain, "--labels", "cat"], "'cat'", "dog, rain, helicopter")
    assert_error([*explain, "--window_s", "0.01"], "window_s: 0.01 s are shorter")
    assert_error([*explain, "--start_s", "50"], "start_s 50", "ends at 12.00 s")
    assert_error([*explain, "--tables", "excel"], "tables")
    assert_error([*explain, "--top_k", "0"], "top_k: 0 must be 1 or more")
    assert_error([*explain, "--low_confidence", "0.9"], "low_confidence 0.9")


def test_several_targets_and_contrasts(run, assert_error, night, esc50, classifier_folder, tmp_path):
    clip = sorted((esc50 / "audio").glob("5-*"))[0]
    explain = ["explain", night, clip, "--model", classifier_folder, "--method", "saliency", "--area", "0.1"]
    explain += [
        "--out",
        tmp_path / "out",
        "--window_s",
        "2",
        "--min_confidence",
        "0",
        "--top_k",
        "1",
        "--pages",
        "0",
    ]
    code, _, error = run(*explain, "--target", "dog", "rain", "--against", "helicopter")
    assert code == 0, error
    for label in ("dog", "rain"):
        # The clip has a folder of explanations for each target, the long recording sounds for each.
        saved = json.loads((tmp_path / "out" / label / clip.stem / "explanation.json").read_text())
        assert set(saved["probabilities"]) == {label, "helicopter"}
        assert (tmp_path / "out" / "night" / "targets" / label / "evidence.flac").is_file()
    timeline = json.loads((tmp_path / "out" / "night" / "timeline.json").read_text())
    assert timeline["against"] == "helicopter"
    assert {event["label"] for event in timeline["events"]} == {"dog", "rain"}
    assert_error([*explain, "--target", "dog", "rain", "--against", "rain"], "'rain' is the target itself")
    assert_error([*explain, "--against", "rain"], "--against rain", "--target")
