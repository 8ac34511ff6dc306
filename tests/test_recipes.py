"""The recipes, run as a user runs them: classifier, dictionary, L2I, L-MAC, explanation, comparison."""

import contextlib
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import soundfile
import torch

from otoscope.audio import Frontend
from otoscope.cli.main import main
from otoscope.explain import load
from otoscope.loading import load_dictionary
from otoscope.nn import NMFDictionary

RECIPES = Path(__file__).parents[1] / "recipes" / "ESC50"
QUICK = ["--data.batch_size=6", "--data.download=false", "--trainer.accelerator=cpu", "--trainer.max_epochs=2"]
NARROW = {
    "conv2d": ["--model.classifier.width=6", "--model.classifier.head_width=8"],
    "cnn14": ["--model.classifier.width=2"],
}


class Finished(NamedTuple):
    """Outputs of a command."""

    stdout: str
    stderr: str


def _run_here(script, arguments):
    if script == "otoscope":
        sys.exit(main(list(arguments)))
    runpy.run_path(script, run_name="__main__")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A copy of the recipes."""
    folder = tmp_path_factory.mktemp("recipes") / "ESC50"
    return shutil.copytree(RECIPES, folder, ignore=shutil.ignore_patterns("results"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, work):
    """A function that runs a script, or ``otoscope``, in a folder of the recipes, but in this process.

    A process of its own would import everything again; the dictionary is trained in one.
    """
    cache = str(tmp_path_factory.getbasetemp() / "recipes-cache")

    def command(folder, script, *arguments, code=0):
        outputs = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(outputs[0]),
            contextlib.redirect_stderr(outputs[1]),
        ):
            patch.chdir(work / folder)
            patch.setenv("OTOSCOPE_CACHE", cache)
            patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
            patch.setattr(sys, "argv", [script, *arguments])
            with pytest.raises(SystemExit) as stop:
                _run_here(script, arguments)
        finished = Finished(*(output.getvalue() for output in outputs))
        assert (stop.value.code or 0) == code, finished.stderr
        return finished

    command.work = work
    return command


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory, work, esc50):
    """Results and output folder of the recipe of the NMF dictionary, run as a user runs it."""
    cache = str(tmp_path_factory.getbasetemp() / "recipes-cache")
    options = [*QUICK, f"--data_folder={esc50}", "--model.components=8", "--json"]
    finished = subprocess.run(
        [sys.executable, "train_nmf.py", "hparams/nmf.yaml", *options],
        cwd=work / "interpret",
        env={**os.environ, "OTOSCOPE_CACHE": cache, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout), work / "interpret" / "results" / "nmf" / "1234"


@pytest.fixture(scope="module", params=["conv2d", "cnn14"])
def trained(request, run, esc50, dictionary):
    """Name of the L2I recipe for a classifier, after the recipes of both have run."""
    name = request.param
    data = [*QUICK, f"--data_folder={esc50}"]
    run("classification", "train.py", f"hparams/{name}.yaml", *NARROW[name], *data)
    recipe = {"conv2d": "l2i_conv2dclassifier", "cnn14": "l2i_cnn14"}[name]
    finished = run("interpret", "train_l2i.py", f"hparams/{recipe}.yaml", *data, "--interpretations.clips=1")
    assert "Fid-L2I" in finished.stdout
    return recipe


def test_nmf_writes_a_dictionary(dictionary):
    results, folder = dictionary
    assert results["nmf"]["lowest_column_norm"] == pytest.approx(1, abs=1e-5)
    assert len(load_dictionary(folder / "model")) == 8
    assert (folder / "components.png").is_file()
    assert len(list((folder / "components").iterdir())) == 8


def test_amortized_nmf(run, esc50):
    options = [*QUICK, f"--data_folder={esc50}", "--model.components=4", "--json"]
    results = json.loads(run("interpret", "train_nmf.py", "hparams/nmf_amortized.yaml", *options).stdout)
    assert results["nmf"]["error"] > 0


def test_test_only_gives_the_same_numbers(run, esc50, trained):
    written = json.loads((run.work / "interpret" / "results" / trained / "1234" / "test.json").read_text())
    options = [*QUICK, f"--data_folder={esc50}", "--test_only", "--json", "--interpretations.clips=0"]
    finished = run("interpret", "train_l2i.py", f"hparams/{trained}.yaml", *options)
    assert json.loads(finished.stdout) == written
    assert 0 <= written["scores"]["L2I"]["Fid-L2I"] <= written["scores"]["L2I"]["Fid-L2I@3"] <= 1


@pytest.mark.parametrize("trained", ["conv2d"], indirect=True)
def test_explains_with_the_sounds_of_components(run, esc50, trained, tmp_path):
    model = run.work / "interpret" / "results" / trained / "1234" / "model"
    clip = esc50 / "audio" / "5-50-A-0.wav"
    arguments = ["otoscope", "explain", str(clip), "--model", str(model), "--out", str(tmp_path), "--threshold"]
    contents = []
    for threshold in ("0.9", "-1"):
        run("interpret", *arguments, threshold)
        contents.append(json.loads((tmp_path / "5-50-A-0" / "explanation.json").read_text()))
    few, many = (content["components"] for content in contents)
    assert [content["relevance_threshold"] for content in contents] == [0.9, -1]
    assert len(few) < len(many)  # few may be empty: the largest contribution may count against the class
    sounds = list((tmp_path / "5-50-A-0" / "components").iterdir())
    assert len(sounds) == 5 < len(many)
    assert soundfile.info(sounds[0]).frames == 8000
    assert load(model).method == "L2I"


@pytest.mark.parametrize("trained", ["conv2d"], indirect=True)
def test_a_dictionary_of_another_rate_is_refused_in_one_line(run, esc50, trained):
    data = [*QUICK, f"--data_folder={esc50}"]
    dictionary = NMFDictionary(torch.rand(513, 3), Frontend(sample_rate_hz=8000))
    dictionary.save(run.work / "interpret" / "results" / "nmf-8k" / "model")
    options = ["--model.dictionary=results/nmf-8k/model", "--output_folder=results/refused"]
    finished = run("interpret", "train_l2i.py", f"hparams/{trained}.yaml", *data, *options, code=2)
    assert finished.stderr.count("\n") == 1
    assert "8000 Hz" in finished.stderr
    assert "16000 Hz" in finished.stderr
    assert "results/nmf-8k/model" in finished.stderr


def test_lmac_fine_tuning_and_comparison(run, esc50, trained):
    name = {"l2i_conv2dclassifier": "conv2d", "l2i_cnn14": "cnn14"}[trained]
    data = [*QUICK, f"--data_folder={esc50}", "--interpretations.clips=1"]
    lmac = ["--trainer.max_epochs=1", "--model.learning_rate=0.001"]
    finished = run("interpret", "train_lmac.py", f"hparams/lmac_{name}.yaml", *data, *lmac)
    assert "L-MAC" in finished.stdout
    if name == "cnn14":
        finished = run("interpret", "train_lmac.py", "hparams/lmac_cnn14_finetune.yaml", *data, *lmac, "--json")
        first, second = (
            json.loads((run.work / "interpret" / "results" / folder / "1234" / "test.json").read_text())
            for folder in ("lmac_cnn14", "lmac_cnn14_finetune")
        )
        assert json.loads(finished.stdout) == second
        assert first["scores"]["L-MAC"] != second["scores"]["L-MAC"]
        return  # one comparison suffices

    classifier = f"../classification/results/{name}/1234/model"
    methods = {"L-MAC": f"results/lmac_{name}/1234/model", "PIQ": "results/nowhere", "refined": "refined"}
    finished = run(
        *("interpret", "eval.py", f"hparams/eval_{name}.yaml", f"--data_folder={esc50}", "--data.download=false"),
        *(f"--classifier={classifier}", f"--methods={json.dumps(methods)}", "--clips=2", "--sanity_clips=1"),
        *("--conditions.white_noise=false", "--json", "--check_clips=1", "--shuffles=2", "--noisy_inputs=0"),
    )
    results = json.loads(finished.stdout)
    assert set(results["skipped"]["methods"]) == {"PIQ"}
    assert set(results["skipped"]["conditions"]) == {"wham", "speech"}
    written = run.work / "interpret" / "results" / f"eval_{name}" / "1234"
    assert json.loads((written / "results.json").read_text()) == results
    for name in ("table.csv", "table.png", "curves.png", "pairs.csv", "records"):
        assert (written / name).exists()
