"""``otoscope evaluate``: its outputs, and one line for every mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from otoscope.classifiers import Conv2dClassifier, save_classifier
from otoscope.interpreters import PIQInterpreter, save_interpreter
from otoscope.methods import METHODS, UNTRAINED

CLASSES = ["siren", "rooster", "clock_tick"]
DATA = {
    "class_path": "otoscope.data.Synthetic",
    "init_args": {"clips_per_class": 8, "classes": CLASSES, "duration_s": 0.5},
}


@pytest.fixture
def hparams(experienced, tmp_path):
    """A hyperparameter file of a small evaluation; its models lie beside it."""
    classifier = experienced(Conv2dClassifier(CLASSES, width=6, depth=3, head_width=8, scale=5.0)).freeze()
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
        "randomisation": False,
        "stability": False,
        "conditions": {"white_noise": False},
        "output_folder": str(tmp_path / "out"),
    }
    path = tmp_path / "eval_tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_prints_and_writes_the_table(hparams, run, tmp_path):
    code, output, _ = run("evaluate", hparams, "--curves=false")
    assert code == 0
    assert "mixture, equal area 0.2, heard" in output
    assert "skipped method AMT" in output
    assert "skipped condition wham" in output
    assert f"results in {tmp_path / 'out'}" in output
    assert not (tmp_path / "out" / "curves.png").exists()
    assert (tmp_path / "out" / "table.txt").read_text() in output + "\n"


def test_precision_from_a_shell(hparams, run, tmp_path):
    hparams.write_text(hparams.read_text() + "precision: bfloat16\n")
    quick = [
        "--clips=2",
        "--conditions.mixture=false",
        "--curves=false",
        "--methods={PIQ: " + f"{tmp_path}/piq" + "}",
    ]
    command = [sys.executable, "-m", "otoscope", "evaluate", str(hparams), *quick]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the classifier's network ran in bfloat16" in done.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["settings"]["precision"] == "bfloat16"
    code, _, error = run("evaluate", hparams, *quick, "--precision=float32")
    assert code == 2
    assert "precision was bfloat16, is float32" in error


def test_tables_for_papers_have_what_is_chosen(hparams, run, tmp_path):
    options = [
        "--paper.areas=[own,0.2]",
        "--domains=[heard]",
        "--paper.controls=[random]",
        "--paper.scores=[AD,FF]",
    ]
    quick = ["--curves=false", "--clips=3", "--conditions.mixture=false", "--paper.figures=[svg]"]
    code, output, _ = run("evaluate", hparams, *options, *quick)
    assert code == 0
    assert "for papers paper_table.tex, .md, paper_figure.svg" in output
    lines = (tmp_path / "out" / "paper_table.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("**")] == [
        "**clean, own masks, heard**",
        "**clean, area 0.2, heard**",
    ]
    assert {line.split(" | ")[0].strip("| *") for line in lines if line.startswith("|")} == {
        "method", ":--", "PIQ", "random as PIQ", "random",
    }  # fmt: skip
    assert lines[2] == "| method | AD (%) ↓ | FF ↑ |"
    assert not (tmp_path / "out" / "paper_figure.pdf").exists()


def test_json_is_all_of_the_output(hparams, run):
    code, output, _ = run("evaluate", hparams, "--json", "--clips=3", "--conditions.mixture=false")
    assert code == 0
    results = json.loads(output)
    assert results["conditions"]["clean"]["clips"] == 3
    assert list(results["conditions"]) == ["clean"]


def test_default_folder_and_dotted_overrides(hparams, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--output_folder=null", "--seed=7", "--conditions.mixture=false", "--conditions.wham=null"]
    code, output, _ = run("evaluate", hparams, *options, "--methods.Again", tmp_path / "piq")
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
        (["--paper.areas=[0.7]"], ["paper.areas", "'0.7'", "0.2"]),
        (["--paper.methods=[piq]"], ["paper.methods", "'piq'", "PIQ"]),
        (["--paper.scores=[AJ]"], ["paper.scores", "'AJ'", "AI"]),
        (["--paper.domains=[seen]"], ["domains", "heard"]),
        (["--methods.X=integrated_gardients"], ["methods.X", "integrated_gardients", "amt"]),
        (["--classifier=nowhere"], ["nowhere", "no model folder"]),
        (["--conditions.speech.folder=nowhere"], ["nowhere", "no such folder"]),
        (["--data.init_args.sample_rate_hz=22050"], ["22050 Hz", "16000 Hz"]),
        (["--device=nonsense"], ["--device nonsense"]),
        (["--precision=half"], ["precision", "'half'", "float32, bfloat16"]),
    ],
)
def test_mistakes_are_reported_in_one_line(hparams, run, arguments, words):
    code, _, error = run("evaluate", hparams, *arguments)
    assert code == 2
    error = error[error.index("otoscope evaluate:") :]
    assert error.count("\n") == 1
    assert all(word in error for word in words), error


def test_methods_by_class_path_and_by_name_with_options(hparams, run, tmp_path):
    content = yaml.safe_load(hparams.read_text())
    path = "otoscope.interpreters.PIQInterpreter"
    content["methods"] = {
        "mine": {"class_path": path, "init_args": {"codes": 6}},
        "other": {"class_path": path, "init_args": {"codes": 9}},
        "AMT": {"name": "amt", "quantile": 0.5},
    }
    hparams.write_text(yaml.safe_dump(content))
    code, output, error = run("evaluate", hparams, "--clips=2", "--curves=false")
    assert code == 0, error
    assert "skipped method AMT" in output
    records = json.loads((tmp_path / "out" / "records" / "index.json").read_text())
    assert records["methods"]["mine"] != records["methods"]["other"]
    content["methods"] = {"mine": {"class_path": path, "init_args": {"coeds": 6}}}
    hparams.write_text(yaml.safe_dump(content))
    code, _, error = run("evaluate", hparams)
    assert code == 2
    assert "coeds" in error


def test_a_hyperparameter_file_is_needed(run):
    code, _, error = run("evaluate")
    assert code == 2
    assert "otoscope evaluate HPARAMS.yaml" in error


@pytest.mark.parametrize("name", ["eval_conv2d", "eval_cnn14", "eval_synthetic"])
def test_recipes_name_known_methods(name):
    recipe = Path(__file__).parents[2] / "recipes" / "ESC50" / "interpret" / "hparams" / f"{name}.yaml"
    content = yaml.safe_load(recipe.read_text())
    trained = {spec for spec in content["methods"].values() if "/" in spec}
    assert len(trained) == 4
    untrained = {title: name for title, name in content["methods"].items() if name not in trained}
    assert untrained == {METHODS[name].title: name for name in UNTRAINED}
    assert len(set(content["methods"].values())) == len(content["methods"])


def test_known_use_from_the_command_line(run, tmp_path):
    file = Path(__file__).parents[2] / "recipes" / "ESC50" / "interpret" / "hparams" / "eval_listeners.yaml"
    options = ["--methods", '{"IG": "integrated_gradients"}', "--data.init_args.designs", '["band"]']
    code, output, error = run("evaluate", str(file), *options, "--clips=1", f"--output_folder={tmp_path}", "--json")
    assert code == 0, error
    results = json.loads(output)
    assert results["means"]["truth"]["rank"] == 1
    assert results["means"]["IG"]["rank"] > results["means"]["loudest"]["rank"]
    assert json.loads((tmp_path / "known_use.json").read_text()) == results


def test_planted_cues_from_the_command_line(run, hparams, tmp_path):
    content = yaml.safe_load(hparams.read_text())
    content["data"] = {
        "class_path": "otoscope.data.PlantedCues",
        "init_args": {
            "of": "Synthetic",
            "of_options": DATA["init_args"],
            "cues": {"siren": {"kind": "tone", "level_db": [-20, -10]}, "rooster": "hum"},
        },
    }
    hparams.write_text(yaml.safe_dump(content))
    code, output, error = run("evaluate", str(hparams), "--json")
    assert code == 0, error
    assert set(json.loads(output)["reliance"]) == {"tone (siren)", "hum (rooster)"}
    code, _, error = run("evaluate", str(hparams), '--data.init_args.cues={"whale": "hum"}')
    assert code == 2
    assert "whale" in error
