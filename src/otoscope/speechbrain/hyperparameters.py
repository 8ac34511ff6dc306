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
_MOST_BYTES = 1 << 20
_LONGEST_TEXT = 4096
_MOST_STEPS = 200


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

    def follow(self, value: Any, steps: int = _MOST_STEPS) -> Any:
        """Resolve a value if it is a reference; references inside it are left unresolved.

        Args:
            value: Value to resolve.
            steps: Largest number of references to follow, so that circles end.

        Raises:
            CheckpointError: It refers to a missing value or to itself, or its text is too long.
        """
        if not isinstance(value, _Reference):
            return value
        if steps <= 0:
            raise CheckpointError(f"{self.path}: !ref {value.text[:80]} refers to itself")
        if whole := _REFERENCE.fullmatch(value.text.strip()):
            return self.follow(self._look_up(whole[1]), steps - 1)
        text = _REFERENCE.sub(lambda match: self._text(match[1], steps), value.text)
        if len(text) > _LONGEST_TEXT:
            raise CheckpointError(f"{self.path}: !ref {value.text[:80]} is longer than {_LONGEST_TEXT} characters")
        return text

    def _text(self, key: str, steps: int) -> str:
        # a text may hold several references, so that the number of steps must fall quickly with the depth
        value = self.follow(self._look_up(key), steps // 4)
        text = "" if value is None or isinstance(value, Call) else str(value)
        if len(text) > _LONGEST_TEXT:
            raise CheckpointError(f"{self.path}: <{key}> is longer than {_LONGEST_TEXT} characters")
        return text

    def _look_up(self, key: str) -> Any:
        """Return the value under ``key`` or ``key[inner][inner]``."""
        first, *inner = re.split(r"[\[\]]+", key.strip().rstrip("]"))
        value: Any = self._content
        for part in (first, *inner):
            value = self.follow(value)
            value = value.arguments if isinstance(value, Call) else value
            if not isinstance(value, dict) or part not in value:
                raise CheckpointError(f"{self.path}: <{key}> is referred to, but is not in the file")
            value = value[part]
        return value

    def _resolved(self, call: Call) -> Call:
        arguments = {name: self.follow(value) for name, value in call.arguments.items()}
        return Call(call.kind, call.target, arguments, [self.follow(value) for value in call.positional])


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CheckpointError(f"{path}: is larger than {_MOST_BYTES} bytes, which no hyperparameter file is")
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except _RefusedTagError as error:
        raise CheckpointError(
            f"{path}: {error}; the file was not opened and nothing was executed: do not trust its source"
        ) from error
    except (yaml.YAMLError, OSError, UnicodeDecodeError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    except RecursionError as error:
        raise CheckpointError(f"{path}: is nested too deeply") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: is no hyperparameter file")
    return {str(key): value for key, value in content.items()}


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
