"""Relative paths in hyperparameter files."""

from pathlib import Path

import pytest

from otoscope.cli.paths import absolute, located, located_options, recipe_folder


def test_the_folder_above_hparams_is_that_of_the_recipe():
    assert recipe_folder(Path("interpret/hparams/piq.yaml")) == Path("interpret")
    assert recipe_folder(Path("configs/piq.yaml")) == Path("configs")


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    (tmp_path / "recipe" / "hparams").mkdir(parents=True)
    (tmp_path / "trained" / "model").mkdir(parents=True)
    (tmp_path / "elsewhere" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "recipe"


def test_paths_lead_to_the_same_place_from_everywhere(recipe, monkeypatch):
    model = str(recipe.parent / "trained" / "model")
    assert located("../trained/model", recipe) == model
    assert located("here", recipe) == "here"  # exists in the current folder only
    assert located("owner/name", recipe) == "owner/name"  # may be an id on the hub
    assert located("../absent", recipe) == str(recipe.parent / "absent")
    assert located(model, recipe) == model
    monkeypatch.chdir(recipe)
    assert located("../trained/model", recipe) == "../trained/model"


def test_options_that_replace_the_paths_of_a_file(recipe):
    model = str(recipe.parent / "trained" / "model")
    content = {
        "model": {"class_path": "X", "init_args": {"classifier": "../trained/model", "dictionary": "owner/name"}},
        "methods": {"PIQ": "../trained/model", "saliency": "saliency"},
    }
    file = recipe / "hparams" / "x.yaml"
    candidates = {"model": {"init_args": {"classifier": ["../trained/model", "owner/name"]}}}
    assert located_options(file, candidates) == [f'--model.init_args.classifier=["{model}", "owner/name"]']
    start = {"model": {"init_args": {"start": ["../trained/model", None]}}}
    assert located_options(file, start) == [f'--model.init_args.start=["{model}", null]']
    assert located_options(file, content) == [
        f"--model.init_args.classifier={model}",
        f'--methods={{"PIQ": "{model}", "saliency": "saliency"}}',
    ]


def test_a_record_does_not_depend_on_what_exists_by_now(recipe):
    assert absolute("../absent/model") == str(recipe.parent / "absent" / "model")
    assert absolute("here") == str(recipe.parent / "elsewhere" / "here")
    assert absolute("owner/name") == "owner/name"
