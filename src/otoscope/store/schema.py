"""What ``config.json`` may hold: structure, types and ranges, checked before anything is built from it.

The types of a class of otoscope are the type hints of its constructor, so that no list of options is kept twice.
"""

from __future__ import annotations

import functools
import math
import os
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from otoscope.errors import CheckpointError
from otoscope.signatures import constructor_hints
from otoscope.store.kinds import kind_of
from otoscope.store.model import StoredModel

_MOST_SIZE = 1_000_000
_MOST_FLOAT = 1e12
_LONGEST_TEXT = 100_000
_LONGEST_LABEL = 1000
_LONGEST_LIST = 100_000
_DEEPEST = 40
RANGES: dict[str, tuple[float, float]] = {
    "n_fft": (1, 65_536),
    "mel_bins": (1, 1024),
    "num_mel_bins": (1, 1024),
    "image_size": (1, 2048),
    "window_ms": (0, 10_000),
    "hop_ms": (0, 10_000),
    "duration_s": (0, 3600),
    "minimum_s": (0, 3600),
    "threads": (1, 1024),
}
"""Smallest and largest number of arguments by name, where it differs from that of other sizes."""
_UNLIMITED = ("seed",)
_DETAILS: dict[str, Any] = {
    "normalize": bool,
    "uncertain_below": float | None,
    "clip_s": float | None,
    "license": str | None,
    "source": str | None,
    "commit": str | None,
    "metrics": Mapping[str, Any] | None,
}
"""Types of the values beside the model that are read again."""


def check_config(cls: type[StoredModel], config: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> None:
    """Check the configuration of a model folder against the class that it names.

    Args:
        cls: The class.
        config: Content of ``config.json``.
        given: Arguments that replace those of the configuration, and are not checked.
        path: The file, for messages.

    Raises:
        CheckpointError: A key is missing or unknown, or its value has another type or is out of range.
    """
    for key in _REQUIRED[cls.role]:
        if key not in config:
            raise _fault(path, key, "is missing")
    for name, expected in _DETAILS.items():
        if name in config:
            check_value(config[name], expected, name, path)
    init = config["init"]
    check_value(init, dict[str, Any], "init", path)
    if "labels" in config:
        check_labels(config["labels"], path)
    # A user's class reads what it wrote in its own way.
    if kind_of(f"{cls.__module__}.{cls.__qualname__}") == f"{cls.__module__}.{cls.__qualname__}":
        return
    hints = constructor_hints(cls)  # type: ignore[arg-type]  # mypy takes the hash of a class for its objects'
    if "frontend" in config and "frontend" not in given:
        _check_arguments(config["frontend"], constructor_hints(_class_in(hints["frontend"])), "frontend", path)
    saved = {
        name: hint for name, hint in hints.items() if name not in (*cls.unsaved_arguments, "frontend", "labels")
    }
    rest = {name: value for name, value in init.items() if name not in given}
    _check_arguments(rest, {**saved, **cls.saved_types}, "init", path)


_REQUIRED = {
    "classifier": ("init", "labels", "frontend"),
    "interpreter": ("init",),
    "dictionary": ("init", "frontend"),
}
"""Keys that a configuration must have, by role."""


def check_structure(config: Any, path: Path) -> None:
    """Check that a configuration is neither nested too deeply nor too long, whatever it describes.

    Args:
        config: Content of the file.
        path: The file, for messages.

    Raises:
        CheckpointError: It is.
    """
    # Level by level, because a function that calls itself fails on values that are nested too deeply.
    level = [config]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict | list) and len(value) > _LONGEST_LIST:
                raise CheckpointError(f"{path}: holds a list of {len(value)} values, more than any model has")
            inner += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        if not inner:
            return
        level = inner
    raise CheckpointError(f"{path}: is nested more than {_DEEPEST} levels deep")


