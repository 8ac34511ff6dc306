"""Hyperparameter files and shorthands."""

import types

import pytest

from otoscope.cli.hparams import expand_shorthands, output_folder_of, values_of
from otoscope.errors import OtoscopeError


def test_the_file_and_the_data_folder_are_expanded(tmp_path):
    file = tmp_path / "hparams.yaml"
    file.touch()
    arguments = [str(file), "--data_folder=data", "--data_folder", "data", "--data_folders=x"]
    assert expand_shorthands("train", arguments, "--model") == [
        "--config",
        str(file),
        "--data.init_args.data_folder=data",
        "--data.init_args.data_folder",
        "data",
        "--data_folders=x",
    ]


def test_a_file_or_the_required_option_must_be_given():
    assert expand_shorthands("train", ["--seed=1", "--model=X"], "--model") == ["--seed=1", "--model=X"]
    with pytest.raises(OtoscopeError, match=r"otoscope train HPARAMS\.yaml"):
        expand_shorthands("train", ["--seed=1"], "--model")
    with pytest.raises(OtoscopeError, match=r"absent\.yaml: no such hyperparameter file"):
        expand_shorthands("train", ["absent.yaml"], "--model")


def test_values_before_parsing():
    assert values_of("--import", ["--import=a", "--import", "b", "--json"]) == ["a", "b"]


def test_default_output_folder():
    def options(**values):
        return types.SimpleNamespace(
            **{"output_folder": None, "results_folder": "results", "config": None, "seed": 7, **values}
        )

    assert output_folder_of(options(output_folder="here"), "name").as_posix() == "here"
    assert output_folder_of(options(config=["hparams/piq.yaml"]), "name").as_posix() == "results/piq/7"
    assert output_folder_of(options(), "name").as_posix() == "results/name/7"
