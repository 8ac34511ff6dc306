"""Opening of models from local folders and the hub, saved by otoscope or by SpeechBrain."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from otoscope.candidates import Candidates, PathOrId, choose
from otoscope.classifiers import Classifier
from otoscope.classifiers.base import NORMALIZE
from otoscope.errors import CheckpointError, ConfigurationError, DownloadError, MismatchError, NoInterpreterError
from otoscope.interpreters import Interpreter
from otoscope.nn import NMFDictionary
from otoscope.speechbrain import (
    Source,
    find_source,
    has_classifier,
    has_interpreter,
    load_encoder,
    read_classifier,
    read_dictionary,
    read_interpreter,
)
from otoscope.speechbrain.hyperparameters import FILE_NAME as HYPERPARAMETERS
from otoscope.store.folder import ModelFolder, Place, find_model_folder, locate, open_model
from otoscope.store.hub import Repository

Model = TypeVar("Model")
_HEAD = "head."
"""Start of the names of the parameters that belong to a classifier's head."""


@dataclass(frozen=True)
class Origin:
    """A source that was found.

    Attributes:
        place: Local path, repository, or file in one.
        files: Model folder, or the files of SpeechBrain.
    """

    place: Place
    files: ModelFolder | Source

    @property
    def details(self) -> dict[str, Any]:
        """Where the model comes from: JSON values, kept beside the model."""
        if isinstance(self.files, ModelFolder):
            return {}
        repository = self.files.repository
        commit = {} if repository is None else {"commit": repository.commit}
        remarks = {"remarks": list(self.files.remarks)} if self.files.remarks else {}
        return {"source": f"SpeechBrain: {self.files.name}", **commit, **remarks}

    @property
    def remarks(self) -> list[str]:
        """What had to be assumed to open the model."""
        return [] if isinstance(self.files, ModelFolder) else self.files.remarks


def load_classifier(source: Candidates, revision: str | None = None, **arguments: Any) -> Classifier:
    """Open a classifier, or the classifier that an interpreter explains.

    Args:
        source: Model folder, ``owner/name`` on the hub, a model folder or the training results of SpeechBrain, or a
            file of its weights, also as ``owner/name/file.ckpt``. Of a list of sources, the first that exists is
            opened, and a line is printed that says which.
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

    def read(origin: Origin) -> Classifier:
        if isinstance(origin.files, ModelFolder):
            classifier: Classifier = open_model(origin.files, role="classifier", **arguments)
            return classifier
        if arguments:
            raise ConfigurationError(
                f"{', '.join(arguments)}: a classifier of SpeechBrain ({origin.files.name}) takes no arguments"
            )
        return _classifier(origin, origin.files)

    return _open("classifier", source, revision, read)


def load_interpreter(source: Candidates, revision: str | None = None) -> tuple[Interpreter[Any], Classifier]:
    """Open an interpreter and the classifier that it explains; see `load_classifier`."""

    def read(origin: Origin) -> tuple[Interpreter[Any], Classifier]:
        if isinstance(origin.files, ModelFolder):
            interpreter, classifier = open_model(origin.files, role="interpreter")
            return interpreter, classifier
        if not has_interpreter(origin.files):
            _raise_if_offline(origin.place)
            raise NoInterpreterError(
                f"{origin.files.name}: holds a classifier without an interpreter; name a method that needs no "
                "training, or train one on it, for instance "
                f"`otoscope train recipes/ESC50/interpret/hparams/piq.yaml --model.classifier {origin.files.name}`"
            )
        return _interpreter(origin, origin.files)

    return _open("interpreter", source, revision, read)


def load_dictionary(source: Candidates, revision: str | None = None) -> NMFDictionary:
    """Open an NMF dictionary; see `load_classifier`."""

    def read(origin: Origin) -> NMFDictionary:
        if isinstance(origin.files, ModelFolder):
            dictionary: NMFDictionary = open_model(origin.files, role="dictionary")
            return dictionary
        return _dictionary(origin, origin.files)

    return _open("dictionary", source, revision, read)


def load_model(
    source: PathOrId, revision: str | None = None
) -> tuple[Interpreter[Any], Classifier] | Classifier | NMFDictionary:
    """Open what the source holds: an interpreter with its classifier, a classifier, or a dictionary."""
    origin = _find(source, revision)
    if isinstance(origin.files, ModelFolder):
        model: tuple[Interpreter[Any], Classifier] | Classifier | NMFDictionary = open_model(origin.files)
        return model
    if has_interpreter(origin.files):
        return _interpreter(origin, origin.files)
    if has_classifier(origin.files):
        return _classifier(origin, origin.files)
    return _dictionary(origin, origin.files)


def load_start(classifier: Classifier, source: Candidates | Sequence[PathOrId | None]) -> bool:
    """Load the weights that the training of a classifier starts from; its head stays as it is.

    A line is printed that says which weights were taken, and why.

    Args:
        classifier: Classifier to load into.
        source: Classifier of the same class and sizes, or SpeechBrain's ``embedding_model``; see `load_classifier`.
            None at the end of a list stands for the weights that the classifier has: they stay if the source before
            it does not exist, cannot be fetched or does not fit.

    Returns:
        Whether weights were loaded.

    Raises:
        CheckpointError: There is no such model, or it is damaged.
        MismatchError: It does not fit.
        DownloadError: It cannot be downloaded.
    """
    listed: list[PathOrId | None] = [source] if isinstance(source, str | os.PathLike) else list(source)
    optional = None in listed
    named = [candidate for candidate in listed[: listed.index(None) if optional else None] if candidate is not None]
    if optional and not named:
        return False
    choice = choose(named)
    fault = f"{choice.source} does not exist"
    try:
        if choice.exists or not optional:
            # As a list, so that the source is reported.
            _open("start", named, None, partial(_read_start, classifier))
            return True
    except DownloadError as error:
        if not optional:
            raise
        fault = f"{choice.source} cannot be fetched ({error.cause})"
    except MismatchError as error:
        if not optional:
            raise
        fault = f"{choice.source} does not fit: {error.cause}"
    absent = [f"{path} does not exist" for path in choice.absent]
    print("; ".join(["start: random weights", *absent, fault]), flush=True)
    return False


def _read_start(classifier: Classifier, origin: Origin) -> None:
    """Load everything but the head of a model into a classifier, or nothing if it does not fit."""
    if isinstance(origin.files, Source):
        load_encoder(classifier, origin.files)
        return
    state = open_model(origin.files, role="classifier").state_dict()
    body, present = without_head(state), classifier.state_dict()
    # Checked before, because `load_state_dict` raises its error after it has loaded what fits.
    for name in sorted(body.keys() ^ without_head(present).keys()):
        raise MismatchError(origin.files.path, f"{name} is {'unknown' if name in body else 'missing'}")
    for name, value in body.items():
        if value.shape != present[name].shape:
            shapes = f"{tuple(value.shape)} instead of {tuple(present[name].shape)}"
            raise MismatchError(origin.files.path, f"{name} has shape {shapes}")
    classifier.load_state_dict({**present, **body})


def without_head(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters of a classifier that do not belong to its head.

    Args:
        state: State dict of the classifier.
    """
    return {name: value for name, value in state.items() if not name.startswith(_HEAD)}


