"""Methods to compare, made from their specifications: a model folder, the name of a method, or a class."""

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
from otoscope.errors import ConfigurationError, OtoscopeError, choices
from otoscope.evaluation.mask_scores import ANNOTATED
from otoscope.interpreters import Interpreter, is_untrained, make_untrained
from otoscope.interpreters.attribution import COMPARISON_AREA, AttributionInterpreter
from otoscope.loading import load_interpreter
from otoscope.methods import UNTRAINED
from otoscope.scoring import CONTROLS

_UNCOMPARED_OPTIONS = ("module", "function", "input", "model", "path", "threads")
"""Options of external classifiers that may differ between copies of one network; its weights are compared."""


@dataclass(frozen=True)
class Method:
    """A method that is ready to explain, one row of the table.

    Attributes:
        name: Name in tables.
        interpreter: Interpreter that makes its masks.
        trained: Whether the interpreter was given or loaded, and is not made from the classifier.
        make: Function that returns the interpreter; one without training is made anew from the classifier, whose
            weights may have changed.
        fingerprint: Fingerprint of the interpreter's class, options and weights.
    """

    name: str
    interpreter: Interpreter[Any]
    trained: bool
    make: Callable[[], Interpreter[Any]]
    fingerprint: str


@dataclass(frozen=True)
class Methods:
    """Methods that can explain the classifier, and the reasons why others cannot.

    Attributes:
        ready: Method by name.
        skipped: Reason by name.
    """

    ready: dict[str, Method]
    skipped: dict[str, str]


def build_methods(specs: Mapping[str, Any], classifier: Classifier) -> Methods:
    """Make every method that fits the classifier.

    Args:
        specs: Specification of each method by display name: a model folder; the name of a method that needs no
            training; a mapping with ``name`` and the options of such a method, or with ``class_path`` and
            ``init_args``; or an interpreter.
        classifier: Classifier that the methods explain.

    Raises:
        ConfigurationError: A method or an option is unknown, or a display name is that of a control.
    """
    methods = Methods({}, {})
    # Display names identify rows and records, and the controls have rows and records too.
    reserved = [name for name in specs if name in (*CONTROLS, ANNOTATED) or not name.strip()]
    if reserved:
        raise ConfigurationError(f"methods: {reserved[0]!r} is empty or the name of a control; choose another name")
    for name, spec in specs.items():
        try:
            methods.ready[name] = _build(name, spec, classifier)
        except ConfigurationError as error:
            if f"methods.{name}" in str(error):
                raise
            raise ConfigurationError(f"methods.{name}: {error}") from error
        except OtoscopeError as error:
            # The user made no mistake, the method does not fit: the others are still worth comparing.
            methods.skipped[name] = str(error)
    return methods


def _build(name: str, spec: Any, classifier: Classifier) -> Method:
    if isinstance(spec, Interpreter):
        if _keeps_classifier(spec) and spec.classifier is not classifier:
            raise ConfigurationError(
                f"methods.{name}: it explains another classifier; make it with the classifier that is evaluated"
            )
        return _method(name, lambda: spec, trained=True)
    if isinstance(spec, str) and not is_untrained(spec):
        return _load_trained(name, spec, classifier)
    if isinstance(spec, str):
        return _method(name, lambda: _make_comparable(spec, classifier))
    if not isinstance(spec, Mapping) or len({"name", "class_path"} & spec.keys()) != 1:
        raise ConfigurationError(
            f"methods.{name}: expected a model folder, the name of a method, or a mapping with `name` and options "
            f"or with `class_path` and `init_args`, got {spec!r}"
        )
    if "class_path" in spec:
        return _method(name, lambda: _instantiate(name, spec, classifier))
    options = {key: value for key, value in spec.items() if key != "name"}
    if not is_untrained(str(spec["name"])):
        raise ConfigurationError(f"methods.{name}: {_unknown(str(spec['name']))}")
    return _method(name, lambda: _make_comparable(str(spec["name"]), classifier, **options))


