"""Classifiers in model folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from otoscope.audio import Frontend
from otoscope.classifiers.base import Classifier
from otoscope.errors import CheckpointError
from otoscope.model_folder import (
    CONFIG_NAME,
    class_path,
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


def load_classifier(folder: str | os.PathLike[str]) -> Classifier:
    """Loads a classifier, or the classifier inside a saved interpreter; frozen, in evaluation mode.

    Args:
        folder: What `save_classifier` or the training wrote.

    Raises:
        CheckpointError: The folder is missing, incomplete or newer than this version, or weights do not
            fit; the message names the folder and what is wrong.
    """
    folder = Path(folder)
    config = read_config(folder)
    if config.get("kind") == "interpreter":
        return load_classifier(folder / "classifier")
    kind = find_class(config, folder, Classifier)
    try:
        classifier: Classifier = kind(
            labels=config["labels"], frontend=Frontend(**config["frontend"]), **config["init"]
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG_NAME}: does not describe a classifier ({error})") from error
    load_weights(classifier, folder)
    return classifier.freeze()