def _open(role: str, source: Candidates, revision: str | None, read: Callable[[Origin], Model]) -> Model:
    """Open the first candidate that exists, and print which, if there are several."""
    choice = choose(source)
    try:
        origin = _find(choice.source, revision)
        model = read(origin)
    except DownloadError as error:
        raise choice.unavailable(role, error) from error
    if choice.listed:
        print(choice.report(role, origin.place, origin.remarks), flush=True)
    return model


def _classifier(origin: Origin, source: Source) -> Classifier:
    classifier = read_classifier(source)
    classifier.details = {**origin.details, NORMALIZE: False}  # see `_interpreter`
    return classifier


def _interpreter(origin: Origin, source: Source) -> tuple[Interpreter[Any], Classifier]:
    interpreter, classifier = read_interpreter(source)
    # SpeechBrain's interface does not change the level of a waveform, although its trainings scale each to a peak
    # of 1. So explanations are about the same answers as those of that interface.
    classifier.details = {**origin.details, NORMALIZE: False}
    interpreter.details = origin.details
    return interpreter, classifier


def _dictionary(origin: Origin, source: Source) -> NMFDictionary:
    dictionary = read_dictionary(source)
    dictionary.details = origin.details
    return dictionary


def _find(source: PathOrId, revision: str | None) -> Origin:
    """Return the model folder, or the files of SpeechBrain, at a source."""
    place = locate(source, revision)
    files = find_model_folder(place) or find_source(place)
    if files is not None:
        return Origin(place, files)
    if isinstance(place, Path):
        # raises an error that says what is missing in the folder
        return Origin(place, ModelFolder.read(place))
    _raise_if_offline(place)
    raise CheckpointError(f"{place}: holds neither a model of otoscope nor one of SpeechBrain")


def _raise_if_offline(place: Place) -> None:
    """Raise a `DownloadError` if a repository may have more files than its cache, which holds some of them."""
    if isinstance(place, Repository) and place.offline:
        raise place.missing(HYPERPARAMETERS)
