"""``otoscope explain``: outputs, exit codes, and one line for every mistake."""

import json
import re
from pathlib import Path

import pytest
import soundfile
import torch

from otoscope.methods import DEFAULT_METHOD, METHODS, UNTRAINED
from otoscope.models import sample_recordings

LABELS = ["dog", "rain", "helicopter"]  # those of the fixture esc50


@pytest.fixture
def clips(esc50):
    return sorted((esc50 / "audio").glob("5-*"))[:2]


@pytest.fixture
def common(piq_folder, tmp_path):
    """Options of most commands here."""
    return ["--model", piq_folder, "--out", tmp_path / "out"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.wav", "--model", "m", "--tagret", "dog"], ["otoscope explain", "--tagret", "--help"]),
        (["a.wav", "--model", "m", "--skip-existing"], ["--skip-existing"]),
        (["--model", "m"], ["audio"]),
        (["a.wav", "--model", "nowhere"], ["nowhere: is no model folder"]),
        (["a.wav", "--model", "m", "--batch_size", "0"], ["--batch_size 0"]),
    ],
)
def test_wrong_options_are_reported_in_one_line(assert_error, arguments, words):
    assert_error(["explain", *arguments], *words)


def test_help_lists_every_method_without_training(run):
    code, output, _ = run("explain", "--help")
    assert code == 0
    assert {*UNTRAINED, "lime"} <= set(re.findall(r"\w+", output))


def test_prints_and_saves(run, clips, common, tmp_path):
    code, output, _ = run("explain", *clips, *common, "--method", "piq")
    assert code == 0
    assert len(re.findall(r"\. (Supported|Partly supported|Not supported): ", output)) == 2
    for clip in clips:
        files = {path.name for path in (tmp_path / "out" / clip.stem).iterdir()}
        assert {"interpretation.wav", "explanation.json"} <= files


def test_without_a_model_the_bundled_one_explains(run, tmp_path):
    sample = sample_recordings()[0]
    code, output, error = run("explain", sample.path, "--out", tmp_path, "--json")
    assert code == 0, error
    (result,) = json.loads(output)
    assert result["label"] == sample.labels[0]
    assert result["notes"] == []


def test_json_for_a_target(run, clips, common, tmp_path):
    code, output, _ = run("explain", clips[0], *common, "--json", "--target", "rain")
    assert code == 0
    (result,) = json.loads(output)
    assert result["label"] == "rain"
    assert result["method"] == "PIQ"
    assert Path(result["folder"]) == tmp_path / "out" / clips[0].stem
    assert set(result["probabilities"]) == set(LABELS)


def test_an_untrained_method_goes_by_its_title(run, clips, classifier_folder, tmp_path):
    options = ["--model", classifier_folder, "--method", "grad-cam", "-o", tmp_path, "--json"]
    code, output, error = run("explain", clips[0], *options)
    assert code == 0, error
    assert json.loads(output)[0]["method"] == "Grad-CAM"


def test_baselines_of_expected_gradients(run, assert_error, clips, classifier_folder, tmp_path):
    explain = ["explain", clips[0], "--model", classifier_folder, "--out", tmp_path / "out"]
    code, _, error = run(*explain, "--method", "expected_gradients", "--baselines", clips[1].parent)
    assert code == 0, error
    saved = json.loads((tmp_path / "out" / clips[0].stem / "explanation.json").read_text())
    assert saved["method"] == "expected gradients"
    explain += ["--method"]
    assert_error([*explain, "expected_gradients", "--baselines", "nowhere"], "baselines: nowhere holds no")
    assert_error([*explain, "saliency", "--baselines", clips[1]], "there is no option 'baselines'")


@pytest.mark.parametrize("area", ["0.3", "sufficient", "decisive"])
def test_area_of_a_method_without_training(run, clips, classifier_folder, tmp_path, area):
    options = [
        "--model",
        classifier_folder,
        "--method",
        "input_x_gradient",
        "--area",
        area,
        "-o",
        tmp_path,
        "--json",
    ]
    code, output, error = run("explain", clips[0], *options)
    assert code == 0, error
    (result,) = json.loads(output)
    if area == "0.3":
        assert result["scores"]["MM"] == pytest.approx(0.3, abs=1e-4)
    elif area == "sufficient" or result["decisive"] is None:
        assert result["scores"]["MM"] == pytest.approx(result["sufficient"], abs=1e-4)
    else:
        assert result["scores"]["MM"] == pytest.approx(result["decisive"], abs=1e-4)


