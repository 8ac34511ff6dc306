"""Model folders: ``config.json`` describes the model, ``model.safetensors`` holds its weights.

A folder may come from anywhere. Opening one therefore imports only the classes in `otoscope.store.kinds`; classes
of other packages must have been imported before.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from otoscope.errors import CheckpointError, ConfigurationError, OtoscopeError
from otoscope.files.atomic import replace_folder
from otoscope.files.json import read_json
from otoscope.store.hub import RemoteFile, Repository, is_hub_address, is_repository_id
from otoscope.store.kinds import class_path_of, kind_of

FORMAT = 1
CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
CLASSIFIER_NAME = "classifier"
"""Folder of the classifier inside an interpreter's folder."""
_NETWORK_FILES = ("*.onnx", "*.onnx.data", "*.tflite")
_CLASSIFIER_FILES = (f"{CLASSIFIER_NAME}/{CONFIG_NAME}", f"{CLASSIFIER_NAME}/{WEIGHTS_NAME}")
_MODEL_FILES = (WEIGHTS_NAME, *_CLASSIFIER_FILES, *_NETWORK_FILES)
Role = Literal["classifier", "interpreter", "dictionary"]
_RECORD_NAME = "hyperparams.yaml"
# Keys that describe the model itself; all others are its `details`.
_CONFIG_KEYS = ("format", "kind", "class", "init", "labels", "frontend")
_WITH_ARTICLE = {"classifier": "a classifier", "interpreter": "an interpreter", "dictionary": "a dictionary"}


