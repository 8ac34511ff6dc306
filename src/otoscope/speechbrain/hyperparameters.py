"""SpeechBrain's hyperparameter files, read as inert data.

They are written in HyperPyYAML, whose tags name Python classes and functions that SpeechBrain imports and calls.
Here a tag becomes a name with arguments, and nothing is imported, called or opened. Tags with which YAML itself
creates Python objects, and tags that name the standard library, are not needed in a model and are refused.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from otoscope.errors import CheckpointError

FILE_NAME = "hyperparams.yaml"
_PYTHON = "tag:yaml.org,2002:python/"
_SEEDS = ("torch.manual_seed", "speechbrain.utils.seed_everything", "random.seed", "numpy.random.seed")
_HARMLESS_PYTHON = ("tuple", *(f"object/apply:{name}" for name in _SEEDS))
"""YAML's own Python tags that SpeechBrain's recipes contain; like all others they are read as data."""
_HARMLESS_LIBRARY = ("random.seed", "functools.partial", "collections.OrderedDict")
_REFERENCE = re.compile(r"<([^<>]*)>")
_MOST_BYTES = 1 << 17
_LONGEST_TEXT = 4096
_MOST_STEPS = 1000
_MOST_DEPTH = 50
_MOST_BRACKETS = 100
_MOST_NODES = 20_000
"""Largest number of values in a file, where a value counts as often as aliases repeat it."""


@dataclass
class Call:
    """A tag such as ``!new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2`` and its arguments.

    Attributes:
        kind: Kind of the tag, such as ``new``, ``name`` or ``apply``.
        target: Import path of the class or function.
        arguments: Arguments by name.
        positional: Arguments without names.
    """

    kind: str
    target: str
    arguments: dict[str, Any] = field(default_factory=dict)
    positional: list[Any] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the class or function, the last part of the target."""
        return self.target.rpartition(".")[2]


@dataclass
class _Reference:
    """Tag ``!ref`` or ``!copy``: text in which ``<key>`` stands for another value."""

    text: str


@dataclass
class _Steps:
    """References followed so far to resolve one value, and how many of them are unfinished."""

    count: int = 0
    depth: int = 0


class Hyperparameters:
    """Content of a hyperparameter file; references are resolved when a value is read.

    Args:
        path: Path of the file.

    Raises:
        CheckpointError: The file cannot be read, is not YAML, or has a tag that is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content = _load(path)

    @classmethod
    def absent(cls, folder: Path) -> Self:
        """Return the empty hyperparameters of a folder without the file.

        Args:
            folder: The folder, for messages.
        """
        hyperparameters = cls.__new__(cls)
        hyperparameters.path, hyperparameters._content = folder, {}
        return hyperparameters

    def __contains__(self, key: str) -> bool:
        return key in self._content

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value with its references resolved.

        Args:
            key: Name of the value.
            default: Result if the file has no such value.
        """
        if key not in self._content:
            return default
        return self.follow(self._content[key])

    def call(self, *keys: str) -> Call | None:
        """Return the object under the first key that holds one, with its arguments resolved; None if none does.

        Args:
            *keys: Names to try.

        Raises:
            CheckpointError: A reference cannot be resolved.
        """
        for key in keys:
            value = self.get(key)
            if isinstance(value, Call):
                return self._resolved(value)
        return None

    def calls(self) -> list[Call]:
        """Return all objects at the top level of the file, with their references unresolved."""
        return [value for value in self._content.values() if isinstance(value, Call)]

    def follow(self, value: Any) -> Any:
        """Resolve a value if it is a reference; references inside it are left unresolved.

        Args:
            value: Value to resolve.

        Raises:
            CheckpointError: It refers to a missing value or to itself, or its text is too long.
        """
        return self._followed(value, _Steps())

    def _followed(self, value: Any, steps: _Steps) -> Any:
        if not isinstance(value, _Reference):
            return value
        # Both the number of steps and their depth are limited: a text may hold several references.
        steps.count += 1
        steps.depth += 1
        if steps.count > _MOST_STEPS or steps.depth > _MOST_DEPTH:
            raise CheckpointError(f"{self.path}: !ref {value.text[:80]!r} refers to itself, or to too much")
        if whole := _REFERENCE.fullmatch(value.text.strip()):
            resolved = self._followed(self._look_up(whole[1], steps), steps)
        else:
            resolved = _REFERENCE.sub(lambda match: self._text(match[1], steps), value.text)
            if len(resolved) > _LONGEST_TEXT:
                raise CheckpointError(
                    f"{self.path}: !ref {value.text[:80]!r} is longer than {_LONGEST_TEXT} characters"
                )
        steps.depth -= 1
        return resolved

    def _text(self, key: str, steps: _Steps) -> str:
        value = self._followed(self._look_up(key, steps), steps)
        text = "" if value is None or isinstance(value, Call) else str(value)
        if len(text) > _LONGEST_TEXT:
            raise CheckpointError(f"{self.path}: <{key[:80]}> is longer than {_LONGEST_TEXT} characters")
        return text

    def _look_up(self, key: str, steps: _Steps) -> Any:
        """Return the value under ``key`` or ``key[inner][inner]``."""
        first, *inner = re.split(r"[\[\]]+", key.strip().rstrip("]"))
        value: Any = self._content
        for part in (first, *inner):
            value = self._followed(value, steps)
            value = value.arguments if isinstance(value, Call) else value
            if not isinstance(value, dict) or part not in value:
                raise CheckpointError(f"{self.path}: <{key[:80]}> is referred to, but is not in the file")
            value = value[part]
        return value

    def _resolved(self, call: Call) -> Call:
        arguments = {name: self.follow(value) for name, value in call.arguments.items()}
        return Call(call.kind, call.target, arguments, [self.follow(value) for value in call.positional])


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CheckpointError(f"{path}: is larger than {_MOST_BYTES} bytes, which no hyperparameter file is")
        content = _parsed(path.read_text(encoding="utf-8"))
    except _RefusedTagError as error:
        raise CheckpointError(
            f"{path}: {error}; the file was not opened and nothing was executed: do not trust its source"
        ) from error
    except CheckpointError:
        raise
    except RecursionError as error:
        raise CheckpointError(f"{path}: is nested too deeply") from error
    # YAML's own constructors raise errors of many kinds for values that look like dates or numbers, and are none.
    except Exception as error:
        raise CheckpointError(f"{path}: cannot be read ({' '.join(str(error).split())[:300]})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: is no hyperparameter file")
    return {str(key): value for key, value in content.items()}


