"""Options of the command line: parsers, and complaints in one line."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.errors import OtoscopeError

if TYPE_CHECKING:
    import jsonargparse

IMPORT_HELP = "Module with classes of your own, also in the current folder; may be repeated."
_LONGEST_COMPLAINT = 400


def make_parser(verb: str, description: str) -> jsonargparse.ArgumentParser:
    """A parser that raises instead of leaving, and refuses abbreviations."""
    import jsonargparse

    parser = jsonargparse.ArgumentParser(
        prog=f"otoscope {verb}", description=description, exit_on_error=False, default_env=False, allow_abbrev=False
    )
    parser.add_argument("--config", action="config", help="YAML file with options.")
    return parser


def parse(parser: jsonargparse.ArgumentParser, arguments: list[str]) -> Any:
    """Parses, and makes of every complaint one line that names the option."""
    import argparse

    import jsonargparse

    try:
        return parser.parse_args(arguments)
    except (argparse.ArgumentError, jsonargparse.ArgumentError) as error:
        raise OtoscopeError(f"{complaint(str(error), arguments)} (see {parser.prog} --help)") from error


def complaint(message: str, arguments: Sequence[str] = ()) -> str:
    """The heart of jsonargparse's message, which for nested options is wrapped in every type it tried."""
    if unknown := re.findall(r"Option '([^']+)' is not accepted", message):
        name = unknown[-1]
        given = [a.split("=")[0] for a in arguments]
        given = [a for a in given if a.startswith("--") and a.rsplit(".", 1)[-1] == name]
        return f"there is no option {given[0] if given else repr(name)}"
    if wrong := re.findall(r'Parser key "([^"]+)":\s+(Expected [^.]+\.\s+Got value: [^\n.]+)', message):
        name, text = wrong[-1]
        return f"{name}: {' '.join(text.split())}"
    text = re.split(r" - Expected a <class 'NoneType'>", " ".join(message.split()))[0]
    value = re.search(r"Given value: (?!NestedArg|Namespace)(\S+)", message)
    text += f", got {value.group(1)}" if value and value.group(1) not in text else ""
    text = re.sub(r"Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: - ", "", text)
    text = re.split(r"Problem with given class_path '[^']+': ", text)[-1]
    return text if len(text) <= _LONGEST_COMPLAINT else text[:_LONGEST_COMPLAINT] + " ..."


def import_modules(names: Sequence[str]) -> None:
    """Imports the user's modules, also from the current folder, so that their classes can be named."""
    sys.path.insert(0, str(Path.cwd()))
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise OtoscopeError(f"--import {name}: cannot be imported ({error})") from error