class StoredModel(nn.Module):
    """Base class of the networks that model folders hold: classifiers, interpreters and dictionaries.

    Attributes:
        role: Value of ``kind`` in the folder's configuration.
        details: JSON values kept beside the model, such as ``metrics``.
    """

    role: ClassVar[Role]
    details: dict[str, Any]

    @classmethod
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        """Build the model that a folder describes, before its weights are loaded.

        Args:
            config: Configuration of the folder.
            folder: The folder.
            **given: Arguments that replace those of the configuration.
        """
        raise NotImplementedError

    def check_weights(self, folder: Path) -> None:
        """Raise a `CheckpointError` if the loaded weights are impossible.

        Args:
            folder: Folder they come from, for the message.
        """


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose configuration has been read.

    Attributes:
        path: The folder.
        config: Content of ``config.json``.
    """

    path: Path
    config: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> ModelFolder:
        """Read the configuration of a local folder; see `read_config`."""
        return cls(path, read_config(path))

    @property
    def role(self) -> str | None:
        """Role of the model: classifier, interpreter or dictionary."""
        return self.config.get("kind")


def open_model(
    source: str | os.PathLike[str] | ModelFolder,
    revision: str | None = None,
    role: Role | None = None,
    **given: Any,
) -> Any:
    """Open a model that otoscope saved; frozen, in evaluation mode.

    Args:
        source: Model folder, or ``owner/name`` on the hub.
        revision: Branch, tag or commit on the hub.
        role: Role that the model must have (default: any). With ``"classifier"``, the classifier inside an
            interpreter's folder is opened.
        **given: Arguments of the classifier that replace those in the folder, such as the ``module`` of a
            `TorchClassifier` that was saved as an object.

    Returns:
        The classifier, the dictionary, or the interpreter and its classifier as a tuple.

    Raises:
        CheckpointError: The folder is missing, incomplete, newer than this version, of another role, or its weights
            do not fit.
        DownloadError: The model cannot be fetched.
    """
    folder = source if isinstance(source, ModelFolder) else _model_folder(source, revision)
    if role == "classifier" and folder.role == "interpreter":
        return open_model(ModelFolder.read(folder.path / CLASSIFIER_NAME), role=role, **given)
    if role is not None and folder.role != role:
        raise CheckpointError(f"{folder.path}: {_wrong_role(folder, role)}")
    if folder.role != "interpreter":
        return _build(folder, given)
    # The classifier comes first, because the interpreter is built around it.
    classifier = open_model(ModelFolder.read(folder.path / CLASSIFIER_NAME), role="classifier", **given)
    return _build(folder, {"classifier": classifier}), classifier


def _build(folder: ModelFolder, given: Mapping[str, Any]) -> StoredModel:
    kind = find_class(folder.config, folder.path)
    try:
        model = kind.from_folder(folder.config, folder.path, **given)
    # Our own errors name the fault already. Some of them are ValueErrors, which the next clause would catch.
    except OtoscopeError:
        raise
    # A folder may come from anywhere: a missing key or a value of a wrong type is its fault, not a bug.
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder.path / CONFIG_NAME}: does not describe {_WITH_ARTICLE[kind.role]} ({error})"
        ) from error
    load_weights(model, folder.path)
    # After loading, because values can be impossible although all names and shapes fit.
    model.check_weights(folder.path)
    model.details = {name: value for name, value in folder.config.items() if name not in _CONFIG_KEYS}
    return model.eval().requires_grad_(False)


def _wrong_role(folder: ModelFolder, role: Role) -> str:
    if role == "dictionary":
        return (
            "holds no NMF dictionary; train one, for instance `otoscope train "
            "recipes/ESC50/interpret/hparams/nmf.yaml`"
        )
    if role == "classifier":
        return "holds no classifier; give the folder `model` of a classifier or of an interpreter"
    if folder.role == "dictionary":
        return (
            "holds an NMF dictionary, not an interpreter; train L2I with it, for instance "
            f"`otoscope train recipes/ESC50/interpret/hparams/l2i_cnn14.yaml --model.dictionary {folder.path}`"
        )
    return (
        "holds a classifier without an interpreter; train one on it, for instance "
        f"`otoscope train recipes/ESC50/interpret/hparams/piq.yaml --model.classifier {folder.path}`"
    )


def model_folder_of(source: str | os.PathLike[str]) -> Path:
    """Return the model folder that a path leads to: itself, that of a run, or that of a checkpoint.

    Args:
        source: Model folder, folder of a run (which holds ``model``), or a file in one of these or in a checkpoint
            of SpeechBrain, such as ``psi_model.ckpt``.

    Returns:
        The folder to open; what leads to none stays as it is.
    """
    path = Path(source)
    if path.is_file():
        path = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    inner = path / "model"
    return inner if (inner / CONFIG_NAME).is_file() else path


Place = Path | Repository | RemoteFile


def locate(source: str | os.PathLike[str], revision: str | None = None) -> Place:
    """Return the local path, the repository or the file in one that a source refers to.

    Local paths take precedence over the hub.

    Raises:
        CheckpointError: A revision is given for a local path.
        ConfigurationError: The source is neither a path nor a name.
    """
    if not isinstance(source, str | os.PathLike):
        raise ConfigurationError(
            f"expected a folder or owner/name on the hub, got {type(source).__name__}; networks and pipelines in "
            "memory become classifiers by otoscope.from_pipeline(pipe), TransformersClassifier(model) or "
            "TorchClassifier(module, labels)"
        )
    if is_repository_id(source):
        return Repository(os.fspath(source), revision)
    if is_hub_address(source) and (file := RemoteFile.parse(source, revision)) is not None:
        return file
    if revision is not None:
        raise CheckpointError(
            f"revision {revision}: only repositories on the hub have revisions, and {source} is not one"
        )
    return Path(source)


def find_model_folder(place: Place) -> ModelFolder | None:
    """Return the model folder at a place, or None if otoscope wrote no model there.

    Args:
        place: Local folder, or a repository, whose model files are then fetched. A single file is never a model
            folder.

    Raises:
        CheckpointError: The model is newer than this version, or the folder is that of an unfinished training.
        DownloadError: The model cannot be fetched.
    """
    if isinstance(place, RemoteFile):
        return None
    if isinstance(place, Repository):
        # Only the small configuration first: it shows whether the weights are worth fetching.
        path = place.file(CONFIG_NAME)
        if path is None:
            return None
        folder = path.parent
    else:
        # the folder of a run holds the model in a folder of its own
        folder = model_folder_of(place) if place.is_dir() else place
    try:
        config = read_json(folder / CONFIG_NAME)
    # No readable configuration is no error here: another kind of model may lie at this place.
    except (OSError, ValueError):
        # The record of a run has the name of SpeechBrain's hyperparameter file, and must not be taken for one.
        if (folder / _RECORD_NAME).is_file() and (folder / "checkpoints").is_dir():
            raise CheckpointError(
                f"{folder}: is the folder of a training that has not finished, without a model so far; the command "
                "that started it resumes it"
            ) from None
        return None
    # Other packages write files of this name too.
    if not (isinstance(config, dict) and "format" in config and "kind" in config):
        return None
    _check_config(config, folder)
    if isinstance(place, Repository):
        place.fetch(*_MODEL_FILES)  # opening the folder reports files that the repository does not have
    return ModelFolder(folder, config)


def _model_folder(source: str | os.PathLike[str], revision: str | None) -> ModelFolder:
    """Return the model folder of a source, or raise an error that describes what is there instead."""
    place = locate(source, revision)
    folder = find_model_folder(place)
    if folder is None and isinstance(place, Path):
        return ModelFolder.read(place)  # raises an error that says what is wrong there
    if folder is None:
        raise CheckpointError(
            f"{place}: holds no model that otoscope saved; if it is a SpeechBrain checkpoint, open it with "
            "otoscope.load or `otoscope convert`"
        )
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the ``config.json`` of a model folder.

    Raises:
        CheckpointError: There is none, it is damaged, or newer than this version.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: is no model folder (no {CONFIG_NAME}); give the folder named `model` that training wrote"
        )
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    _check_config(config, folder)
    return dict(config)


def _check_config(config: Any, folder: Path) -> None:
    path = folder / CONFIG_NAME
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise CheckpointError(f"{path}: is not a configuration written by otoscope")
    if config["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: format {config['format']} is newer than {FORMAT}, which this version reads; update otoscope"
        )


def find_class(config: Mapping[str, Any], folder: Path) -> type[StoredModel]:
    """Return the class that a configuration names: one of otoscope, or a user's that is imported already.

    Raises:
        CheckpointError: There is no such class, it is not imported, or it has another role than the configuration.
    """
    name = str(config.get("class", ""))
    path = class_path_of(name)
    module_name, _, class_name = (path or name).rpartition(".")
    # Importing a module runs its code, so only those of otoscope are imported on behalf of a folder.
    if path is not None:
        module = importlib.import_module(module_name)
    elif not module_name or module_name.split(".")[0] == "otoscope":
        raise CheckpointError(f"{folder}: this version of otoscope has no class {name!r}; update otoscope")
    elif module_name in sys.modules:
        module = sys.modules[module_name]
    else:
        raise CheckpointError(
            f"{folder}: its class {name} is not part of otoscope; if you trust it, import {module_name} before "
            "loading, on the command line by --import"
        )
    # The name may be that of anything in the module, so it is checked before it is called.
    kind = getattr(module, class_name, None)
    role = config.get("kind")
    if not (isinstance(kind, type) and issubclass(kind, StoredModel) and kind.role == role):
        raise CheckpointError(f"{folder}: {name} is not {_WITH_ARTICLE.get(str(role), f'of kind {role!r}')}")
    return kind


def load_weights(module: nn.Module, folder: Path) -> None:
    """Load ``model.safetensors`` into a network.

    Raises:
        CheckpointError: The file cannot be read, or parameters are missing, unknown or of another shape. The
            network keeps its weights.
    """
    path = folder / WEIGHTS_NAME
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); copy or train the model again") from error
    # Compared before loading: `load_state_dict` copies the parameters that fit before it raises an error.
    expected = module.state_dict()
    faults = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    faults += [f"{name} is unknown" for name in weights.keys() - expected.keys()]
    faults += [
        f"{name} has shape {tuple(weights[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected.keys() & weights.keys()
        if expected[name].shape != weights[name].shape
    ]
    if faults:
        raise CheckpointError(f"{path}: {'; '.join(sorted(faults)[:10])}")
    module.load_state_dict(weights)


def write_folder(folder: str | os.PathLike[str], write: Callable[[Path], object]) -> Path:
    """Write a model folder atomically; see `otoscope.files.atomic.replace_folder`.

    Raises:
        CheckpointError: The folder cannot be written, or it exists and holds no model. It is left as it was.
    """
    folder = Path(folder)
    # The folder is replaced as a whole, so a wrong name must not delete somebody's files.
    obstacle = None
    if folder.exists() and not folder.is_dir():
        obstacle = "a file of this name exists"
    elif folder.exists() and any(folder.iterdir()) and not (folder / CONFIG_NAME).is_file():
        obstacle = "the folder exists and is not a model folder"
    if obstacle is not None:
        raise CheckpointError(f"{folder}: cannot be written ({obstacle}); choose another folder")
    return replace_folder(folder, write, CheckpointError)


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
    (folder / CONFIG_NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _class_name(model: StoredModel) -> str:
    """Return the name of a model's class in a configuration: its kind, or the import path of a user's class."""
    cls = type(model)
    if "." in cls.__qualname__:
        raise CheckpointError(f"{cls.__qualname__}: define the class at the top of a module to save it")
    return kind_of(f"{cls.__module__}.{cls.__qualname__}")
