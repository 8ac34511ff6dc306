"""The command line in this process, and the models that the recipes leave."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from otoscope.cli.main import main

RECIPES = Path(__file__).parents[2] / "recipes" / "ESC50"
TINY_DATA = ["--data.batch_size=5", "--data.download=false", "--trainer.accelerator=cpu"]
TINY_CLASSIFIER = [
    "--model.classifier.width=6",
    "--model.classifier.head_width=8",
    "--model.learning_rate=5e-3",
    *TINY_DATA,
]
TINY_PIQ = ["--model.codes=12", *TINY_DATA]


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("OTOSCOPE_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))
    # The recipes would fetch published weights.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def run(capsys):
    """A function that runs the command in this process and returns exit code, output and error output."""

    def run(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def assert_error(run):
    """A function that runs the command and asserts that it fails with one line, which contains some words."""

    def check(arguments, *words):
        code, _, error = run(*arguments)
        assert code == 2
        assert error.count("\n") == 1, error
        assert "Traceback" not in error
        for word in words:
            assert word in error

    return check


@pytest.fixture(scope="session")
def conv2d_hparams():
    return RECIPES / "classification" / "hparams" / "conv2d.yaml"


@pytest.fixture(scope="session")
def tiny_classifier():
    """Options that make the recipe of the classifier tiny."""
    return TINY_CLASSIFIER


@pytest.fixture(scope="session")
def tiny_piq():
    """Options that make the recipe of PIQ tiny."""
    return TINY_PIQ


def train_recipes(root, esc50, cache):
    """Copy the recipes to a folder, train classifier and PIQ there, and write the outputs of both beside them."""
    work = root / "ESC50"
    shutil.copytree(RECIPES, work, ignore=shutil.ignore_patterns("results"))
    environment = {**os.environ, "OTOSCOPE_CACHE": str(cache), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    commands = {
        "classification": ["train.py", "hparams/conv2d.yaml", *TINY_CLASSIFIER, "--trainer.max_epochs=2"],
        "interpret": ["train_piq.py", "hparams/piq.yaml", *TINY_PIQ, "--trainer.max_epochs=1", "--json"],
    }
    for folder, command in commands.items():
        finished = subprocess.run(
            [sys.executable, *command, f"--data_folder={esc50}"],
            cwd=work / folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        (root / f"{folder}.txt").write_text(finished.stdout)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, esc50, make_once):
    """A copy of the recipes after classifier and PIQ were trained there, and the outputs of both commands."""
    cache = tmp_path_factory.getbasetemp() / "cli-cache"
    original = make_once("trained-recipes", lambda folder: train_recipes(folder, esc50, cache))
    # Tests write into it, so each process of the suite has a copy; the records of the runs name their folders.
    work = shutil.copytree(original / "ESC50", tmp_path_factory.mktemp("work") / "ESC50")
    for record in work.glob("*/results/*/*/hyperparams.yaml"):
        record.write_text(record.read_text().replace(str(original / "ESC50"), str(work)))
    return work, {folder: (original / f"{folder}.txt").read_text() for folder in ("classification", "interpret")}


@pytest.fixture(scope="session")
def classifier_folder(trained):
    return trained[0] / "classification" / "results" / "conv2d" / "1234" / "model"


@pytest.fixture(scope="session")
def piq_folder(trained):
    return trained[0] / "interpret" / "results" / "piq" / "1234" / "model"
