"""Every class of otoscope has a kind, and folders of version 0.1, which hold import paths, still open."""

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import otoscope
from otoscope.classifiers import ContrastClassifier
from otoscope.interpreters import Interpreter
from otoscope.store import kinds
from otoscope.store.folder import StoredModel, open_model
from otoscope.store.kinds import KINDS, class_path_of, kind_of

FOLDERS = Path(__file__).with_name("folders_of_version_0_1.zip")
"""One model folder of each kind, written by version 0.1; all floating-point weights are 0.25."""


class Net(torch.nn.Module):
    """The module of the torch classifier, which its folder does not hold."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(65, 2)

    def forward(self, log_magnitude):
        return self.head(log_magnitude.mean(-1))


GIVEN = {
    "callable": {"function": lambda waveforms: np.full((len(waveforms), 2), 0.5, np.float32)},
    "torch": {"module": Net()},
}
EXTRAS = {"onnx": "onnxruntime", "transformers": "transformers"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    with zipfile.ZipFile(FOLDERS) as archive:
        root = tmp_path_factory.mktemp("folders")
        archive.extractall(root)
    return root


def shipped_classes():
    """Return the concrete models of all modules of otoscope."""
    classes = set()
    for package in ("classifiers", "interpreters", "nn"):
        path = importlib.import_module(f"otoscope.{package}").__path__
        for module in pkgutil.walk_packages(path, f"otoscope.{package}."):
            for member in vars(importlib.import_module(module.name)).values():
                if isinstance(member, type) and issubclass(member, StoredModel):
                    classes.add(member)
    return {cls for cls in classes if not inspect.isabstract(cls) and cls is not StoredModel}


def test_every_concrete_class_has_a_kind_and_every_kind_a_class():
    # a contrast is made from a classifier where it is asked for, and never saved
    shipped = [cls for cls in shipped_classes() if cls is not ContrastClassifier]
    paths = {f"{cls.__module__}.{cls.__name__}" for cls in shipped}
    assert paths == set(KINDS.values())
    assert len(KINDS) == len(paths)


def test_kinds_and_paths_lead_to_one_another():
    for kind, path in KINDS.items():
        assert kind_of(path) == kind
        assert class_path_of(kind) == path
    assert kind_of("my_package.MyClassifier") == "my_package.MyClassifier"
    for name in ("my_package.MyClassifier", "", "None", "conv3d"):
        assert class_path_of(name) is None


def test_every_kind_of_version_0_1_has_a_former_path():
    assert set(kinds._FORMER_PATHS.values()) <= set(KINDS)
    assert not set(kinds._FORMER_PATHS) & set(KINDS)


def test_the_table_imports_nothing():
    code = "import sys; import otoscope.store.kinds; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("kind", sorted(set(kinds._FORMER_PATHS.values())))
def test_a_folder_of_version_0_1_opens(folders, kind):
    if kind in EXTRAS:
        pytest.importorskip(EXTRAS[kind])
    config = json.loads((folders / kind / "config.json").read_text())
    assert kinds._FORMER_PATHS[config["class"]] == kind
    model = open_model(folders / kind, **GIVEN.get(kind, {}))
    model, *classifier = model if isinstance(model, tuple) else (model,)
    assert kind_of(f"{type(model).__module__}.{type(model).__name__}") == kind
    assert model.details == {name: config[name] for name in ("metrics",) if name in config}
    for part in (model, *classifier):
        assert not part.training
        for value in part.state_dict().values():
            assert not value.is_floating_point() or (value == 0.25).all()
    if isinstance(model, Interpreter):
        assert classifier[0].labels == ["dog", "rain"]
        # later versions may add options
        assert config["init"].items() <= model.config.items()


@pytest.mark.parametrize("kind", ["conv2d", "piq", "grad_cam", "nmf"])
def test_what_is_saved_now_holds_the_kind(folders, kind, tmp_path):
    model = otoscope.load(folders / kind) if kind in ("piq", "grad_cam") else open_model(folders / kind)
    save = model.save if kind == "nmf" else model.save_pretrained
    folder = save(tmp_path / "model")
    assert json.loads((folder / "config.json").read_text())["class"] == kind
    open_model(folder)
