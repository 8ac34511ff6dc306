"""Where a model lies: a local folder, a repository on the hub, or a file in one."""

from __future__ import annotations

import os
from pathlib import Path

from otoscope.errors import CheckpointError, ConfigurationError
from otoscope.store.hub import RemoteFile, Repository, is_hub_address, is_repository_id

CONFIG_NAME = "config.json"
CLASSIFIER_NAME = "classifier"
"""Folder of the classifier inside an interpreter's folder."""

Place = Path | Repository | RemoteFile


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
