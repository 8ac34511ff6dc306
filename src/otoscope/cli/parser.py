"""Parser of options that keeps values of nested options as they were typed."""

from __future__ import annotations

import ast
import contextlib
import itertools
import json
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import jsonargparse
import yaml

_TYPED: ContextVar[list[str] | None] = ContextVar("otoscope_typed", default=None)
"""The command line that is being parsed; None outside `Parser.parse_args`."""


class Parser(jsonargparse.ArgumentParser):
    """A parser in which ``null`` means the same at any depth.

    For an option of a class, jsonargparse reads the value and passes it, as Python prints it, to the parser of the
    class. Within two classes, as in ``--model.classifier.weights null``, the inner one receives the text ``None``,
    which YAML takes for a word.
    """

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *others: Any, **settings: Any
    ) -> Any:
        """Parse a command line, or the part of it that belongs to a class; see jsonargparse."""
        arguments = list(sys.argv[1:] if args is None else args)
        typed = _TYPED.get()
        if typed is not None:
            return super().parse_args([_as_yaml(argument, typed) for argument in arguments], *others, **settings)
        token = _TYPED.set(arguments)
        try:
            return super().parse_args(arguments, *others, **settings)
        finally:
            _TYPED.reset(token)


def _as_yaml(argument: str, typed: Sequence[str]) -> str:
    """Return an argument of a class's parser with its value in YAML instead of Python.

    Args:
        argument: The argument, such as ``--weights=None``.
        typed: The command line that it comes from.
    """
    name, equals, value = argument.partition("=")
    if value == "None" and any(_is_null(given) for given in _values(name.removeprefix("--"), typed)):
        return f"{name}=null"
    if value[:1] in ("[", "{") and "None" in value:
        with contextlib.suppress(ValueError, SyntaxError, TypeError):
            return f"{name}{equals}{json.dumps(ast.literal_eval(value))}"
    return argument


def _values(name: str, typed: Sequence[str]) -> list[str]:
    """Return the values of the typed options that are called so, or whose last parts are."""
    pairs = [argument.partition("=")[::2] for argument in typed if "=" in argument]
    pairs += itertools.pairwise(typed)
    return [value for option, value in pairs if option == f"--{name}" or option.endswith(f".{name}")]


def _is_null(text: str) -> bool:
    try:
        return bool(text.strip()) and yaml.safe_load(text) is None
    except yaml.YAMLError:
        return False
