"""Relative paths in hyperparameter files: they start at the folder of the recipe, from wherever it is run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

PathOrPaths = str | list[str | None]
"""One path, or candidates in order; null among them stands for doing without."""
_OPTIONS = (
    "model.init_args.classifier",
    "model.init_args.dictionary",
    "model.init_args.published",
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
        place = map_paths(value, lambda path: located(path, folder))
        if place != value:
            options.append(f"--{name}={place if isinstance(place, str) else json.dumps(place)}")
    if isinstance(methods := content.get(_METHODS), dict):
        specs = {name: located(spec, folder) if isinstance(spec, str) else spec for name, spec in methods.items()}
        if specs != methods:
            options.append(f"--{_METHODS}={json.dumps(specs)}")
    return options


def path_options(content: Mapping[str, Any]) -> Iterator[tuple[str, PathOrPaths]]:
    """Yield the dotted names and the values of the options that may be paths."""
    for name in _OPTIONS:
        value: Any = content
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        is_list = isinstance(value, list) and all(path is None or isinstance(path, str) for path in value)
        if isinstance(value, str) or is_list:
            yield name, value


def paths_of(value: PathOrPaths) -> list[str]:
    """Return a path, or the paths of a list, as a list."""
    return [value] if isinstance(value, str) else [path for path in value if path is not None]


def map_paths(value: PathOrPaths, change: Callable[[str], str]) -> PathOrPaths:
    """Return a path, or a list of them, after a function has changed each path."""
    return change(value) if isinstance(value, str) else [None if path is None else change(path) for path in value]


def is_path_option(name: str) -> bool:
    """Return whether the value of a dotted option may be a path."""
    return name in _OPTIONS
