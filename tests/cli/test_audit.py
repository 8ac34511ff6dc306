"""``otoscope audit``: exit codes, JSON, options, and errors in one line."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from otoscope.audio import save_audio

MODULE = "cheats_of_audit"
SOURCE = Path(__file__).parents[1] / "audit" / "cheats.py"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a module, two models of its class, and labelled clips with a planted tone."""
    root = tmp_path_factory.mktemp("audit")
    shutil.copy(SOURCE, root / f"{MODULE}.py")
    sys.path.insert(0, str(root))
    try:
        cheats = importlib.import_module(MODULE)
        for name, is_cheat in (("cheat", True), ("honest", False)):
            cheats.SpectrumClassifier(cheats.LABELS, cheats=is_cheat).save_pretrained(root / name)
        for target, label in enumerate(cheats.LABELS):
            for number in range(8):
                sound = cheats.make_clip(target, number, cheats.planted_cue()).waveform
                save_audio(root / "data" / label / f"{label}{number}.wav", sound)
        yield root
    finally:
        sys.path.remove(str(root))
        sys.modules.pop(MODULE, None)


@pytest.fixture
def audit(run, place, monkeypatch):
    """A function that audits one of the models."""
    monkeypatch.chdir(place)

    def audit(model, out, *options):
        shared = [
            "--import",
            MODULE,
            "--data_folder",
            "data",
            "--quick",
            "--workers",
            "1",
            "--method",
            "none",
            "--output_folder",
            out,
        ]
        return run("audit", "--model", model, *shared, *options)

    return audit


def test_fails_on_a_shortcut_and_resumes(audit, tmp_path):
    code, output, error = audit("cheat", tmp_path, "--fail_on", "shortcut")
    assert code == 1
    assert output.startswith("1 shortcut among")
    assert "class middle: removing the band" in output
    assert "answers of the classifier" in error
    result = json.loads((tmp_path / "audit.json").read_text())
    assert result["verdict"] == "shortcut"
    assert (tmp_path / result["suspects"][0]["sounds"]["clip"]).is_file()
    # the same command computes nothing again; without --fail_on a shortcut is no failure
    code, output, _ = audit("cheat", tmp_path, "--json")
    assert code == 0
    assert json.loads(output)["conditions"]["answers"] == 0


def test_a_clean_classifier_passes(audit, tmp_path):
    code, output, _ = audit("honest", tmp_path, "--fail_on", "unclear", "--band_hz", "2900", "3100")
    assert code == 0
    assert output.startswith("0 shortcuts")
    assert "no effect on the classes" in output


def test_compares_two_models(audit, tmp_path):
    code, output, _ = audit("honest", tmp_path, "--against", "cheat", "--fail_on", "shortcut")
    assert code == 1
    assert "only in the second: class middle" in output
    assert json.loads((tmp_path / "comparison.json").read_text())["verdicts"] == ["clean", "shortcut"]


def test_errors_name_the_option(assert_error, place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    start = ["audit", "--import", MODULE, "--model", "cheat", "--output_folder", tmp_path, "--data_folder"]
    assert_error([*start, "absent"], "--data_folder absent", "does not exist")
    assert_error([*start, "data", "--band_hz", "100", "9000"], "--band_hz", "8000")
    assert_error([*start, "data", "--cue", "absent.wav"], "--cue absent.wav")
    assert_error([*start, "data", "--workers", "0"], "--workers")
    assert_error([*start, "data", "--folds", "1"], "--folds", "no folds")
    assert_error([*start, "data", "--fail_on", "everything"], "fail_on")
    assert_error([*start, "data", "--clips_per_class", "1"], "clips_per_class")