def _parsed(text: str) -> Any:
    """Return the content of YAML, after checking how large it is with all aliases."""
    _check_brackets(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_brackets(text: str) -> None:
    """Raise a `ValueError` if brackets are nested deeply: reading them takes time by the square of the depth."""
    depth = 0
    for match in re.finditer(r"[\[{]|[\]}]", text):
        depth = depth + 1 if match[0] in "[{" else max(0, depth - 1)
        if depth > _MOST_BRACKETS:
            raise ValueError("it is nested too deeply")


def _check_size(root: yaml.Node) -> None:
    """Raise a `ValueError` if a file holds too many values: aliases repeat one, which may repeat others in turn.

    A value that contains itself is refused too.
    """
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack = [(root, False)]
    # Each node is seen before and after its children; aliases lead to nodes whose size is known by then.
    while stack:
        node, finished = stack.pop()
        children = _children(node)
        if finished:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
            if sizes[id(node)] > _MOST_NODES:
                raise ValueError(f"it holds more than {_MOST_NODES} values, or aliases that multiply them")
        elif id(node) in open_nodes:
            raise ValueError("an alias refers to what contains it")
        elif id(node) not in sizes:
            open_nodes.add(id(node))
            stack.append((node, True))
            stack += [(child, False) for child in children]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


class _RefusedTagError(Exception):
    """Error: a tag that no model needs."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Loader that creates plain values, `Call` and `_Reference`, and nothing else."""


def _inert(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    kind, _, target = suffix.partition(":")
    root = target.split(".")[0]
    if (root in sys.stdlib_module_names or root == "builtins") and target not in _HARMLESS_LIBRARY:
        raise _RefusedTagError(f"the tag !{suffix} names Python's own {target}")
    if kind in ("ref", "copy") and isinstance(node, yaml.ScalarNode):
        return _Reference(str(node.value))
    return _call(loader, kind, target, node)


def _python(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    if suffix not in _HARMLESS_PYTHON:
        raise _RefusedTagError(f"the tag !!python/{suffix} makes a Python object")
    return _call(loader, "python", suffix.rpartition(":")[2], node)


def _call(loader: _Loader, kind: str, target: str, node: yaml.Node) -> Call:
    if isinstance(node, yaml.MappingNode):
        arguments = loader.construct_mapping(node, deep=True)
        return Call(kind, target, {str(key): value for key, value in arguments.items()})
    if isinstance(node, yaml.SequenceNode):
        return Call(kind, target, {}, loader.construct_sequence(node, deep=True))
    return Call(kind, target, {}, [node.value] if node.value else [])


_Loader.add_multi_constructor("!", _inert)
_Loader.add_multi_constructor(_PYTHON, _python)
