"""Model folders: ``config.json`` says what to build, ``model.safetensors`` holds the weights.

A folder is written under a temporary name and renamed, so that a kill or a full disk never leaves
half a model where a whole one is looked for.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from otoscope.errors import CheckpointError

FORMAT = 1
CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
CLASSIFIER_NAME = "classifier"
"""Folder of the classifier inside an interpreter's folder."""
_OWN_KEYS = ("format", "kind", "class", "init", "labels", "frontend")


def write_folder(folder: str | os.PathLike[str], write: Callable[[Path], None]) -> Path:
    """Calls ``write`` with a temporary folder and renames it to ``folder`` when all went well.

    Raises:
        CheckpointError: Something could not be written; the former folder is left as it was.
    """
    folder = Path(folder)
    temporary = None
    try:
        if folder.exists() and not folder.is_dir():
            raise FileExistsError("a file is in the way")
        if folder.exists() and any(folder.iterdir()) and not (folder / CONFIG_NAME).is_file():
            raise FileExistsError("the folder holds something else than a model")
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        temporary.chmod(0o755)
        write(temporary)
        if folder.exists():
            former = temporary.with_name(temporary.name + "-former")
            folder.rename(former)
            try:
                temporary.rename(folder)
            except OSError:
                former.rename(folder)
                raise
            shutil.rmtree(former)
        else:
            temporary.rename(folder)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: cannot be written ({error}); check the folder and the free space"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def write_model(folder: Path, config: Mapping[str, Any], module: nn.Module) -> None:
    """Writes ``config.json`` and ``model.safetensors`` into an existing folder."""
    # copies: layers may share a tensor, which the format refuses
    weights = {name: value.contiguous().clone() for name, value in module.state_dict().items()}
    save_file(weights, folder / WEIGHTS_NAME)
    text = json.dumps({"format": FORMAT, **config}, indent=2)
    (folder / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")


def is_model_folder(folder: Path) -> bool:
    """Whether a folder's ``config.json`` was written by otoscope; other tools write files of that name too."""
    try:
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "format" in config and "kind" in config


def details_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration holds besides the model itself: metrics and the like."""
    return {name: value for name, value in config.items() if name not in _OWN_KEYS}


def read_config(folder: Path) -> dict[str, Any]:
    """Reads and checks a model folder's ``config.json``."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: is no model folder (no {CONFIG_NAME}); give the folder named `model` that training wrote"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise CheckpointError(f"{path}: is not a configuration written by otoscope")
    if config["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: format {config['format']} is newer than {FORMAT}, which this version reads; update otoscope"
        )
    return config


def load_weights(module: nn.Module, folder: Path) -> None:
    """Loads ``model.safetensors``; every missing, unknown or misshapen parameter is named."""
    path = folder / WEIGHTS_NAME
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); copy or train the model again") from error
    own = module.state_dict()
    faults = [f"{name} is missing" for name in own.keys() - weights.keys()]
    faults += [f"{name} is unknown" for name in weights.keys() - own.keys()]
    faults += [
        f"{name} has shape {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & weights.keys()
        if own[name].shape != weights[name].shape
    ]
    if faults:
        raise CheckpointError(f"{path}: {'; '.join(sorted(faults)[:10])}")
    module.load_state_dict(weights)


def class_path(instance: object) -> str:
    """Import path of an instance's class.

    Raises:
        CheckpointError: The class is nested, so that no import finds it again.
    """
    kind = type(instance)
    if "." in kind.__qualname__:
        raise CheckpointError(f"{kind.__qualname__}: define the class at the top of a module to save it")
    return f"{kind.__module__}.{kind.__qualname__}"


def find_class(config: Mapping[str, Any], folder: Path, base: type) -> Any:
    """The class that a configuration names: ours, or one of the user's that is already imported.

    A model folder may come from anywhere, so it never makes Python import a foreign module.
    """
    module_name, _, name = str(config.get("class", "")).rpartition(".")
    if module_name.split(".")[0] == "otoscope":
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise CheckpointError(f"{folder}: this version of otoscope has no {module_name}") from error
    elif module_name in sys.modules:
        module = sys.modules[module_name]
    else:
        raise CheckpointError(
            f"{folder}: its class {module_name}.{name} is not part of otoscope; if you trust it, "
            f"import {module_name or 'it'} before loading, on the command line by --import"
        )
    kind = getattr(module, name, None)
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise CheckpointError(f"{folder}: {module_name}.{name} is not a {base.__name__}")
    return kind
