"""Checks that dataclasses which were read from JSON hold what their annotations say."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def fault_of(value: Any, hint: Any = None, name: str = "result") -> str | None:
    """Return what is wrong with a value of any origin, or None if it fits its annotation.

    Args:
        value: Dataclass, or a value in one.
        hint: Annotation (default: the class of the value).
        name: Name of the value, for the message.

    Example:
        >>> fault_of([1.0, "two"], Sequence[float], "shares")
        "shares[1]: expected a number, got 'two'"
        >>> fault_of({"a": 1}, Mapping[str, float]) is None
        True
    """
    hint = type(value) if hint is None else hint
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or hint is Path:
        return None
    if origin in (Union, types.UnionType):
        faults = [fault_of(value, choice, name) for choice in arguments if choice is not type(None)]
        return None if (value is None and type(None) in arguments) or None in faults else faults[0]
    if origin is Literal:
        return None if value in arguments else _fault(name, f"one of {', '.join(map(str, arguments))}", value)
    if is_dataclass(hint):
        if not isinstance(value, hint):  # type: ignore[arg-type]  # a class, as it was no instance
            return _fault(name, "an object", value)
        hints = _hints(hint)  # type: ignore[arg-type]
        parts = [(getattr(value, item.name), hints[item.name], f"{name}.{item.name}") for item in fields(value)]
        return _first(parts)
    if origin in (Sequence, list):
        if not isinstance(value, list | tuple):
            return _fault(name, "a list", value)
        return _first([(item, arguments[0], f"{name}[{place}]") for place, item in enumerate(value)])
    if origin in (Mapping, dict):
        if not isinstance(value, Mapping):
            return _fault(name, "an object", value)
        return _first([(item, arguments[1], f"{name}.{key}") for key, item in value.items()])
    return _fault_of_plain(value, hint, name)


def _fault_of_plain(value: Any, hint: Any, name: str) -> str | None:
    if hint in (int, float):
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return None if is_number else _fault(name, "a number", value)
    return None if isinstance(value, hint) else _fault(name, {str: "a text", bool: "true or false"}[hint], value)


def _first(parts: list[tuple[Any, Any, str]]) -> str | None:
    return next((fault for part in parts if (fault := fault_of(*part)) is not None), None)


def _fault(name: str, expected: str, value: Any) -> str:
    return f"{name}: expected {expected}, got {str(value)[:60]!r}"


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
