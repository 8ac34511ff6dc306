"""Models from wherever they come: folders of ours, SpeechBrain's, and repositories of both on the hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from otoscope import classifiers, interpreters, nn
from otoscope.classifiers import Classifier
from otoscope.errors import CheckpointError
from otoscope.hub import Repository, fetch_files, is_repository_id
from otoscope.interpreters import Interpreter
from otoscope.model_folder import is_model_folder, read_config
from otoscope.nn import NMFDictionary
from otoscope.speechbrain import (
    Source,
    find_source,
    has_interpreter,
    read_classifier,
    read_dictionary,
    read_interpreter,
)

PathOrId = str | os.PathLike[str]


def load_classifier(source: PathOrId, revision: str | None = None) -> Classifier:
    """Opens a classifier, or the classifier that an interpreter explains.

    Args:
        source: A model folder; ``owner/name`` on the hub; SpeechBrain's model folder or training results.
        revision: Branch, tag or commit on the hub.

    Returns:
        Frozen, in evaluation mode.

    Raises:
        CheckpointError: There is no such model, it is incomplete, newer than this version, or not to be trusted.
        DownloadError: It cannot be fetched.
    """
    found = _find(source, revision)
    return classifiers.load_classifier(found) if isinstance(found, Path) else _classifier(found)


def load_interpreter(source: PathOrId, revision: str | None = None) -> tuple[Interpreter[Any], Classifier]:
    """Opens an interpreter and the classifier that it explains; see `load_classifier`."""
    found = _find(source, revision)
    if isinstance(found, Path):
        return interpreters.load_interpreter(found)
    if not has_interpreter(found.hyperparameters):
        raise CheckpointError(
            f"{found.name}: holds a classifier without an interpreter; name a method that needs no training, or "
            f"train one on it, for instance `otoscope train recipes/ESC50/interpret/hparams/piq.yaml "
            f"--model.classifier {source}`"
        )
    return _interpreter(found)


def load_dictionary(source: PathOrId, revision: str | None = None) -> NMFDictionary:
    """Opens an NMF dictionary; see `load_classifier`."""
    found = _find(source, revision)
    return nn.load_dictionary(found) if isinstance(found, Path) else read_dictionary(found)


def load_model(
    source: PathOrId, revision: str | None = None
) -> tuple[Interpreter[Any], Classifier] | Classifier | NMFDictionary:
    """Opens what there is: an interpreter with its classifier, a classifier, or a dictionary."""
    found = _find(source, revision)
    if isinstance(found, Path):
        kind = read_config(found).get("kind")
        if kind == "dictionary":
            return nn.load_dictionary(found)
        return classifiers.load_classifier(found) if kind == "classifier" else interpreters.load_interpreter(found)
    if has_interpreter(found.hyperparameters):
        return _interpreter(found)
    return _classifier(found) if "embedding_model" in found.hyperparameters else read_dictionary(found)


def _classifier(found: Source) -> Classifier:
    classifier = read_classifier(found)
    classifier.details = {"source": f"SpeechBrain: {found.name}"}
    return classifier


def _interpreter(found: Source) -> tuple[Interpreter[Any], Classifier]:
    interpreter, classifier = read_interpreter(found)
    # SpeechBrain's interface takes waveforms as they are, although its trainings bring each to its peak
    interpreter.details = {"source": f"SpeechBrain: {found.name}", "normalize": False}
    return interpreter, classifier


def _find(source: PathOrId, revision: str | None) -> Path | Source:
    """A model folder of ours, perhaps in the hub's cache, or a source of SpeechBrain's."""
    if is_repository_id(source):
        repository = Repository(os.fspath(source), revision)
        found = fetch_files(repository) or find_source(repository)
        if found is None:
            raise CheckpointError(f"{repository}: holds neither a model of otoscope's nor one of SpeechBrain's")
        return found
    if revision is not None:
        raise CheckpointError(f"revision {revision}: {source} is no repository on the hub, which alone has any")
    folder = Path(source)
    if is_model_folder(folder):
        return folder
    return find_source(folder) or folder
