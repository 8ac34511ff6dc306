"""Opening of a model with its classifier, ready to explain recordings."""

from __future__ import annotations

import os
import sys
from typing import Any

from otoscope.classifiers.base import require_classifier
from otoscope.errors import CheckpointError, ConfigurationError, NoInterpreterError, choices
from otoscope.explain.explainer import Explainer
from otoscope.interpreters import is_untrained, make_untrained
from otoscope.loading import load_classifier, load_interpreter
from otoscope.methods import DEFAULT_BLACK_BOX, DEFAULT_METHOD, UNTRAINED, same_method
from otoscope.models import bundled_model


def load(
    path: str | os.PathLike[str] | Any = None,
    method: str | None = None,
    revision: str | None = None,
    **options: Any,
) -> Explainer:
    """Open a model with its classifier, from any source.

    Args:
        path: Source of the model: folder ``model`` in the output folder of ``otoscope train`` or of a recipe,
            ``owner/name`` on the hub, a model folder of SpeechBrain, or the results of one of its trainings
            (default: the bundled model of ten everyday sounds). A classifier, or a pipeline of `transformers`, is
            explained by the named method.
        method: Name of a method (default: that of the interpreter in the folder; of the bundled model, and of a
            classifier without an interpreter, heard agreement, which leads in the heard sound
            (docs/results/trust.md); of a classifier without gradients, segment regression. For a folder without
            an interpreter, the error output says which it is). A method that needs no training (see
            `otoscope.methods.UNTRAINED`) explains the folder's classifier.
        revision: Branch, tag or commit on the hub.
        **options: Options of a method that needs no training.

    Raises:
        CheckpointError: The folder is missing, incomplete, from a newer version, or not to be trusted.
        DownloadError: The model cannot be downloaded.
        ConfigurationError: The folder holds another method, or the named method needs training or does not exist.
    """
    if path is None:
        if revision is not None:
            raise ConfigurationError(f"revision: {revision} needs a path, a repository on the hub")
        path, method = bundled_model(), method or DEFAULT_METHOD
    if not isinstance(path, str | os.PathLike):
        classifier = require_classifier(path)
        usual = DEFAULT_METHOD if classifier.differentiable else DEFAULT_BLACK_BOX
        return Explainer(classifier, make_untrained(method or usual, classifier, **options))
    if method is not None and is_untrained(method):
        # The folder may hold an interpreter too; its classifier alone is opened.
        classifier = load_classifier(path, revision)
        return Explainer(classifier, make_untrained(method, classifier, **options))
    try:
        interpreter, classifier = load_interpreter(path, revision)
    except NoInterpreterError as error:
        if method is not None:
            raise _unknown_method(method, error) from error
        return _with_default_method(path, revision, options)
    except CheckpointError as error:
        if method is None:
            raise
        raise _unknown_method(method, error) from error
    # here the method comes from the folder, and a name can only confirm it
    explainer = Explainer(classifier, interpreter)
    if method is not None and not same_method(method, explainer.method):
        raise ConfigurationError(
            f"method: {path} holds {explainer.method}, not {method}; among the methods that need no training, "
            f"{choices(method, UNTRAINED)}"
        )
    if options:
        raise ConfigurationError(
            f"{', '.join(options)}: {explainer.method} takes its options from {path}; leave them out"
        )
    return explainer


def _with_default_method(path: str | os.PathLike[str], revision: str | None, options: dict[str, Any]) -> Explainer:
    """Open a classifier that has no interpreter, to be explained by the default method, and print which that is."""
    classifier = load_classifier(path, revision)
    method = DEFAULT_METHOD if classifier.differentiable else DEFAULT_BLACK_BOX
    explainer = Explainer(classifier, make_untrained(method, classifier, **options))
    why = "" if classifier.differentiable else " and gives no gradients"
    print(
        f"{path}: holds a classifier without an interpreter{why}; it is explained by {explainer.method} "
        f"(method {method}, which needs no training)",
        file=sys.stderr,
    )
    return explainer


def _unknown_method(method: str, error: CheckpointError) -> ConfigurationError:
    return ConfigurationError(
        f"method: there is no {method!r} that needs no training; {choices(method, UNTRAINED)}; {error}"
    )
