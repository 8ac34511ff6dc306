"""``otoscope evaluate``: from the command line to the table, and one line for every mistake."""

import json
from pathlib import Path

import pytest
import yaml

from otoscope import cli
from otoscope.classifiers import save_classifier
from otoscope.interpreters import UNTRAINED, PIQInterpreter, save_interpreter

DATA = {
    "class_path": "otoscope.data.Synthetic",
    "init_args": {"clips_per_class": 8, "classes": ["siren", "rooster", "clock_tick"], "duration_s": 0.5},
}


@pytest.fixture
def hparams(classifier, tmp_path):
    save_classifier(classifier, tmp_path / "classifier")
    save_interpreter(PIQInterpreter(classifier, codes=6).eval(), classifier, tmp_path / "piq")
    content = {
        "classifier": str(tmp_path / "classifier"),
        "methods": {"PIQ": str(tmp_path / "piq"), "AMT": "amt"},
        "data": DATA,
        "clips": 4,
        "areas": [0.2],
        "bootstrap": 100,
        "sanity": False,
        "conditions": {"white_noise": False},
        "output_folder": str(tmp_path / "out"),
    }
    path = tmp_path / "eval_tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def _run(capsys, *arguments):
    code = cli.main(["evaluate", *map(str, arguments)])
    output, error = capsys.readouterr()
    return code, output, error


def test_prints_and_writes_the_table(hparams, capsys, tmp_path):
    code, output, _ = _run(capsys, hparams, "--curves=false")
    assert code == 0
    assert "mixture, equal area 0.2, heard" in output
    assert "skipped method AMT" in output
    assert "skipped condition wham" in output
    assert f"results in {tmp_path / 'out'}" in output
    assert not (tmp_path / "out" / "curves.png").exists()
    assert (tmp_path / "out" / "table.txt").read_text() in output + "\n"


def test_json_alone_on_the_output(hparams, capsys):
    code, output, _ = _run(capsys, hparams, "--json", "--clips=3", "--conditions.mixture=false")
    assert code == 0
    results = json.loads(output)
    assert results["conditions"]["clean"]["clips"] == 3
    assert list(results["conditions"]) == ["clean"]


def test_default_folder_and_dotted_overrides(hparams, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--output_folder=null", "--seed=7", "--conditions.mixture=false", "--conditions.wham=null"]
    code, output, _ = _run(capsys, hparams, *options, "--methods.Again", tmp_path / "piq")
    assert code == 0
    assert "skipped condition wham" not in output
    results = json.loads((tmp_path / "results" / "eval_tiny" / "7" / "results.json").read_text())
    assert list(results["seconds_per_clip"]) == ["PIQ", "Again"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bootstarp=5"], ["bootstarp"]),
        (["--conditions.wahm=null"], ["wahm"]),
        (["--data.init_args.clips_per_clas=3"], ["clips_per_clas"]),
        (["--areas=[2.0]"], ["areas", "between 0 and 1"]),
        (["--methods.X=integrated_gardients"], ["methods.X", "integrated_gardients", "amt"]),
        (["--classifier=nowhere"], ["nowhere", "no model folder"]),
        (["--conditions.speech.folder=nowhere"], ["nowhere", "no such folder"]),
        (["--data.init_args.sample_rate_hz=22050"], ["22050 Hz", "16000 Hz"]),
        (["--device=nonsense"], ["--device nonsense"]),
    ],
)
def test_mistakes_are_told_in_one_line(hparams, capsys, arguments, words):
    code, _, error = _run(capsys, hparams, *arguments)
    assert code == 2
    error = error[error.index("otoscope evaluate:") :]
    assert error.count("\n") == 1
    assert all(word in error for word in words), error


def test_methods_by_class_path_and_by_name_with_options(hparams, capsys, tmp_path):
    content = yaml.safe_load(hparams.read_text())
    path = "otoscope.interpreters.PIQInterpreter"
    content["methods"] = {
        "mine": {"class_path": path, "init_args": {"codes": 6}},
        "other": {"class_path": path, "init_args": {"codes": 9}},
        "AMT": {"name": "amt", "quantile": 0.5},
    }
    hparams.write_text(yaml.safe_dump(content))
    code, output, error = _run(capsys, hparams, "--clips=2", "--curves=false")
    assert code == 0, error
    assert "skipped method AMT" in output
    records = json.loads((tmp_path / "out" / "records" / "index.json").read_text())
    assert records["methods"]["mine"] != records["methods"]["other"]
    content["methods"] = {"mine": {"class_path": path, "init_args": {"coeds": 6}}}
    hparams.write_text(yaml.safe_dump(content))
    code, _, error = _run(capsys, hparams)
    assert code == 2
    assert "coeds" in error


def test_needs_a_file(capsys):
    code, _, error = _run(capsys)
    assert code == 2
    assert "otoscope evaluate HPARAMS.yaml" in error


@pytest.mark.parametrize("name", ["eval_conv2d", "eval_cnn14", "eval_synthetic"])
def test_recipes_name_methods_that_exist(name):
    recipe = Path(__file__).parents[2] / "recipes" / "ESC50" / "interpret" / "hparams" / f"{name}.yaml"
    content = yaml.safe_load(recipe.read_text())
    trained = {what for what in content["methods"].values() if "/" in what}
    assert len(trained) == 4
    assert set(content["methods"].values()) - trained <= set(UNTRAINED)
    assert len(set(content["methods"].values())) == len(content["methods"])
