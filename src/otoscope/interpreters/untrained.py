"""Interpreters of the methods that need no training, created by name."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

from otoscope.errors import ConfigurationError, OtoscopeError, choices
from otoscope.methods import UNTRAINED, find_method
from otoscope.signatures import constructor_hints

if TYPE_CHECKING:
    from otoscope.classifiers import Classifier
    from otoscope.interpreters.base import Interpreter


def is_untrained(name: str) -> bool:
    """Return whether there is a method of this name that needs no training."""
    method = find_method(name)
    return method is not None and not method.trained


def make_untrained(name: str, classifier: Classifier, **options: Any) -> Interpreter[Any]:
    """Create the interpreter of a method that needs no training.

    Args:
        name: Name, title or alias of the method; see `otoscope.methods.UNTRAINED`.
        classifier: Classifier to explain, or a pipeline of `transformers`.
        **options: Options of the method's class.

    Raises:
        ConfigurationError: There is no such method, or it has no such option.
        OtoscopeError: The method does not fit the classifier.
    """
    method = find_method(name)
    if method is None or method.trained:
        raise ConfigurationError(f"method: there is no {name!r} that needs no training; {choices(name, UNTRAINED)}")
    classes = importlib.import_module("otoscope.classifiers.base")  # torch is imported when it is needed
    classifier = classes.require_classifier(classifier)
    module, _, class_name = method.class_path.rpartition(".")
    interpreter_class = getattr(importlib.import_module(module), class_name)
    try:
        interpreter: Interpreter[Any] = interpreter_class(classifier, **options)
    except OtoscopeError:
        raise
    except TypeError as error:
        # the message of Python names the unknown option
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        names = [name for name in constructor_hints(interpreter_class) if name not in ("classifier", "return")]
        reason = f"there is no option {unknown[1]!r}; {choices(unknown[1], names)}" if unknown else str(error)
        raise ConfigurationError(f"method {name}: {reason}") from error
    return interpreter