def _make_comparable(name: str, classifier: Classifier, **options: Any) -> Interpreter[Any]:
    """Make an untrained method whose own mask has the area of comparisons, unless the options name another."""
    interpreter = make_untrained(name, classifier, **options)
    if isinstance(interpreter, AttributionInterpreter) and isinstance(interpreter.area, str):
        interpreter.area = COMPARISON_AREA
    return interpreter


def _method(name: str, make: Callable[[], Interpreter[Any]], trained: bool = False) -> Method:
    interpreter = make()
    kind = type(interpreter)
    # The classifier is not part of it: the records have its traits among the settings.
    content = [kind.__module__, kind.__qualname__, interpreter.config, digest(interpreter)]
    fingerprint = hashlib.sha256(json.dumps(content, default=repr, sort_keys=True).encode()).hexdigest()[:16]

    def make_again() -> Interpreter[Any]:
        if trained:
            return interpreter
        return make().to(interpreter_device(interpreter)).eval().requires_grad_(False)

    return Method(name, interpreter.eval().requires_grad_(False), trained, make_again, fingerprint)


def interpreter_device(interpreter: Interpreter[Any]) -> torch.device:
    """Return the device of an interpreter's weights; the CPU if it has none."""
    return next((value.device for value in interpreter.state_dict().values()), torch.device("cpu"))


def _load_trained(name: str, folder: str, classifier: Classifier) -> Method:
    if not Path(folder).exists() and "/" not in folder:
        raise ConfigurationError(f"methods.{name}: {_unknown(folder)}")
    interpreter, saved_classifier = load_interpreter(folder)
    # A trained interpreter reads representations: with another classifier its masks would mean nothing.
    if _comparable(traits_of(saved_classifier)) != _comparable(traits_of(classifier)):
        raise OtoscopeError(f"{folder} was trained to explain another classifier")
    if _keeps_classifier(interpreter):
        # Its classifier is a copy from the folder. The sanity check changes the weights of the evaluated one.
        weights = interpreter.state_dict()
        interpreter = type(interpreter)(classifier, **interpreter.config)
        interpreter.load_state_dict(weights)
    return _method(name, lambda: interpreter, trained=True)


def _comparable(traits: dict[str, Any]) -> dict[str, Any]:
    """Return a classifier's traits without the options that may differ between copies of one network."""
    options = {name: value for name, value in traits["options"].items() if name not in _UNCOMPARED_OPTIONS}
    return {**traits, "options": options}


def _keeps_classifier(interpreter: Interpreter[Any]) -> bool:
    """Return whether an interpreter keeps its classifier, to run it again for each explanation."""
    try:
        return interpreter.classifier is not None
    except ConfigurationError:
        return False


def _instantiate(name: str, spec: Mapping[str, Any], classifier: Classifier) -> Interpreter[Any]:
    """Make an interpreter from ``class_path`` and ``init_args``."""
    if unknown := sorted(spec.keys() - {"class_path", "init_args"}):
        raise ConfigurationError(
            f"methods.{name}: unknown {', '.join(unknown)}; only init_args may stand beside class_path"
        )
    kind = _import_interpreter(name, str(spec["class_path"]))
    options = dict(spec.get("init_args") or {})
    first = next(iter(inspect.signature(kind).parameters))
    if options.get(first) is None:  # jsonargparse adds the options that are not given, also the classifier
        options.pop(first, None)
    try:
        interpreter: Interpreter[Any] = kind(classifier, **options)
    except TypeError as error:
        raise ConfigurationError(f"methods.{name}: {error}") from error
    return interpreter


def _import_interpreter(name: str, class_path: str) -> Callable[..., Interpreter[Any]]:
    module, _, kind_name = class_path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), kind_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"methods.{name}.class_path: cannot be imported ({error})") from error
    if not (isinstance(kind, type) and issubclass(kind, Interpreter)):
        raise ConfigurationError(f"methods.{name}.class_path: {class_path} is not an Interpreter")
    return kind


def _unknown(name: str) -> str:
    return f"{name!r} is neither a model folder nor a method that needs no training; {choices(name, UNTRAINED)}"
