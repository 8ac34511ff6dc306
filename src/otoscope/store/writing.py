"""Writing of model folders: as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from otoscope.errors import CheckpointError
from otoscope.files.atomic import replace_folder
from otoscope.files.json import json_text
from otoscope.store.kinds import kind_of
from otoscope.store.model import StoredModel
from otoscope.store.places import CONFIG_NAME
from otoscope.store.weights import WEIGHTS_NAME

FORMAT = 1
"""Version of the layout of model folders."""


def write_folder(folder: str | os.PathLike[str], write: Callable[[Path], object]) -> Path:
    """Write a model folder atomically; see `otoscope.files.atomic.replace_folder`.

    Raises:
        CheckpointError: The folder cannot be written, or it exists and holds no model. It is left as it was.
    """
    given = Path(folder)
    # A symbolic link stays, and leads to the new model: only the folder behind it is replaced.
    folder = given.resolve() if given.is_symlink() else given
    # The folder is replaced as a whole, so a wrong name must not delete somebody's files.
    obstacle = None
    if folder.exists() and not folder.is_dir():
        obstacle = "a file of this name exists"
    elif folder.exists() and any(folder.iterdir()) and not (folder / CONFIG_NAME).is_file():
        obstacle = "the folder exists and is not a model folder"
    if obstacle is not None:
        raise CheckpointError(f"{folder}: cannot be written ({obstacle}); choose another folder")
    replace_folder(folder, write, CheckpointError)
    return given


def write_model(model: StoredModel, folder: Path, config: Mapping[str, Any]) -> None:
    """Write ``config.json`` and ``model.safetensors`` into an existing folder.

    Args:
        model: The network.
        folder: Target folder.
        config: Values for the configuration besides format, role and class.

    Raises:
        CheckpointError: The class is not defined at the top of a module, so it could not be imported again.
        OSError: The files cannot be written.
    """
    content = {"format": FORMAT, "kind": model.role, "class": _class_name(model), **config}
    # Copies, because layers may share a tensor, which the file format does not allow.
    weights = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    try:
        save_file(weights, folder / WEIGHTS_NAME)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    # with null in place of NaN, which is no JSON
    (folder / CONFIG_NAME).write_text(json_text(content, indent=2) + "\n", encoding="utf-8")


def _class_name(model: StoredModel) -> str:
    """Return the name of a model's class in a configuration: its kind, or the import path of a user's class."""
    cls = type(model)
    if "." in cls.__qualname__:
        raise CheckpointError(f"{cls.__qualname__}: define the class at the top of a module to save it")
    return kind_of(f"{cls.__module__}.{cls.__qualname__}")