def check_labels(labels: Any, path: Path) -> None:
    """Check the names of the classes.

    Args:
        labels: Value of ``labels``.
        path: The file, for messages.

    Raises:
        CheckpointError: They are not a list of different texts that can be written to a file.
    """
    check_value(labels, list[str], "labels", path)
    if not labels or len(set(labels)) < len(labels):
        raise _fault(path, "labels", f"expected one or more different names, got {shown(labels)}")
    if longest := next((label for label in labels if len(label) > _LONGEST_LABEL), None):
        raise _fault(path, "labels", f"{shown(longest)} is longer than {_LONGEST_LABEL} characters")


def check_value(value: Any, hint: Any, name: str, path: Path) -> None:
    """Check one value against a type hint, and its numbers against the ranges.

    Args:
        value: JSON value.
        hint: Type hint.
        name: Key of the value, such as ``init.width``.
        path: The file, for messages.

    Raises:
        CheckpointError: The value has another type or is out of range.
    """
    if not _fits(value, hint):
        raise _fault(path, name, f"expected {_type_name(hint)}, got {shown(value)}")
    last = name.rpartition(".")[2]
    low, high = RANGES.get(last, (-_MOST_FLOAT, _MOST_FLOAT))
    for number in _numbers(value):
        most = _MOST_SIZE if isinstance(number, int) and last not in RANGES else high
        if last not in _UNLIMITED and not (max(low, -most) <= number <= most):
            raise _fault(path, name, f"{shown(number)} is out of range")


def shown(value: Any) -> str:
    """Return a value as it stands in messages: short, and without characters that cannot be written."""
    text = repr(value if not isinstance(value, int) or abs(value) < 10**30 else "a huge number")
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 80 else f"{text[:80]} ..."


def _check_arguments(arguments: Any, hints: Mapping[str, Any], key: str, path: Path) -> None:
    check_value(arguments, dict[str, Any], key, path)
    for name, value in arguments.items():
        if name not in hints:
            raise _fault(path, f"{key}.{name[:60]}", "is no option that a model folder may hold")
        check_value(value, hints[name], f"{key}.{name}", path)


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a JSON value has a type. Only types of JSON values count: no path, object or function fits."""
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in inner)
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in inner)
    if (origin or hint) in (Sequence, list, tuple):
        inner = tuple(kind for kind in inner if kind is not Ellipsis)
        return isinstance(value, list) and all(_fits(item, inner[0] if inner else Any) for item in value)
    if (origin or hint) in (Mapping, dict):
        return isinstance(value, dict)
    check = _PLAIN.get(hint)
    return check is not None and check(value)


def _is_text(value: Any) -> bool:
    # Lone surrogates cannot be written to any file.
    return (
        isinstance(value, str) and len(value) <= _LONGEST_TEXT and not any("\ud800" <= c <= "\udfff" for c in value)
    )


_PLAIN: dict[Any, Callable[[Any], bool]] = {
    # A bool is an int in Python, but no size.
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: lambda value: isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value),
    str: _is_text,
}


def _is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _numbers(value: Any) -> list[float]:
    """Return the numbers in a value and in its lists."""
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _type_name(hint: Any) -> str:
    """Return the name of a type for messages."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        names = [_type_name(option) for option in inner if option not in (os.PathLike, Path) and _is_json(option)]
        return " or ".join(dict.fromkeys(names)) or "nothing"
    if origin is Literal:
        return "one of " + ", ".join(map(repr, inner))
    if (origin or hint) in (Sequence, list, tuple):
        return f"a list of {_type_name(inner[0])}" if inner else "a list"
    if (origin or hint) in (Mapping, dict):
        return "an object"
    plain = {bool: "true or false", int: "an integer", float: "a finite number", str: "a text", Any: "any value"}
    return "null" if hint in (None, type(None)) else plain.get(hint, "no value")


def _is_json(hint: Any) -> bool:
    return (
        hint in _PLAIN or hint in (None, type(None), Any) or get_origin(hint) not in (None, os.PathLike, Callable)
    )


@functools.cache
def _class_in(hint: Any) -> type:
    """Return the class in an optional type."""
    return next(
        option for option in (hint, *get_args(hint)) if isinstance(option, type) and option is not type(None)
    )


def _fault(path: Path, key: str, fault: str) -> CheckpointError:
    return CheckpointError(f"{path}: {key}: {fault}")
