"""The methods to compare, from what a configuration names: a model folder, a method without training, a class."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from otoscope.classifiers import Classifier
from otoscope.classifiers.fingerprint import digest, traits_of
from otoscope.errors import ConfigurationError, OtoscopeError
from otoscope.interpreters import Interpreter, is_untrained, make_untrained
from otoscope.loading import load_interpreter
from otoscope.methods import UNTRAINED
from otoscope.scoring import CONTROLS

_NAMED_OR_GIVEN = ("module", "function", "input", "model", "path", "threads")


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        name: As tables show it.
        interpreter: Makes its masks.
        trained: Whether it was trained on the classifier; the others are made from the classifier alone.
        make: Makes the interpreter again, of the classifier as it is then.
        fingerprint: Changes when its scores may.
    """

    name: str
    interpreter: Interpreter[Any]
    trained: bool
    make: Callable[[], Interpreter[Any]]
    fingerprint: str


@dataclass(frozen=True)
class Methods:
    """Methods that can explain the classifier, and why others cannot.

    Attributes:
        ready: By name.
        skipped: Reason by name.
    """

    ready: dict[str, Method]
    skipped: dict[str, str]


def build_methods(wanted: Mapping[str, Any], classifier: Classifier) -> Methods:
    """Makes every method that fits the classifier.

    Args:
        wanted: By display name: a model folder; the name of a method that needs no training; a mapping with
            ``name`` and the options of such a method, or with ``class_path`` and ``init_args``; or an interpreter.
        classifier: What they explain.

    Raises:
        ConfigurationError: A name is unknown, an option is misspelt, or there is no method at all.
    """
    methods = Methods({}, {})
    taken = [name for name in wanted if name in CONTROLS or not name.strip()]
    if taken:
        raise ConfigurationError(f"methods: {taken[0]!r} is the name of a control; choose another")
    for name, what in wanted.items():
        try:
            methods.ready[name] = _build(name, what, classifier)
        except ConfigurationError as error:
            if f"methods.{name}" in str(error):
                raise
            raise ConfigurationError(f"methods.{name}: {error}") from error
        except OtoscopeError as error:
            methods.skipped[name] = str(error)
    return methods


def _build(name: str, what: Any, classifier: Classifier) -> Method:
    if isinstance(what, Interpreter):
        if _asks_again(what) and what.classifier is not classifier:
            raise ConfigurationError(f"methods.{name}: explains another classifier; make it with the one evaluated")
        return _method(name, lambda: what, trained=True)
    if isinstance(what, str) and not is_untrained(what):
        return _trained(name, what, classifier)
    if isinstance(what, str):
        return _method(name, lambda: make_untrained(what, classifier))
    if not isinstance(what, Mapping) or len({"name", "class_path"} & what.keys()) != 1:
        raise ConfigurationError(
            f"methods.{name}: expected a model folder, the name of a method, or a mapping with `name` and options "
            f"or with `class_path` and `init_args`, got {what!r}"
        )
    if "class_path" in what:
        return _method(name, lambda: _of_class(name, what, classifier))
    options = {key: value for key, value in what.items() if key != "name"}
    if not is_untrained(str(what["name"])):
        raise ConfigurationError(f"methods.{name}: {_unknown(str(what['name']))}")
    return _method(name, lambda: make_untrained(str(what["name"]), classifier, **options))


def _method(name: str, make: Callable[[], Interpreter[Any]], trained: bool = False) -> Method:
    interpreter = make()
    kind = type(interpreter)
    content = [kind.__module__, kind.__qualname__, interpreter.config, digest(interpreter)]
    fingerprint = hashlib.sha256(json.dumps(content, default=repr, sort_keys=True).encode()).hexdigest()[:16]

    def again() -> Interpreter[Any]:
        if trained:
            return interpreter
        return make().to(interpreter_device(interpreter)).eval().requires_grad_(False)

    return Method(name, interpreter.eval().requires_grad_(False), trained, again, fingerprint)


def interpreter_device(interpreter: Interpreter[Any]) -> torch.device:
    """Where an interpreter's weights are; the CPU for one without any."""
    return next((value.device for value in interpreter.state_dict().values()), torch.device("cpu"))


def _trained(name: str, folder: str, classifier: Classifier) -> Method:
    if not Path(folder).exists() and "/" not in folder:
        raise ConfigurationError(f"methods.{name}: {_unknown(folder)}")
    interpreter, own = load_interpreter(folder)
    if _without_module(traits_of(own)) != _without_module(traits_of(classifier)):
        raise OtoscopeError(f"{folder} was trained to explain another classifier")
    if _asks_again(interpreter):
        weights = interpreter.state_dict()
        interpreter = type(interpreter)(classifier, **interpreter.config)
        interpreter.load_state_dict(weights)
    return _method(name, lambda: interpreter, trained=True)


def _without_module(traits: dict[str, Any]) -> dict[str, Any]:
    """A network may be given as an object and named in the folder: its weights tell."""
    options = {name: value for name, value in traits["options"].items() if name not in _NAMED_OR_GIVEN}
    return {**traits, "options": options}


def _asks_again(interpreter: Interpreter[Any]) -> bool:
    """Whether it keeps its classifier; it must then ask the one at hand, not its own copy."""
    try:
        return interpreter.classifier is not None
    except AttributeError:
        return False


def _of_class(name: str, what: Mapping[str, Any], classifier: Classifier) -> Interpreter[Any]:
    if unknown := sorted(what.keys() - {"class_path", "init_args"}):
        raise ConfigurationError(
            f"methods.{name}: there is no {', '.join(unknown)} beside class_path and init_args"
        )
    module, _, kind_name = str(what["class_path"]).rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), kind_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"methods.{name}.class_path: cannot be imported ({error})") from error
    if not (isinstance(kind, type) and issubclass(kind, Interpreter)):
        raise ConfigurationError(f"methods.{name}.class_path: {what['class_path']} is no Interpreter")
    options = dict(what.get("init_args") or {})
    first = next(iter(inspect.signature(kind).parameters))
    if options.get(first) is None:  # jsonargparse fills in what is not given, also for the classifier
        options.pop(first, None)
    try:
        made: Interpreter[Any] = kind(classifier, **options)
    except TypeError as error:
        raise ConfigurationError(f"methods.{name}: {error}") from error
    return made


def _unknown(name: str) -> str:
    return (
        f"{name!r} is neither a model folder nor a method that needs no training; those are {', '.join(UNTRAINED)}"
    )
