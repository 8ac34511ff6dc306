"""Scripts of the recipes find their hyperparameter files from any folder."""

import pytest

from otoscope.cli.recipe import script_arguments


@pytest.fixture
def script(tmp_path):
    (tmp_path / "recipe" / "hparams").mkdir(parents=True)
    (tmp_path / "recipe" / "hparams" / "piq.yaml").touch()
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "recipe" / "train_piq.py"


@pytest.mark.parametrize("name", ["hparams/piq.yaml", "hparams/piq.py"])
def test_beside_the_script_or_in_the_current_folder(script, monkeypatch, name):
    folder = script.parent
    monkeypatch.chdir(folder.parent / "elsewhere")
    expected = [str(folder / "hparams" / "piq.yaml"), f"--results_folder={folder / 'results'}", "--seed=1"]
    assert script_arguments(script, [name, "--seed=1"]) == expected
    monkeypatch.chdir(folder)
    assert script_arguments(script, [name]) == ["hparams/piq.yaml", "--results_folder=results"]


def test_other_command_lines_stay(script, monkeypatch):
    monkeypatch.chdir(script.parent.parent)
    assert script_arguments(script, []) == []
    assert script_arguments(script, ["--help"]) == ["--help"]
    assert script_arguments(script, ["absent.yaml"])[0] == "absent.yaml"
