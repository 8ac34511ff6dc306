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


_LIBRARIES = frozenset(
    {
        "ai_edge_litert", "captum", "gradio", "huggingface_hub", "jinja2", "jsonargparse", "lightning",
        "matplotlib",
        "numpy", "onnx", "onnxruntime", "otoscope", "pip", "pooch", "pyarrow", "pytorch_lightning", "ray",
        "requests",
        "safetensors", "scipy", "setuptools", "sklearn", "soundfile", "soxr", "torch", "torchaudio", "torchmetrics",
        "torchvision", "tqdm", "transformers", "yaml",
    }
)  # fmt: skip
"""Packages that are imported for reasons of their own: that they are says nothing about what the user trusts."""
_LAYERS = "torch.nn.modules."
_HARMLESS_FUNCTIONS = ("otoscope.audio.frontend.peak_normalize",)


def reject_untrusted(value: Any, folder: object, nested: bool = False) -> None:
    """Raise an error if a model folder, which may come from anywhere, names anything that is not harmless.

    Harmless are the layers of ``torch.nn``, and modules of networks and plain functions that the user's own program
    has defined or imported already. Opening a folder never imports code, and never names a function of the standard
    library or of a package that otoscope itself is built on, such as ``torch.hub.load``.

    Args:
        value: Value from the folder's configuration.
        folder: Model folder, for messages.
        nested: Whether the value is an argument of something else that is named, where functions are refused too.

    Raises:
        CheckpointError: The value names something that is not imported yet, or that is neither an ``nn.Module`` nor
            a function of the user.
    """
    if isinstance(value, list | tuple):
        for item in value:
            reject_untrusted(item, folder, nested)
        return
    if not isinstance(value, Mapping):
        return
    named = "class_path" in value
    if named:
        _reject_name(value, folder, nested)
    for item in value.values():
        reject_untrusted(item, folder, nested or named)


def _reject_name(value: Mapping[str, Any], folder: object, nested: bool) -> None:
    """Raise an error if a mapping with ``class_path`` names anything that is not harmless."""
    path = str(value["class_path"])
    shown = path[:100]
    module, _, name = path.rpartition(".")
    if module not in sys.modules:
        raise CheckpointError(
            f"{folder}: its {shown} is not part of otoscope; if you trust it, import {module[:100]} before "
            f"loading (on the command line: --import {module[:100]})"
        )
    # Looked up among the names that the module has: `getattr` would run the module's own `__getattr__`.
    named = getattr(sys.modules[module], "__dict__", {}).get(name)
    package = module.partition(".")[0]
    foreign = package in sys.stdlib_module_names or package in _LIBRARIES
    if isinstance(named, type) and issubclass(named, nn.Module):
        trusted = named.__module__.startswith(_LAYERS) if foreign else True
    elif isinstance(named, FunctionType) and "init_args" not in value and not nested:
        # only where it was defined: a module may have imported `os.system`
        trusted = path in _HARMLESS_FUNCTIONS or (not foreign and named.__module__ == module)
    else:
        trusted = False
    if not trusted:
        raise CheckpointError(f"{folder}: {shown} is neither a torch.nn.Module nor a function of its own module")


def _import_object(path: str, option: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{option}: there is no {path!r} ({error})") from error
