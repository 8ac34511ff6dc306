import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import CheckpointError
from otoscope.files import atomic
from otoscope.store import writing as store
from otoscope.store.folder import StoredModel, find_class, load_weights, read_config, write_folder, write_model


class UserModel(StoredModel):
    """A user's class with a parameter, a buffer in channels-last memory, and a counter."""

    role = "classifier"

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3))
        self.to(memory_format=torch.channels_last)


class NoModel(nn.Module):
    """A user's class that no folder holds."""


CONFIG = {"format": 1, "kind": "classifier", "class": f"{__name__}.UserModel"}


@pytest.fixture
def module():
    return UserModel()


@pytest.fixture
def folder(module, tmp_path):
    return save(module, tmp_path / "model")


def save(module, folder, **config):
    return write_folder(folder, lambda temporary: write_model(module, temporary, config))


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def refusal(call, folder):
    with pytest.raises(CheckpointError) as caught:
        call()
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fail(*_, **__):
    raise OSError(28, "No space left on device")


def test_what_is_written_is_read(folder, module):
    assert read_config(folder) == CONFIG
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for value in module.state_dict().values():
        value.fill_(7)
    load_weights(module, folder)
    after = module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert len(before) == 9


def test_config_holds_every_character(module, tmp_path):
    folder = save(module, tmp_path / "model", labels=["Zaunkönig", "雨"])
    assert read_config(folder)["labels"] == ["Zaunkönig", "雨"]


def test_the_path_is_returned_and_others_may_read_it(module, tmp_path):
    assert save(module, str(tmp_path / "model")) == tmp_path / "model"
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o755


def test_parent_folders_are_created(module, tmp_path):
    folder = save(module, tmp_path / "a" / "b c" / "ü")
    assert names_in(folder) == ["config.json", "model.safetensors"]


def test_a_former_model_is_replaced_completely(module, folder):
    (folder / "old.txt").write_text("from before")
    (folder / "classifier").mkdir()
    save(module, folder)
    assert names_in(folder) == ["config.json", "model.safetensors"]
    assert names_in(folder.parent) == ["model"]


def test_an_empty_folder_is_filled(module, tmp_path):
    (tmp_path / "model").mkdir()
    assert names_in(save(module, tmp_path / "model")) == ["config.json", "model.safetensors"]


def test_a_folder_that_is_no_model_folder_is_not_replaced(module, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("miaow")
    folder = tmp_path / "photos"
    assert "the folder exists and is not a model folder" in refusal(lambda: save(module, folder), folder)
    assert names_in(folder) == ["cat.png"]
    assert names_in(tmp_path) == ["photos"]


def test_a_file_in_place_of_the_parent_folder_is_named(module, tmp_path):
    (tmp_path / "file").write_text("a file")
    folder = tmp_path / "file" / "model"
    assert "cannot be written" in refusal(lambda: save(module, folder), folder)
    assert names_in(tmp_path) == ["file"]


def test_a_file_in_place_of_the_folder_is_not_replaced(module, tmp_path):
    (tmp_path / "model").write_text("something else")
    folder = tmp_path / "model"
    assert "a file of this name exists" in refusal(lambda: save(module, folder), folder)
    assert folder.read_text() == "something else"
    assert names_in(tmp_path) == ["model"]


@pytest.mark.parametrize("failing", ["save_file", "json.dumps", "into place"])
def test_a_failed_save_leaves_the_old_model(module, folder, monkeypatch, failing):
    before = contents(folder)
    if failing == "save_file":
        monkeypatch.setattr(store, "save_file", fail)
    elif failing == "json.dumps":
        monkeypatch.setattr(store, "json_text", fail)
    else:
        monkeypatch.setattr(atomic, "_swap", fail)
    assert "No space left" in refusal(lambda: save(module, folder, step=2), folder)
    assert contents(folder) == before
    assert names_in(folder.parent) == ["model"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, TypeError])
def test_any_other_interruption_leaves_the_old_model(module, folder, monkeypatch, interruption):
    before = contents(folder)

    def interrupted(*_, **__):
        raise interruption

    monkeypatch.setattr(store, "save_file", interrupted)
    with pytest.raises(interruption):
        save(module, folder, step=2)
    assert contents(folder) == before
    assert names_in(folder.parent) == ["model"]


def test_a_failed_first_save_leaves_nothing(module, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "save_file", fail)
    refusal(lambda: save(module, tmp_path / "model"), tmp_path / "model")
    assert names_in(tmp_path) == []


