"""Opening of models from local folders and the hub, saved by otoscope or by SpeechBrain."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from otoscope.classifiers import Classifier
from otoscope.errors import CheckpointError, ConfigurationError
from otoscope.interpreters import Interpreter
from otoscope.nn import NMFDictionary
from otoscope.speechbrain import (
    Source,
    find_source,
    has_interpreter,
    read_classifier,
    read_dictionary,
    read_interpreter,
)
from otoscope.store.folder import ModelFolder, find_model_folder, locate, open_model

PathOrId = str | os.PathLike[str]


def load_classifier(source: PathOrId, revision: str | None = None, **arguments: Any) -> Classifier:
    """Open a classifier, or the classifier that an interpreter explains.

    Args:
        source: Model folder, ``owner/name`` on the hub, or a model folder or the training results of SpeechBrain.
        revision: Branch, tag or commit on the hub.
        **arguments: Arguments of the classifier that replace those in a model folder, such as the ``module`` of a
            `TorchClassifier` that was saved as an object.

    Returns:
        The classifier, frozen and in evaluation mode.

    Raises:
        CheckpointError: There is no such model, or it is incomplete, from a newer version, or not to be trusted.
        DownloadError: The model cannot be downloaded.
        ConfigurationError: Arguments are given for a model of SpeechBrain.
    """
    origin = _find(source, revision)
    if isinstance(origin, ModelFolder):
        classifier: Classifier = open_model(origin, role="classifier", **arguments)
        return classifier
    if arguments:
        raise ConfigurationError(
            f"{', '.join(arguments)}: a classifier of SpeechBrain ({origin.name}) takes no arguments"
        )
    return _classifier(origin)


def load_interpreter(source: PathOrId, revision: str | None = None) -> tuple[Interpreter[Any], Classifier]:
    """Open an interpreter and the classifier that it explains; see `load_classifier`."""
    origin = _find(source, revision)
    if isinstance(origin, ModelFolder):
        interpreter, classifier = open_model(origin, role="interpreter")
        return interpreter, classifier
    if not has_interpreter(origin.hyperparameters):
        raise CheckpointError(
            f"{origin.name}: holds a classifier without an interpreter; name a method that needs no training, or "
            f"train one on it, for instance `otoscope train recipes/ESC50/interpret/hparams/piq.yaml "
            f"--model.classifier {source}`"
        )
    return _interpreter(origin)


def load_dictionary(source: PathOrId, revision: str | None = None) -> NMFDictionary:
    """Open an NMF dictionary; see `load_classifier`."""
    origin = _find(source, revision)
    if isinstance(origin, ModelFolder):
        dictionary: NMFDictionary = open_model(origin, role="dictionary")
        return dictionary
    return read_dictionary(origin)


def load_model(
    source: PathOrId, revision: str | None = None
) -> tuple[Interpreter[Any], Classifier] | Classifier | NMFDictionary:
    """Open what the source holds: an interpreter with its classifier, a classifier, or a dictionary."""
    origin = _find(source, revision)
    if isinstance(origin, ModelFolder):
        model: tuple[Interpreter[Any], Classifier] | Classifier | NMFDictionary = open_model(origin)
        return model
    if has_interpreter(origin.hyperparameters):
        return _interpreter(origin)
    return _classifier(origin) if "embedding_model" in origin.hyperparameters else read_dictionary(origin)


def _classifier(origin: Source) -> Classifier:
    classifier = read_classifier(origin)
    classifier.details = {"source": f"SpeechBrain: {origin.name}"}
    return classifier


def _interpreter(origin: Source) -> tuple[Interpreter[Any], Classifier]:
    interpreter, classifier = read_interpreter(origin)
    # SpeechBrain's interface does not change the level of a waveform, although its trainings scale each to a peak
    # of 1. With ``normalize`` off, `Explainer.interpret_batch` gives the same results as that interface.
    interpreter.details = {"source": f"SpeechBrain: {origin.name}", "normalize": False}
    return interpreter, classifier


def _find(source: PathOrId, revision: str | None) -> ModelFolder | Source:
    """Return the model folder, or the files of SpeechBrain, at a source."""
    place = locate(source, revision)
    origin = find_model_folder(place) or find_source(place)
    if origin is not None:
        return origin
    if isinstance(place, Path):
        # raises an error that says what is missing in the folder
        return ModelFolder.read(place)
    raise CheckpointError(f"{place}: holds neither a model of otoscope nor one of SpeechBrain")
