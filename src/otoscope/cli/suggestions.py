"""Close names for options, classes and values that do not exist."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable

from otoscope.errors import choices, close_names

_CLASSES = {
    "data": ("otoscope.data", "SoundData"),
    "model": ("otoscope.training", "TrainingTask"),
    "classifier": ("otoscope.classifiers", "Classifier"),
}
"""Package and base class of the classes that an option may name, by the last part of the option."""


def with_suggestions(message: str, options: Iterable[str]) -> str:
    """Return a message of jsonargparse with the close names of what it calls unknown.

    Args:
        message: One line, see `otoscope.cli.options.shorten`.
        options: The options that exist, with their dashes.

    Example:
        >>> with_suggestions("unrecognized arguments: --tagret dog", ["--target", "--device"])
        'unrecognized arguments: --tagret dog; did you mean --target?'
    """
    if option := re.match(r"(?:unrecognized arguments:|there is no option) (-[^\s=]+)", message):
        close = _close_options(option[1], options)
        return message + (f"; did you mean {' or '.join(close)}?" if close else "")
    # an unknown name of a class is taken for the path of a file, then for one of a class
    if named := re.match(r'Parser key "([^"]+)": .*Expected a dot import path string: (\S+)', message):
        key, name = named.groups()
        existing = _classes_of(key.rpartition(".")[2])
        return f"{key}: there is no {name!r}" + (f"; {choices(name, existing)}" if existing else "")
    expected = (
        r'(?:Parser key )?"?([\w.]+)"?(?: element \d+)?: Expected a typing\.Literal\[(.*?)\]\.? Got value: (\S+)'
    )
    if value := re.match(expected, message):
        allowed = re.findall(r"'([^']*)'", value[2])
        return f"{value[1]}: there is no {value[3]!r}; {choices(value[3], allowed)}"
    expected = r'(?:Parser key )?"?([\w.]+)"?: Expected a <class \'(int|float)\'>(?:\. Got value: |, got )(\S+)$'
    if number := re.match(expected, message):
        kind = "a whole number" if number[2] == "int" else "a finite number"
        return f"{number[1]}: expected {kind}, got {number[3]}"
    return message


def _close_options(option: str, options: Iterable[str]) -> list[str]:
    """Return the options beside one whose last parts are spelled like its own, or else such options anywhere."""
    names = [name for name in options if name.startswith("--") and not name.endswith(".help")]
    place, last = _parts(option)
    for there in ([name for name in names if _parts(name)[0] == place], reversed(names)):
        by_last = {_parts(name)[1]: name for name in there}
        if close := close_names(last, by_last):
            return [by_last[name] for name in close]
    return []


def _parts(option: str) -> tuple[str, str]:
    """Return what stands before the last dot of an option, and its last part."""
    place, _, last = option.removeprefix("--").rpartition(".")
    return place, last


def _classes_of(option: str) -> list[str]:
    """Return the names of the classes that an option may name; none if that is not known."""
    if option not in _CLASSES:
        return []
    package, base = _CLASSES[option]
    module = importlib.import_module(package)
    kinds = {name: getattr(module, name) for name in module.__all__}
    return [
        name
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, kinds[base]) and name != base
    ]
