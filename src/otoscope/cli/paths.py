"""Relative paths in hyperparameter files: they start at the folder of the recipe, from wherever it is run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_OPTIONS = (
    "model.init_args.classifier",
    "model.init_args.dictionary",
    "model.init_args.start",
    "model.init_args.noise_folder",
    "data.init_args.data_folder",
    "classifier",
    "conditions.wham.folder",
    "conditions.speech.folder",
)
"""Options whose value may be a path, or a list of paths and ids on the hub."""
_PREFIXES = (".", "results/")
"""Starts of values that are paths, whether they exist or not."""
_METHODS = "methods"
_HPARAMS = "hparams"


def recipe_folder(file: Path) -> Path:
    """Return the folder that relative paths of a hyperparameter file start from.

    It is the folder of the file, or the one above if that is named ``hparams``, as in the recipes.
    """
    return file.parent.parent if file.absolute().parent.name == _HPARAMS else file.parent


def located(value: str, folder: Path) -> str:
    """Return where a path in a hyperparameter file leads.

    Args:
        value: Value of the file.
        folder: Folder that relative paths start from.

    Returns:
        The value, if it is no relative path, or if it exists in the current folder only. Otherwise the path below
        ``folder``, also if it does not exist but clearly is a path, so that an error names the place to fill.
    """
    if not value or Path(value).is_absolute() or folder.absolute() == Path.cwd():
        return value
    path = Path(os.path.normpath(folder.absolute() / value))
    return str(path) if path.exists() or (value.startswith(_PREFIXES) and not Path(value).exists()) else value


def absolute(value: str) -> str:
    """Return a path of the current folder as an absolute one; what may be an id on the hub stays as it is."""
    if Path(value).exists() or value.startswith(_PREFIXES):
        return os.path.normpath(Path(value).absolute())
    return value


def located_options(file: Path, content: Mapping[str, Any]) -> list[str]:
    """Return the options that replace relative paths of a hyperparameter file by where they lead.

    Args:
        file: The hyperparameter file.
        content: Its content.
    """
    folder = recipe_folder(file)
    options = []
    for name, value in path_options(content):
        places = [located(path, folder) for path in paths_of(value)]
        if places != paths_of(value):
            options.append(f"--{name}={places[0] if isinstance(value, str) else json.dumps(places)}")
    if isinstance(methods := content.get(_METHODS), dict):
        specs = {name: located(spec, folder) if isinstance(spec, str) else spec for name, spec in methods.items()}
        if specs != methods:
            options.append(f"--{_METHODS}={json.dumps(specs)}")
    return options


def path_options(content: Mapping[str, Any]) -> Iterator[tuple[str, str | list[str]]]:
    """Yield the dotted names and the values of the options that may be paths."""
    for name in _OPTIONS:
        value: Any = content
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(path, str) for path in value)):
            yield name, value


def paths_of(value: str | list[str]) -> list[str]:
    """Return a path, or a list of them, as a list."""
    return [value] if isinstance(value, str) else value


def is_path_option(name: str) -> bool:
    """Return whether the value of a dotted option may be a path."""
    return name in _OPTIONS
