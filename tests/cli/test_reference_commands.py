"""Commands of the reference's documents, typed as there."""

import importlib
import json
import sys

import pytest
import soundfile
import yaml

from otoscope.cli.paths import paths_of
from otoscope.cli.recipe import run_recipe
from otoscope.explain import load


def read(path):
    return json.loads(path.read_text())


def test_test_only_from_another_folder_repeats_no_override(trained, esc50, tmp_path, monkeypatch, capsys):
    # The reference spells the file with .py; the training had overrides such as 12 codes.
    work, outputs = trained
    monkeypatch.chdir(tmp_path)
    options = ["--test_only", "--json", "--data_folder", str(esc50), "--save_interpretations", "False"]
    code = run_recipe("train", work / "interpret" / "train_piq.py", ["hparams/piq.py", *options])
    output, errors = capsys.readouterr()
    assert code == 0, errors
    before, again = json.loads(outputs["interpret"]), json.loads(output)
    assert again["acc"] == before["acc"]
    for name, scores in before["scores"].items():
        assert again["scores"][name] == pytest.approx(scores, rel=1e-3, abs=1e-3)
    assert list(tmp_path.iterdir()) == []


def test_an_override_that_contradicts_the_run_is_named(trained, esc50, assert_error):
    folder = trained[0] / "interpret"
    options = [
        f"--data_folder={esc50}",
        f"--results_folder={folder / 'results'}",
        "--test_only",
        "--use_vq",
        "False",
    ]
    hparams = folder / "hparams" / "piq.yaml"
    assert_error(["train", hparams, *options], "--test_only: contradicts", "use_vq was True, is False")


def test_the_run_has_the_files_that_users_look_for(trained):
    run = trained[0] / "interpret" / "results" / "piq" / "1234"
    record = yaml.safe_load((run / "hyperparams.yaml").read_text())
    assert record["model"]["init_args"]["codes"] == 12
    # absolute, so that the record holds from any folder
    classifier = trained[0] / "classification" / "results" / "conv2d" / "1234" / "model"
    assert str(classifier.resolve()) in paths_of(record["model"]["init_args"]["classifier"])
    assert (run / "label_encoder.txt").read_text().startswith("'dog' => 0\n'rain' => 1\n")
    epoch, test = (run / "train_log.txt").read_text().splitlines()
    assert epoch.startswith("epoch: 1, lr: ")
    assert test.startswith("Epoch loaded: 1 - test loss: ")


@pytest.fixture
def evaluate(trained, esc50, run):
    """A function that evaluates with the hyperparameter file of the training."""
    folder = trained[0] / "interpret"

    def command(name, *options):
        data = [f"--data_folder={esc50}", f"--results_folder={folder / 'results'}"]
        return run("evaluate", folder / "hparams" / f"{name}.yaml", *data, *options)

    return command


def test_evaluation_with_the_file_of_the_training(evaluate, trained):
    quick = ["--curves=false", "--sanity=false", "--bootstrap=100", "--debug", "False", "--clips=2"]
    quick += ["--randomisation=false", "--stability=false"]
    code, output, error = evaluate("piq", "--overlap_type", "white_noise", "--add_wham_noise", "False", *quick)
    assert code == 0, error
    folder = trained[0] / "interpret" / "results" / "piq" / "1234" / "evaluation"
    results = read(folder / "results.json")
    assert list(results["conditions"]) == ["white_noise"]
    assert list(results["seconds_per_clip"]) == ["PIQ"]
    assert "PIQ" in output


def test_single_sample(evaluate, trained, esc50, tmp_path):
    clip = esc50 / "audio" / "5-50-A-0.wav"
    code, output, error = evaluate("piq", "--single_sample", clip)
    assert code == 0, error
    folder = trained[0] / "interpret" / "results" / "piq" / "1234" / "single_sample" / "5-50-A-0"
    assert str(folder) in output
    assert soundfile.info(folder / "interpretation.wav").frames == 8000
    # with an interpreter that is named, here by its checkpoint
    checkpoint = folder.parents[1] / "checkpoints" / "best.ckpt"
    options = ["--pretrained_interpreter", checkpoint, "--out", tmp_path, "--json"]
    code, output, error = evaluate("lmac_conv2d", f"--single_sample={clip}", *options)
    assert code == 0, error
    assert json.loads(output)["predicted"] == read(folder / "explanation.json")["predicted"]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("lmac_conv2d", [], ["holds no trained interpreter", "otoscope train", "--pretrained_interpreter"]),
        ("nmf", [], ["trains no interpreter"]),
        ("piq", ["--single_sample=absent.wav"], ["absent.wav"]),
        ("piq", ["--number_of_epochs=3"], ["--number_of_epochs: belongs to the training"]),
    ],
)
def test_mistakes_of_an_evaluation(evaluate, name, options, words):
    code, _, error = evaluate(name, *options)
    assert code == 2
    assert error.count("\n") == 1
    assert all(word in error for word in words), error


def test_the_folder_of_a_run_opens_like_its_model(trained):
    run = trained[0] / "interpret" / "results" / "piq" / "1234"
    assert load(run).method == "PIQ"


def test_classes_are_imported_from_the_scripts(trained, monkeypatch):
    monkeypatch.syspath_prepend(trained[0] / "interpret")
    scripts = {
        "train_piq": "PIQ",
        "train_l2i": "L2I",
        "train_lmac": "LMAC",
        "train_heard_lmac": "HeardLMAC",
        "interpret_amt": "InterpreterESC50Brain",
    }
    for script, name in scripts.items():
        module = importlib.import_module(script)
        assert getattr(module, name) is getattr(importlib.import_module("otoscope.training"), name)
        monkeypatch.delitem(sys.modules, script)


@pytest.mark.parametrize(("first", "second"), [("piq", "piq_vq"), ("l2i_conv2dclassifier", "l2i_conv2d")])
def test_files_with_two_names_are_the_same(trained, first, second):
    folder = trained[0] / "interpret" / "hparams"
    contents = [yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in (first, second)]
    assert contents[0] == contents[1]


def test_piq_is_quantised_unless_it_is_plain(trained):
    folder = trained[0] / "interpret" / "hparams"
    use_vq = {
        name: yaml.safe_load((folder / f"{name}.yaml").read_text())["model"]["init_args"].get("use_vq", True)
        for name in ("piq", "piq_vq", "piq_plain")
    }
    assert use_vq == {"piq": True, "piq_vq": True, "piq_plain": False}