def test_mistakes_are_reported_in_one_line(assert_error, clips, common, classifier_folder, tmp_path, monkeypatch):
    explain = ["explain", clips[0], *common]
    assert_error([*explain, "--target", "cat"], "'cat'", "dog, rain, helicopter")
    assert_error(["explain", tmp_path / "no.wav", *common], "no.wav: no such file")
    assert_error([*explain, "--method", "lmac"], "holds PIQ, not lmac")
    assert_error([*explain, "--device", "abacus"], "--device abacus: cannot be used")
    assert_error([*explain, "--threshold", "0.5"], "threshold: this interpreter")
    assert_error([*explain, "--area", "0.1"], "area: PIQ takes its options from")
    assert_error([*explain, "--area", "all"], "area")

    def refuse(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("soundfile.write", refuse)
    assert_error(explain, "original.wav: cannot be written", "No space left")


def test_exit_codes_of_several_recordings(run, common, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    good, bad = folder / "good.wav", folder / "bad.wav"
    soundfile.write(good, 0.1 * torch.randn(4000).numpy(), 16_000)
    bad.write_bytes(b"")
    code, output, error = run("explain", folder, *common)
    assert code == 1
    assert output.count(f"-> {tmp_path}") == 1
    assert "1 explained, 1 failed" in error
    code, _, error = run("explain", folder, *common, "--skip_existing")
    assert code == 1
    assert "0 explained, 1 skipped, 1 failed" in error
    code, output, _ = run("explain", good, bad, *common, "--json")
    assert code == 1
    explained, failed = json.loads(output)
    assert (explained["status"], explained["file"]) == ("explained", str(good))
    assert (failed["status"], failed["file"]) == ("failed", str(bad))


def test_exit_codes_of_a_single_recording(run, common, clips, tmp_path):
    assert run("explain", clips[0], *common)[0] == 0
    (tmp_path / "bad.wav").write_bytes(b"")
    code, _, error = run("explain", tmp_path / "bad.wav", *common)
    assert code == 2
    assert "is empty" in error


def test_one_class_against_another(run, assert_error, clips, classifier_folder, tmp_path):
    explain = ["explain", clips[0], "--model", classifier_folder, "--method", "saliency", "--area", "0.1"]
    explain += ["--out", tmp_path / "out", "--json"]
    code, output, error = run(*explain, "--target", "rain", "--against", "dog")
    assert code == 0, error
    (line,) = json.loads(output)
    assert line["label"] == "rain"
    saved = json.loads((tmp_path / "out" / clips[0].stem / "explanation.json").read_text())
    assert set(saved["probabilities"]) == {"rain", "dog"}
    assert any("rain against dog" in note for note in saved["notes"])
    assert_error([*explain, "--against", "dog"], "--against dog", "--target")
    assert_error([*explain, "--target", "dog", "--against", "dog"], "target itself")


def test_several_targets_have_folders_of_their_own(run, clips, classifier_folder, tmp_path):
    explain = ["explain", clips[0], "--model", classifier_folder, "--method", "saliency", "--area", "0.1"]
    code, output, error = run(*explain, "--target", "rain", "dog", "--out", tmp_path / "out", "--json")
    assert code == 0, error
    assert [line["label"] for line in json.loads(output)] == ["rain", "dog"]
    for label in ("rain", "dog"):
        saved = json.loads((tmp_path / "out" / label / clips[0].stem / "explanation.json").read_text())
        assert saved["label"] == label


def test_a_classifier_alone_is_explained_by_the_default_method(run, clips, classifier_folder, tmp_path):
    code, output, error = run("explain", clips[0], "--model", classifier_folder, "--out", tmp_path, "--json")
    assert code == 0, error
    (result,) = json.loads(output)
    assert result["method"] == METHODS[DEFAULT_METHOD].title
    assert f"it is explained by {result['method']} (method {DEFAULT_METHOD}, which needs no training)" in error