def test_missing_folder(tmp_path):
    folder = tmp_path / "absent"
    assert "is no model folder (no config.json); give the folder" in refusal(lambda: read_config(folder), folder)


def test_folder_without_config(folder):
    (folder / "config.json").unlink()
    assert "no config.json" in refusal(lambda: read_config(folder), folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"format": "1"}', "\x00\xff"])
def test_invalid_config(folder, text):
    (folder / "config.json").write_text(text, encoding="latin-1")
    assert "config.json" in refusal(lambda: read_config(folder), folder)


def test_newer_format_asks_for_an_update(folder):
    (folder / "config.json").write_text(json.dumps({"format": 2}))
    message = refusal(lambda: read_config(folder), folder)
    assert "format 2 is newer than 1, which this version reads; update otoscope" in message


def test_missing_weights(folder, module):
    (folder / "model.safetensors").unlink()
    assert "model.safetensors" in refusal(lambda: load_weights(module, folder), folder)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_truncated_weights(folder, module, length):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert "copy or train the model again" in refusal(lambda: load_weights(module, folder), folder)


def test_a_pickle_is_never_read(folder, module, tmp_path):
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self):
            return Path.touch, (canary,)

    torch.save({"weight": Bomb()}, folder / "model.safetensors")
    refusal(lambda: load_weights(module, folder), folder)
    assert not canary.exists()


def test_every_wrong_parameter_is_named_and_none_is_loaded(folder, module):
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["layers.2.bias"]
    weights["layers.0.weight"] = torch.zeros(50, 4)
    weights["layers.0.bias"] = torch.zeros(3)
    weights["surplus"] = torch.zeros(1)
    save_file(weights, path)
    before = module.layers[0].bias.clone()
    message = refusal(lambda: load_weights(module, folder), folder)
    assert "layers.2.bias is missing" in message
    assert "surplus is unknown" in message
    assert "layers.0.weight has shape (50, 4) instead of (3, 4)" in message
    assert torch.equal(module.layers[0].bias, before)


def test_classes_of_otoscope_are_found_by_their_kind_and_others_by_their_path(folder):
    assert find_class(read_config(folder), folder) is UserModel
    for name in ("conv2d", "otoscope.classifiers.conv2d.Conv2dClassifier"):
        assert find_class({"kind": "classifier", "class": name}, folder) is Conv2dClassifier


def test_a_nested_class_cannot_be_saved(tmp_path):
    class Nested(StoredModel):
        role = "classifier"

    with pytest.raises(CheckpointError, match="Nested: define the class at the top of a module"):
        save(Nested(), tmp_path / "model")
    assert names_in(tmp_path) == []


def test_a_foreign_class_is_not_imported(folder, tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    (tmp_path / "foreign_module.py").write_text(f"import pathlib; pathlib.Path({str(canary)!r}).touch()")
    monkeypatch.syspath_prepend(tmp_path)
    message = refusal(lambda: find_class({"class": "foreign_module.Network"}, folder), folder)
    assert "is not part of otoscope; if you trust it, import foreign_module before loading" in message
    assert not canary.exists()
    assert "foreign_module" not in sys.modules


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("otoscope.nn.unknown.Network", "this version of otoscope has no class 'otoscope.nn.unknown.Network'"),
        ("otoscope.cli.main", "has no class"),
        ("otoscope.classifiers.base.Classifier", "has no class"),
        ("otoscope.errors.OtoscopeError", "has no class"),
        ("os.system", "is not a classifier"),
        ("builtins.exec", "is not a classifier"),
        (f"{__name__}.NoModel", "is not a classifier"),
        ("piq", "is not a classifier"),
        ("otoscope.nn.dictionary.NMFDictionary", "is not a classifier"),
        ("otoscope", "has no class"),
        ("conv3d", "this version of otoscope has no class 'conv3d'; update otoscope"),
        ("", "has no class"),
        (None, "has no class"),
    ],
)
def test_a_name_that_is_no_such_class(folder, name, fault):
    assert fault in refusal(lambda: find_class({"kind": "classifier", "class": name}, folder), folder)


@pytest.mark.parametrize("kind", ["interpreter", "poem", None])
def test_a_role_that_the_class_does_not_have(folder, kind):
    assert "is not" in refusal(lambda: find_class({"kind": kind, "class": "conv2d"}, folder), folder)


def test_a_config_without_class(folder):
    assert "has no class ''" in refusal(lambda: find_class({}, folder), folder)
