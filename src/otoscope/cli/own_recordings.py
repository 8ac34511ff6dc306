"""Hyperparameter files of ESC-50, used for the user's own recordings: the data class, and settings that follow."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from otoscope.cli.options import values_of
from otoscope.cli.run_record import LAST_CHECKPOINT, RECORD_NAME, read_record
from otoscope.data import AudioFolder
from otoscope.data.recognised import OWN_RECORDINGS, is_own_recordings
from otoscope.training import ClassifierTraining
from otoscope.training.presets import describe, settings_for, survey

_ESC50 = ("ESC50", "otoscope.data.ESC50", "otoscope.data.esc50.ESC50")
_DATA_FOLDER = "--data.init_args.data_folder"
_FRONTEND = "model.classifier.frontend."


def with_data_class(content: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Name the data class of the user's own recordings, where a file names ESC-50 or nothing.

    Args:
        content: Content of the hyperparameter file.
        overrides: Command line without the file; ``--data`` there is the user's choice and stays.

    Returns:
        The command line, with ``--data`` in front if the data folder holds recordings in another layout.
    """
    overrides = list(overrides)
    if any(values_of(name, overrides) for name in ("--data", "--data.class_path")):
        return overrides
    data = content.get("data") or {}
    class_path = data.get("class_path") if isinstance(data, dict) else data
    options = data.get("init_args") or {} if isinstance(data, dict) else {}
    given = [*values_of(_DATA_FOLDER, overrides), *values_of("--data.data_folder", overrides)]
    folder = given[-1] if given else options.get("data_folder")
    if (class_path and class_path not in _ESC50) or not folder or not is_own_recordings(Path(folder)):
        return overrides
    print(f"{folder}: not in the layout of ESC-50, so it is read as {OWN_RECORDINGS}")
    return ["--data", OWN_RECORDINGS, *overrides]


def settings_of_data(options: Any, content: Mapping[str, Any], overrides: Sequence[str], folder: Path) -> list[str]:
    """Return the options that follow from the user's own recordings, and report them in one line.

    Args:
        options: Parsed options.
        content: Content of the hyperparameter file. If it names `AudioFolder` itself, what it says stays; a file
            for another data set describes the network only.
        overrides: Command line without the file; what it says stays.
        folder: Folder of the run. A run that resumes keeps its settings.

    Raises:
        DataError: The recordings cannot be listed.
    """
    model, data = options.model, options.data
    if not _is_own_training(options) or model.init_args.get("start") is not None:
        return []
    chosen = set(_names_of(overrides))
    named = content.get("data")
    if isinstance(named, dict) and str(named.get("class_path")).endswith(AudioFolder.__name__):
        chosen |= set(_flat(content))
    traits = survey(_recordings(data))
    given = {name: value for name, value in _flat(_plain(options)).items() if name in chosen}
    rate_hz = given.get(f"{_FRONTEND}sample_rate_hz") or given.get("data.sample_rate_hz")
    values = settings_for(traits, rate_hz, given.get(f"{_FRONTEND}window_ms")).options()
    if not _takes_frontend(model):
        values = {name: value for name, value in values.items() if not name.startswith(_FRONTEND)}
    values = {name: value for name, value in values.items() if name not in chosen}
    if (folder / RECORD_NAME).is_file() and (folder / LAST_CHECKPOINT).is_file():
        # Recordings may have been added since the run began; its settings stay.
        recorded = _flat(read_record(folder / RECORD_NAME))
        values = {name: recorded.get(name, value) for name, value in values.items()}
    elif values:
        print(describe(traits, values))
    return list(_arguments(values))


def _is_own_training(options: Any) -> bool:
    return (
        issubclass(_class(options.model.class_path), ClassifierTraining)
        and issubclass(_class(options.data.class_path), AudioFolder)
        and options.data.init_args.get("data_folder") is not None
    )


def _recordings(data: Any) -> Any:
    names = ("data_folder", "csv_file", "train_folds", "valid_folds", "test_folds", "classes")
    options = {name: data.init_args[name] for name in names if name in data.init_args}
    return AudioFolder(**options).recordings()


def _plain(options: Any) -> Any:
    """Convert namespaces of parsed options to dictionaries."""
    return options.as_dict() if hasattr(options, "as_dict") else options


def _takes_frontend(model: Any) -> bool:
    classifier = model.init_args.get("classifier")
    path = classifier.get("class_path") if hasattr(classifier, "get") else None
    return isinstance(path, str) and "frontend" in inspect.signature(_class(path)).parameters


def _arguments(values: Mapping[str, Any]) -> Iterator[str]:
    # As a user types them, which holds whether the classifier stands in the file or on the command line.
    for name, value in values.items():
        yield f"--{name}={str(value).lower() if isinstance(value, bool) else value}"


def _names_of(overrides: Sequence[str]) -> Iterator[str]:
    """Yield the dotted names of a command line's options, without ``init_args``."""
    for argument in overrides:
        if argument.startswith("--"):
            yield argument.removeprefix("--").partition("=")[0].replace(".init_args", "")


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested options to dotted names without ``init_args``."""
    if not isinstance(content, Mapping):
        return {prefix: content}
    result: dict[str, Any] = {}
    for name, value in content.items():
        inner = prefix if name == "init_args" else f"{prefix}.{name}" if prefix else str(name)
        result |= _flat(value, inner)
    return result


def _class(path: str) -> type:
    module, _, name = path.rpartition(".")
    result: type = getattr(importlib.import_module(module), name)
    return result
