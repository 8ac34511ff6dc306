"""``otoscope train``: the recipes, their results, and one line for every mistake."""

import json

import lightning
import pytest

LABELS = ["dog", "rain", "helicopter"]  # those of the fixture esc50
QUIET = "--trainer.enable_progress_bar=false"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.yaml"], ["absent.yaml: no such hyperparameter file"]),
        ([], ["hyperparameter file"]),
    ],
)
def test_a_hyperparameter_file_is_needed(assert_error, arguments, words):
    assert_error(["train", *arguments], *words)


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
        (["--import=absent_module"], ["--import absent_module: cannot be imported"]),
    ],
)
def test_mistakes_are_reported_in_one_line(assert_error, conv2d_hparams, tmp_path, esc50, arguments, words):
    common = [f"--data_folder={esc50}", f"--output_folder={tmp_path}", "--trainer.max_epochs=1"]
    assert_error(["train", conv2d_hparams, *common, *arguments], *words)


def test_a_data_folder_that_is_absent(assert_error, conv2d_hparams, tmp_path):
    options = [f"--data_folder={tmp_path / 'nowhere'}", "--data.download=false", f"--out={tmp_path}"]
    assert_error(["train", conv2d_hparams, *options], "nowhere: no such data folder")


def test_an_output_folder_that_is_a_file(assert_error, conv2d_hparams, tmp_path, esc50):
    (tmp_path / "file").write_text("in the way")
    options = [f"--data_folder={esc50}", "-o", tmp_path / "file"]
    assert_error(["train", conv2d_hparams, *options], "file", "cannot be written")


def test_a_broken_hyperparameter_file(assert_error, tmp_path):
    (tmp_path / "broken.yaml").write_text("model: [unclosed\n")
    assert_error(["train", tmp_path / "broken.yaml"], "--config", "broken.yaml: is no YAML (line 2)")


def test_a_full_disk_is_reported_in_one_line(
    assert_error, conv2d_hparams, tiny_classifier, tmp_path, esc50, monkeypatch
):
    def refuse(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", refuse)
    options = [*tiny_classifier, f"--data_folder={esc50}", f"--out={tmp_path}", "--trainer.max_epochs=1", QUIET]
    assert_error(["train", conv2d_hparams, *options], "No space left", "from its last checkpoint")


def test_recipes_leave_models_and_results(trained):
    work, outputs = trained
    classifier = work / "classification" / "results" / "conv2d" / "1234"
    piq = work / "interpret" / "results" / "piq" / "1234"
    assert {path.name for path in classifier.iterdir()} == {
        "checkpoints",
        "confusion.png",
        "hyperparams.yaml",
        "label_encoder.txt",
        "metrics.csv",
        "model",
        "test.json",
        "train_log.txt",
    }
    assert "test accuracy" in outputs["classification"]
    assert "results in results/conv2d/1234" in outputs["classification"]
    assert len(list((piq / "interpretations" / "test").iterdir())) == 6
    assert json.loads((piq / "model" / "config.json").read_text())["kind"] == "interpreter"


def test_json_is_all_of_the_output(trained):
    work, outputs = trained
    results = json.loads(outputs["interpret"])
    piq = work / "interpret" / "results" / "piq" / "1234"
    assert results == json.loads((piq / "test.json").read_text())
    assert results["labels"] == LABELS


def test_test_only_gives_the_same_numbers(trained, esc50, run, tiny_piq, monkeypatch):
    work, outputs = trained
    monkeypatch.chdir(work / "interpret")
    options = [*tiny_piq, f"--data_folder={esc50}", "--test_only", "--json", QUIET]
    code, output, error = run("train", "hparams/piq.yaml", *options)
    assert code == 0, error
    again, before = json.loads(output), json.loads(outputs["interpret"])
    for name, scores in before["scores"].items():
        assert again["scores"][name] == pytest.approx(scores, rel=1e-3, abs=1e-3)


def test_the_saved_options_repeat_the_training(classifier_folder, esc50, run, tmp_path):
    saved = classifier_folder.parent / "hyperparams.yaml"
    code, output, error = run("train", saved, f"--output_folder={tmp_path}", QUIET, "--json")
    assert code == 0, error
    first = json.loads((saved.parent / "test.json").read_text())
    assert json.loads(output)["labels"] == first["labels"]


def test_a_run_with_other_options_is_not_resumed(classifier_folder, esc50, assert_error):
    folder = classifier_folder.parent
    options = ["--data.batch_size=4", f"--data_folder={esc50}", f"--output_folder={folder}"]
    assert_error(
        ["train", folder / "hyperparams.yaml", *options],
        "holds a run with other options",
        "data.init_args.batch_size was 5, is 4",
        "choose another --output_folder",
    )


def test_early_stopping_and_interpreter_callbacks_from_yaml(run, conv2d_hparams, tiny_classifier, tmp_path, esc50):
    text = conv2d_hparams.read_text()
    text += "  callbacks:\n    - class_path: lightning.pytorch.callbacks.EarlyStopping\n"
    text += "      init_args: {monitor: valid_loss, stopping_threshold: 1.0e+9}\n"
    (tmp_path / "early.yaml").write_text(text)
    options = [*tiny_classifier, f"--data_folder={esc50}", f"--output_folder={tmp_path / 'out'}", QUIET]
    code, _, error = run("train", tmp_path / "early.yaml", *options)
    assert code == 0, error
    lines = (tmp_path / "out" / "metrics.csv").read_text().splitlines()
    epochs = {line.split(",")[0] for line in lines[1:]}
    assert epochs <= {"0", "1"}


def test_help_leaves_out_the_options_of_the_trainer(run):
    code, output, _ = run("train", "--help")
    assert code == 0
    assert output.startswith("usage: otoscope train HPARAMS.yaml --data_folder DIR [--test_only] [options]\n")
    assert len(output.splitlines()) < 160
    assert "--trainer.max_epochs" in output
    assert "--trainer.log_every_n_steps" not in output
    code, complete, _ = run("train", "--help_trainer")
    assert code == 0
    assert "--trainer.log_every_n_steps" in complete
    assert len(complete.splitlines()) > len(output.splitlines()) + 200
