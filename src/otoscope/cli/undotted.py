"""Undotted names on a command line: flags of the reference, and the last part of a dotted option."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from otoscope.cli.flag_translations import Given
from otoscope.cli.reference_flags import TABLES, Flag
from otoscope.errors import OtoscopeError


class Command(NamedTuple):
    """Command line before its flags are translated.

    Attributes:
        verb: ``train`` or ``evaluate``.
        arguments: Command line after the hyperparameter file.
        file: The hyperparameter file; empty if there is none.
        model: Name of its training class, without the module.
    """

    verb: str
    arguments: Sequence[str]
    file: str = ""
    model: str = ""


def translate_flags(command: Command, options: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """Replace flags of the reference, and names without dots, by the options that mean the same.

    Args:
        command: The command line.
        options: Dotted options by their last part, to find ``--learning_rate`` as ``--model.learning_rate``.

    Returns:
        The command line in options of the verb. The place of an option stays the same.

    Raises:
        OtoscopeError: Nothing means the same, a name fits several options, or a value is missing.

    Example:
        >>> translate_flags(Command("train", ["--number_of_epochs", "5", "--use_vq=False"], model="PIQ"))
        ['--trainer.max_epochs=5', '--model.use_vq=false']
    """
    table = TABLES[command.verb]
    parts = _split(command.arguments, table)
    flags = {part.name: part.value for part in parts if part.name in table}
    given = Given(command.model, flags, command.arguments, command.file)
    result: list[str] = []
    for part in parts:
        if part.name in table:
            result += table[part.name].arguments(part.name, part.value, given)
        else:
            result += _dotted(part, options or {})
    return result


class _Part(NamedTuple):
    """Piece of a command line: a flag of the table with its value, or an argument that is none.

    Attributes:
        name: Name of an option, without its dashes; empty for a value.
        value: Value of a flag of the table.
        text: The argument as it was typed.
    """

    name: str
    value: str
    text: str


def _split(arguments: Sequence[str], table: Mapping[str, Flag]) -> list[_Part]:
    """Divide a command line; ``--flag value`` and ``--flag=value`` of the table become one part each."""
    parts: list[_Part] = []
    remaining = list(arguments)
    while remaining:
        text = remaining.pop(0)
        name, equals, value = text.removeprefix("--").partition("=") if text.startswith("--") else ("", "", "")
        if name in table and not equals:
            if remaining and not remaining[0].startswith("--"):
                value = remaining.pop(0)
            elif table[name].boolean:
                value = "True"  # a flag alone, as in `--debug`
            else:
                raise OtoscopeError(f"--{name}: its value is missing")
        parts.append(_Part(name, value, text))
    return parts


def _dotted(part: _Part, options: Mapping[str, Sequence[str]]) -> list[str]:
    """Return an argument, with the dotted name of its option if only one option has this last part."""
    matches = options.get(part.name, ())
    if len(matches) > 1:
        choices = " or ".join(f"--{name}" for name in matches)
        raise OtoscopeError(f"--{part.name}: several options have this name; write {choices}")
    return [part.text.replace(f"--{part.name}", f"--{matches[0]}", 1)] if matches else [part.text]


def options_by_name(content: Any, parser: Any) -> dict[str, list[str]]:
    """Return the dotted options of a parser and of the classes in a hyperparameter file, by their last part.

    Args:
        content: Content of the file.
        parser: Parser of the verb.

    Returns:
        Names without dashes. Names that the parser knows without dots are left out.
    """
    of_parser = {name.removeprefix("--") for action in parser._actions for name in action.option_strings}
    names = {name for name in of_parser if "." in name} | set(_options_of_classes(content, ""))
    result: dict[str, list[str]] = {}
    for name in sorted(names):
        last = name.rpartition(".")[2]
        if last not in of_parser and last not in ("help", "class_path", "init_args"):
            result.setdefault(last, []).append(name)
    return result


def _options_of_classes(content: Any, prefix: str) -> list[str]:
    """Return the options of every class that a hyperparameter file names, such as ``model.classifier.width``."""
    if not isinstance(content, dict):
        return []
    result: list[str] = []
    arguments = content
    if isinstance(path := content.get("class_path"), str):
        arguments = content.get("init_args") or {}
        result += _parameters(path, prefix)
    for name, value in arguments.items() if isinstance(arguments, dict) else ():
        result += _options_of_classes(value, f"{prefix}.{name}" if prefix else str(name))
    return result


def _parameters(path: str, prefix: str) -> list[str]:
    """Return the dotted names of the parameters of a class; none if it cannot be imported."""
    import jsonargparse

    module, _, name = path.rpartition(".")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    try:
        parser.add_class_arguments(getattr(importlib.import_module(module), name), prefix, fail_untyped=False)
    except (ImportError, AttributeError, ValueError):
        return []
    return [
        option.removeprefix("--")
        for action in parser._actions
        for option in action.option_strings
        if option.startswith(f"--{prefix}.") and option.count(".") == prefix.count(".") + 1
    ]
