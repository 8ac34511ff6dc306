"""The command line: one line for every mistake, and the whole way from data to explanation."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from otoscope import cli
from otoscope.errors import OtoscopeError

REPOSITORY = Path(__file__).parents[1]
RECIPES = REPOSITORY / "recipes" / "ESC50"
LABELS = ["dog", "rain", "helicopter"]  # those of the fixture esc50
TINY_CLASSIFIER = [
    "--model.classifier.width=6",
    "--model.classifier.head_width=8",
    "--model.learning_rate=5e-3",
    "--data.batch_size=5",
    "--data.download=false",
    "--trainer.accelerator=cpu",
]
TINY_PIQ = ["--model.codes=12", "--data.batch_size=5", "--data.download=false", "--trainer.accelerator=cpu"]


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("OTOSCOPE_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))


def run_here(capsys, *arguments):
    """Exit code, output and error output of the command in this process."""
    capsys.readouterr()
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    output, error = capsys.readouterr()
    return code, output, error


def assert_one_line(result, *words):
    code, output, error = result
    assert code == 2
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    for word in words:
        assert word in error
    return output


@pytest.fixture(scope="module")
def trained(tmp_path_factory, esc50):
    """What the recipes of classifier and PIQ leave when they run from their own folders."""
    work = tmp_path_factory.mktemp("work") / "ESC50"
    shutil.copytree(RECIPES, work, ignore=shutil.ignore_patterns("results"))
    cache = str(tmp_path_factory.getbasetemp() / "cli-cache")
    environment = {**os.environ, "OTOSCOPE_CACHE": cache, "OMP_NUM_THREADS": "1"}
    outputs = {}
    commands = {
        "classification": ["train.py", "hparams/conv2d.yaml", *TINY_CLASSIFIER, "--trainer.max_epochs=2"],
        "interpret": ["train_piq.py", "hparams/piq_vq.yaml", *TINY_PIQ, "--trainer.max_epochs=1", "--json"],
    }
    for folder, command in commands.items():
        outputs[folder] = subprocess.run(
            [sys.executable, *command, f"--data_folder={esc50}"],
            cwd=work / folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert outputs[folder].returncode == 0, outputs[folder].stderr
    return work, outputs


@pytest.fixture(scope="module")
def model(trained):
    return trained[0] / "interpret" / "results" / "piq_vq" / "1234" / "model"


def test_help_of_the_whole(capsys):
    code, output, _ = run_here(capsys, "--help")
    assert code == 0
    assert all(verb in output for verb in ("demo", "train", "explain"))
    assert run_here(capsys) == (2, output, "")
    assert run_here(capsys, "--version")[1].startswith("otoscope ")


@pytest.mark.parametrize(
    ("verb", "option"), [("train", "--data_folder"), ("explain", "--target"), ("demo", "--seed")]
)
def test_help_of_each_verb(capsys, verb, option):
    code, output, _ = run_here(capsys, verb, "--help")
    assert code == 0
    assert f"otoscope {verb}" in output
    if verb != "train":  # a shorthand, which its help need not list
        assert option in output


def test_unknown_verb(capsys):
    assert_one_line(run_here(capsys, "explian"), "no verb 'explian'", "demo, train, explain")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["explain", "a.wav", "--model", "m", "--tagret", "dog"], ["otoscope explain", "--tagret", "--help"]),
        (["explain", "a.wav"], ["model"]),
        (["explain", "--model", "m"], ["audio"]),
        (["explain", "a.wav", "--model", "nowhere"], ["nowhere: is no model folder"]),
        (["demo", "--sead", "1"], ["--sead"]),
        (["demo", "--seed", "one"], ["seed", "one"]),
        (["train", "absent.yaml"], ["absent.yaml: no such hyperparameter file"]),
        (["train"], ["hyperparameter file"]),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, arguments, words):
    assert_one_line(run_here(capsys, *arguments), *words)


CONV2D = RECIPES / "classification" / "hparams" / "conv2d.yaml"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model.lerning_rate=1"], ["lerning_rate"]),
        (["--trainer.maxepochs=1"], ["maxepochs"]),
        (["--trainer.max_epochs=many"], ["max_epochs", "many"]),
        (["--model.classifier.width=0"], ["width (0)"]),
        (["--model.schedule=sometimes"], ["schedule"]),
        (["--data.batch_size=0"], ["batch_size (0)"]),
        (["--data.train_folds=[1,9]"], ["train_folds: there is no fold 9"]),
        (["--data.valid_folds=[3]"], ["valid_folds: fold 3 is in train_folds too"]),
        (["--data.classes=[dragon]"], ["dragon"]),
        (["--model=otoscope.training.Nonsense"], ["Nonsense"]),
        (["--trainer.accelerator=abacus"], ["trainer: ", "abacus"]),
        (["--test_only"], ["best.ckpt: no such checkpoint to test"]),
    ],
)
def test_mistakes_in_a_training_are_told_in_one_line(capsys, tmp_path, esc50, arguments, words):
    common = [f"--data_folder={esc50}", f"--output_folder={tmp_path}", "--trainer.max_epochs=1"]
    assert_one_line(run_here(capsys, "train", CONV2D, *common, *arguments), *words)


def test_a_data_folder_that_is_absent(capsys, tmp_path):
    options = [f"--data_folder={tmp_path / 'nowhere'}", "--data.download=false", f"--output_folder={tmp_path}"]
    assert_one_line(run_here(capsys, "train", CONV2D, *options), "nowhere: no such data folder")


def test_an_output_folder_that_is_a_file(capsys, tmp_path, esc50):
    (tmp_path / "file").write_text("in the way")
    options = [f"--data_folder={esc50}", f"--output_folder={tmp_path / 'file'}"]
    assert_one_line(run_here(capsys, "train", CONV2D, *options), "file", "cannot be written")


def test_a_broken_hyperparameter_file(capsys, tmp_path):
    (tmp_path / "broken.yaml").write_text("model: [unclosed\n")
    assert_one_line(run_here(capsys, "train", tmp_path / "broken.yaml"), "config", "line 1, column 8")


def test_recipes_leave_models_and_results(trained):
    work, outputs = trained
    classifier = work / "classification" / "results" / "conv2d" / "1234"
    piq = work / "interpret" / "results" / "piq_vq" / "1234"
    assert {path.name for path in classifier.iterdir()} == {
        "checkpoints",
        "confusion.png",
        "hparams.yaml",
        "metrics.csv",
        "model",
        "test.json",
    }
    assert "test accuracy" in outputs["classification"].stdout
    assert "results in results/conv2d/1234" in outputs["classification"].stdout
    assert len(list((piq / "interpretations" / "test").iterdir())) == 6
    assert json.loads((piq / "model" / "config.json").read_text())["kind"] == "interpreter"


def test_json_of_a_training_is_all_of_its_output(trained):
    work, outputs = trained
    results = json.loads(outputs["interpret"].stdout)
    piq = work / "interpret" / "results" / "piq_vq" / "1234"
    assert results == json.loads((piq / "test.json").read_text())
    assert results["labels"] == LABELS


def test_test_only_gives_the_same_numbers(trained, esc50, capsys, monkeypatch):
    work, outputs = trained
    monkeypatch.chdir(work / "interpret")
    options = [*TINY_PIQ, f"--data_folder={esc50}", "--test_only", "--json", "--trainer.enable_progress_bar=false"]
    code, output, error = run_here(capsys, "train", "hparams/piq_vq.yaml", *options)
    assert code == 0, error
    again, before = json.loads(output), json.loads(outputs["interpret"].stdout)
    for name, scores in before["scores"].items():
        assert again["scores"][name] == pytest.approx(scores, rel=1e-3, abs=1e-3)


def test_the_saved_options_repeat_the_training(trained, esc50, capsys, tmp_path):
    saved = trained[0] / "classification" / "results" / "conv2d" / "1234" / "hparams.yaml"
    options = [f"--output_folder={tmp_path}", "--trainer.enable_progress_bar=false", "--json"]
    code, output, error = run_here(capsys, "train", saved, *options)
    assert code == 0, error
    first = json.loads((saved.parent / "test.json").read_text())
    assert json.loads(output)["labels"] == first["labels"]


def test_early_stopping_and_interpreter_callbacks_from_yaml(capsys, tmp_path, esc50):
    text = CONV2D.read_text() + "  callbacks:\n    - class_path: lightning.pytorch.callbacks.EarlyStopping\n"
    text += "      init_args: {monitor: valid_loss, stopping_threshold: 1.0e+9}\n"
    (tmp_path / "early.yaml").write_text(text)
    options = [*TINY_CLASSIFIER, f"--data_folder={esc50}", f"--output_folder={tmp_path / 'out'}"]
    code, _, error = run_here(
        capsys, "train", tmp_path / "early.yaml", *options, "--trainer.enable_progress_bar=false"
    )
    assert code == 0, error
    lines = (tmp_path / "out" / "metrics.csv").read_text().splitlines()
    epochs = {line.split(",")[0] for line in lines[1:]}
    assert epochs <= {"0", "1"}


def test_explain_tells_and_saves(model, esc50, capsys, tmp_path):
    clips = sorted((esc50 / "audio").glob("5-*"))[:2]
    code, output, _ = run_here(capsys, "explain", *clips, "--model", model, "--out", tmp_path, "--method", "piq")
    assert code == 0
    assert output.count("with the evidence alone p =") == 2
    for clip in clips:
        assert {"interpretation.wav", "explanation.json"} <= {
            path.name for path in (tmp_path / clip.stem).iterdir()
        }


def test_explain_as_json_for_a_target(model, esc50, capsys, tmp_path):
    clip = next((esc50 / "audio").glob("5-*"))
    options = ["--model", model, "--out", tmp_path, "--json", "--target", "rain"]
    code, output, _ = run_here(capsys, "explain", clip, *options)
    assert code == 0
    (result,) = json.loads(output)
    assert result["label"] == "rain"
    assert result["method"] == "PIQ"
    assert Path(result["folder"]) == tmp_path / clip.stem
    assert set(result["probabilities"]) == set(LABELS)


def test_mistakes_while_explaining_are_told_in_one_line(model, trained, esc50, capsys, tmp_path, monkeypatch):
    clip = next((esc50 / "audio").glob("5-*"))
    common = ["--model", model, "--out", tmp_path]
    assert_one_line(run_here(capsys, "explain", clip, *common, "--target", "cat"), "'cat'", "dog, rain, helicopter")
    assert_one_line(run_here(capsys, "explain", tmp_path / "no.wav", *common), "no.wav: no such file")
    assert_one_line(run_here(capsys, "explain", clip, *common, "--method", "lmac"), "holds PIQ, not lmac")
    assert_one_line(run_here(capsys, "explain", clip, *common, "--device", "abacus"), "abacus")
    assert_one_line(run_here(capsys, "explain", clip, *common, "--threshold", "0.5"), "threshold: this interpreter")
    classifier = trained[0] / "classification" / "results" / "conv2d" / "1234" / "model"
    assert_one_line(run_here(capsys, "explain", clip, "--model", classifier), "without an interpreter")

    def refuse(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("soundfile.write", refuse)
    assert_one_line(run_here(capsys, "explain", clip, *common), "original.wav: cannot be written", "No space left")


def test_a_full_disk_while_training_is_told_in_one_line(capsys, tmp_path, esc50, monkeypatch):
    import lightning

    def refuse(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", refuse)
    options = [*TINY_CLASSIFIER, f"--data_folder={esc50}", f"--output_folder={tmp_path}", "--trainer.max_epochs=1"]
    options += ["--trainer.enable_progress_bar=false"]
    assert_one_line(
        run_here(capsys, "train", CONV2D, *options), "No space left", "goes on from its last checkpoint"
    )


def test_ctrl_c_and_errors_have_one_exit_code(capsys, monkeypatch):
    def interrupt(arguments):
        raise KeyboardInterrupt

    def fail(arguments):
        raise OtoscopeError("first line\nsecond line")

    monkeypatch.setattr(cli, "_demo", interrupt)
    assert_one_line(run_here(capsys, "demo"), "otoscope demo: stopped by the keyboard")
    monkeypatch.setattr(cli, "_demo", fail)
    assert_one_line(run_here(capsys, "demo"), "otoscope demo: first line second line")
