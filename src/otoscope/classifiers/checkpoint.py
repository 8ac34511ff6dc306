"""Classifiers in model folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from otoscope.classifiers.base import Classifier
from otoscope.errors import CheckpointError
from otoscope.hub import fetch_model
from otoscope.model_folder import (
    CLASSIFIER_NAME,
    CONFIG_NAME,
    class_path,
    details_of,
    find_class,
    load_weights,
    read_config,
    write_folder,
    write_model,
)


def save_classifier(classifier: Classifier, folder: str | os.PathLike[str], **extra: Any) -> Path:
    """Saves a classifier with its labels and front-end.

    Args:
        classifier: What to save.
        folder: Replaced as a whole if it exists.
        **extra: JSON values to keep beside it, such as ``metrics``.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    return write_folder(folder, lambda temporary: write_classifier(classifier, temporary, **extra))


def write_classifier(classifier: Classifier, folder: Path, **extra: Any) -> None:
    """Writes a classifier's files into an existing folder."""
    config = {
        "kind": "classifier",
        "class": class_path(classifier),
        "init": classifier.config,
        "labels": classifier.labels,
        "frontend": classifier.frontend.config,
        **extra,
    }
    write_model(folder, config, classifier)
    classifier.write_files(folder)


def load_classifier(folder: str | os.PathLike[str], revision: str | None = None, **given: Any) -> Classifier:
    """Loads a classifier, or the classifier inside a saved interpreter; frozen, in evaluation mode.

    Args:
        folder: What `save_classifier` or the training wrote, or ``owner/name`` on the hub.
        revision: Branch, tag or commit on the hub.
        **given: Arguments of the classifier in place of those in the folder, such as the ``module`` of a
            `TorchClassifier` that was saved as an object.

    Raises:
        CheckpointError: The folder is missing, incomplete or newer than this version, or weights do not
            fit; the message names the folder and what is wrong.
    """
    folder = fetch_model(folder, revision)
    config = read_config(folder)
    if config.get("kind") == "interpreter":
        return load_classifier(folder / CLASSIFIER_NAME, **given)
    kind = find_class(config, folder, Classifier)
    try:
        classifier: Classifier = kind.from_folder(config, folder, **given)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG_NAME}: does not describe a classifier ({error})") from error
    load_weights(classifier, folder)
    classifier.details = details_of(config)
    return classifier.freeze()
