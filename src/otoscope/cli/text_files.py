"""Files that options name: a file that holds no options is named in messages, and its content is not shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from otoscope.errors import OtoscopeError

_MOST_BYTES = 1 << 20
_SHORTEST = 4
"""Length of a word that shows where a message comes from."""


def check_options_file(path: str, option: str) -> None:
    """Raise an error if a file is no YAML mapping; the message names the file and the line alone.

    Args:
        path: Path of the file. One that does not exist is left to the parser.
        option: Option that names it.

    Raises:
        OtoscopeError: The file is no text, too large, or holds something else than options.
    """
    if Path(path).is_file() and (fault := _fault(Path(path))):
        raise OtoscopeError(f"{option} {path}: {fault}; expected a YAML file of options, one `name: value` a line")


def raise_if_quoted(message: str, arguments: Sequence[str]) -> None:
    """Raise an error that names a file instead of a message that shows its content.

    Args:
        message: Message of the parser, which quotes what it found in a file that an option named.
        arguments: Command line.

    Raises:
        OtoscopeError: The message quotes a file that is no YAML mapping.
    """
    for argument in arguments:
        option, _, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        path = Path(value)
        if value and _is_text(path) and (fault := _fault(path)):
            words = {word for word in path.read_text(encoding="utf-8").split() if len(word) >= _SHORTEST}
            if any(word in message for word in words - set(arguments)):
                raise OtoscopeError(
                    f"{option or value}{f' {value}' if option else ''}: {fault}; expected a YAML file"
                )


def _is_text(path: Path) -> bool:
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return False
        path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return True


def _fault(path: Path) -> str:
    """Return what is wrong with a file of options, without a word of its content; empty if nothing is."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return "is too large for a file of options"
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        return "is no YAML" + ("" if mark is None else f" (line {mark.line + 1})")
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (ValueError, RecursionError, yaml.YAMLError, TypeError, AttributeError, IndexError):
        return "is no YAML"
    return "" if isinstance(content, dict) or content is None else "holds no options (line 1)"
