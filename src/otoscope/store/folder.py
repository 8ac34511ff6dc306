"""Model folders: ``config.json`` describes the model, ``model.safetensors`` holds its weights.

A folder may come from anywhere. Opening one therefore imports only the classes in `otoscope.store.kinds`; classes
of other packages must have been imported before.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otoscope.errors import CheckpointError, NoInterpreterError
from otoscope.files.json import read_json
from otoscope.store.building import build_model
from otoscope.store.classes import find_class
from otoscope.store.hub import RemoteFile, Repository
from otoscope.store.model import Role, StoredModel
from otoscope.store.places import CLASSIFIER_NAME, CONFIG_NAME, Place, locate, model_folder_of
from otoscope.store.schema import check_structure, shown
from otoscope.store.weights import WEIGHTS_NAME, load_weights
from otoscope.store.writing import FORMAT, write_folder, write_model

__all__ = [
    "CLASSIFIER_NAME",
    "CONFIG_NAME",
    "FORMAT",
    "WEIGHTS_NAME",
    "ModelFolder",
    "Place",
    "Role",
    "StoredModel",
    "find_class",
    "find_model_folder",
    "load_weights",
    "locate",
    "model_folder_of",
    "open_model",
    "read_config",
    "write_folder",
    "write_model",
]

_NETWORK_FILES = ("*.onnx", "*.onnx.data", "*.tflite")
_CLASSIFIER_FILES = (f"{CLASSIFIER_NAME}/{CONFIG_NAME}", f"{CLASSIFIER_NAME}/{WEIGHTS_NAME}")
_MODEL_FILES = (WEIGHTS_NAME, *_CLASSIFIER_FILES, *_NETWORK_FILES)
_RECORD_NAME = "hyperparams.yaml"
_MOST_BYTES = 16 << 20


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
    def role(self) -> Any:
        """Role of the model: classifier, interpreter or dictionary, if the configuration is right."""
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
        return build_model(*_inner_classifier(folder), given)
    if role is not None and folder.role != role:
        bare = (folder.role, role) == ("classifier", "interpreter")
        error = NoInterpreterError if bare else CheckpointError
        raise error(f"{folder.path}: {_wrong_role(folder, role)}")
    if folder.role != "interpreter":
        return build_model(folder.config, folder.path, given)
    # The classifier comes first, because the interpreter is built around it.
    classifier = build_model(*_inner_classifier(folder), given)
    return build_model(folder.config, folder.path, {"classifier": classifier}), classifier


def _inner_classifier(folder: ModelFolder) -> tuple[dict[str, Any], Path]:
    """Return configuration and folder of the classifier inside the folder of an interpreter."""
    inner = ModelFolder.read(folder.path / CLASSIFIER_NAME)
    if inner.role != "classifier":
        raise CheckpointError(f"{inner.path}: {_wrong_role(inner, 'classifier')}")
    return inner.config, inner.path


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
        config = _read(folder / CONFIG_NAME)
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
        config = _read(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({' '.join(str(error).split())[:300]})") from error
    _check_config(config, folder)
    return dict(config)


def _read(path: Path) -> Any:
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ValueError(f"it has {size} bytes, more than any configuration")
    return read_json(path)


def _check_config(config: Any, folder: Path) -> None:
    path = folder / CONFIG_NAME
    form = config.get("format") if isinstance(config, dict) else None
    if not isinstance(form, int) or isinstance(form, bool):
        raise CheckpointError(f"{path}: is not a configuration written by otoscope")
    if form != FORMAT:
        comparison = "newer than" if form > FORMAT else "unlike"
        raise CheckpointError(
            f"{path}: format {shown(form)} is {comparison} {FORMAT}, which this version reads; update otoscope"
        )
    check_structure(config, path)
