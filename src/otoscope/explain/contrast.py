"""Why one class rather than another: the explainer of a decision between two classes."""

from __future__ import annotations

from typing import Any

from otoscope.classifiers import Classifier, ContrastClassifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters import Interpreter, is_untrained, make_untrained
from otoscope.methods import UNTRAINED, title_of


def contrast(interpreter: Interpreter[Any], target: str, against: str) -> tuple[Classifier, Interpreter[Any]]:
    """Return the decision between two classes as a classifier, and the same method for it.

    Args:
        interpreter: Method, with the classifier that knows both classes.
        target: Class to explain.
        against: Class that it is compared with.

    Raises:
        ConfigurationError: The classifier does not know a class, both are the same, or the method is trained and so
            knows only decisions among all classes.
    """
    method = title_of(type(interpreter))
    if not is_untrained(method):
        raise ConfigurationError(
            f"against: {method} was trained on decisions among all classes; two classes are compared by a method "
            f"that needs no training: {', '.join(UNTRAINED)}"
        )
    classifier = ContrastClassifier(interpreter.classifier, target, against)
    compared = make_untrained(method, classifier, **interpreter.config)
    # Its buffers: recordings that the method compares with, for example.
    compared.load_state_dict(interpreter.state_dict())
    return classifier, compared
