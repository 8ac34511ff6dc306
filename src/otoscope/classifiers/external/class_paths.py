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
    """Whether a value names a class or function: a mapping with ``class_path`` and optionally ``init_args``."""
    return isinstance(value, Mapping) and "class_path" in value and set(value) <= {"class_path", "init_args"}


def make_named(value: Any, option: str) -> Any:
    """Create the object that a configuration names; other values are returned unchanged.

    Args:
        value: Value of the option, such as ``{"class_path": "package.Net", "init_args": {...}}``. Arguments may
            name objects in turn.
        option: Name of the option, for messages.

    Raises:
        ConfigurationError: There is no such class, or it does not take these arguments.

    Example:
        >>> make_named({"class_path": "torch.nn.Linear", "init_args": {"in_features": 2, "out_features": 3}}, "net")
        Linear(in_features=2, out_features=3, bias=True)
    """
    if isinstance(value, list | tuple):
        return type(value)(make_named(item, option) for item in value)
    if isinstance(value, Mapping) and not is_named(value):
        return {name: make_named(item, option) for name, item in value.items()}
    if not is_named(value):
        return value
    path = str(value["class_path"])
    named = _import_object(path, option)
    if isinstance(named, FunctionType) and "init_args" not in value:
        return named  # the function itself, not its result
    init_args = value.get("init_args") or {}
    arguments = {name: make_named(item, f"{option}.{name}") for name, item in init_args.items()}
    try:
        return named(**arguments)
    except TypeError as error:
        raise ConfigurationError(f"{option}: {path} cannot be created ({error})") from error


def name_of(function: Callable[..., Any]) -> dict[str, Any] | None:
    """Return the name under which a function can be imported; None for lambdas, methods and objects."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not isinstance(function, FunctionType) or getattr(sys.modules.get(str(module)), name, None) is not function:
        return None
    return {"class_path": f"{module}.{name}"}


def reject_untrusted(value: Any, folder: object) -> None:
    """Raise an error if a model folder, which may come from anywhere, names anything that is not harmless.

    Harmless are modules of networks and plain functions that the user's program has imported already: opening a
    folder never imports code, and never calls a function of the standard library.

    Args:
        value: Value from the folder's configuration.
        folder: Model folder, for messages.

    Raises:
        CheckpointError: The value names something that is not imported yet, or that is neither an ``nn.Module`` nor
            a function outside the standard library.
    """
    if isinstance(value, list | tuple):
        for item in value:
            reject_untrusted(item, folder)
        return
    if not isinstance(value, Mapping):
        return
    if is_named(value):
        path = str(value["class_path"])
        module, _, name = path.rpartition(".")
        if module not in sys.modules:
            raise CheckpointError(
                f"{folder}: its {path} is not part of otoscope; if you trust it, import {module} before "
                f"loading (on the command line: --import {module})"
            )
        named = getattr(sys.modules[module], name, None)
        trusted = isinstance(named, type) and issubclass(named, nn.Module)
        if isinstance(named, FunctionType) and "init_args" not in value:
            # only where it was defined: a module may have imported `os.system`
            trusted = module.partition(".")[0] not in sys.stdlib_module_names and named.__module__ == module
        if not trusted:
            raise CheckpointError(f"{folder}: {path} is neither a torch.nn.Module nor a function of its own module")
    for item in value.values():
        reject_untrusted(item, folder)


def _import_object(path: str, option: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{option}: there is no {path!r} ({error})") from error
