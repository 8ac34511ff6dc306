"""Classes and functions by name: how a configuration describes an external network."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, TypeGuard

from torch import nn

from otoscope.errors import CheckpointError, ConfigurationError


def is_named(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value names a class or function: a mapping with ``class_path``, and perhaps ``init_args``."""
    return isinstance(value, Mapping) and "class_path" in value and set(value) <= {"class_path", "init_args"}


def make_named(value: Any, option: str) -> Any:
    """Makes what a configuration names; other values are returned as they are.

    Args:
        value: ``{"class_path": "package.Net", "init_args": {...}}``, in whose arguments others may be nested.
        option: Where it was given, for messages.

    Raises:
        ConfigurationError: There is no such class, or it does not take these arguments.

    Example:
        >>> make_named({"class_path": "torch.nn.Linear", "init_args": {"in_features": 2, "out_features": 3}}, "net")
        Linear(in_features=2, out_features=3, bias=True)
    """
    if isinstance(value, list | tuple):
        return type(value)(make_named(one, option) for one in value)
    if isinstance(value, Mapping) and not is_named(value):
        return {name: make_named(one, option) for name, one in value.items()}
    if not is_named(value):
        return value
    path = str(value["class_path"])
    found = _find(path, option)
    if isinstance(found, FunctionType) and "init_args" not in value:
        return found
    arguments = {name: make_named(one, f"{option}.{name}") for name, one in (value.get("init_args") or {}).items()}
    try:
        return found(**arguments)
    except TypeError as error:
        raise ConfigurationError(f"{option}: {path} cannot be made ({error})") from error


def name_of(value: Callable[..., Any]) -> dict[str, Any] | None:
    """Name of a function that an import finds again; None where there is none (lambdas, methods, objects)."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if not isinstance(value, FunctionType) or getattr(sys.modules.get(str(module)), name, None) is not value:
        return None
    return {"class_path": f"{module}.{name}"}


def reject_untrusted(value: Any, folder: object) -> None:
    """Lets only imported modules and plain functions through: a model folder may come from anywhere.

    Args:
        value: Out of a model folder's configuration.
        folder: That folder, for messages.

    Raises:
        CheckpointError: It names something that is not imported yet, or that is neither an ``nn.Module`` nor a
            function outside the standard library.
    """
    if isinstance(value, list | tuple):
        for one in value:
            reject_untrusted(one, folder)
        return
    if not isinstance(value, Mapping):
        return
    if is_named(value):
        path = str(value["class_path"])
        module, _, name = path.rpartition(".")
        if module not in sys.modules:
            raise CheckpointError(
                f"{folder}: its {path} is not part of otoscope; if you trust it, import {module} before "
                f"loading, on the command line by --import {module}"
            )
        found = getattr(sys.modules[module], name, None)
        known = isinstance(found, type) and issubclass(found, nn.Module)
        if isinstance(found, FunctionType) and "init_args" not in value:
            known = module.partition(".")[0] not in sys.stdlib_module_names and found.__module__ == module
        if not known:
            raise CheckpointError(f"{folder}: {path} is neither a torch.nn.Module nor a function of its own module")
    for one in value.values():
        reject_untrusted(one, folder)


def _find(path: str, option: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{option}: there is no {path!r} ({error})") from error
