"""Options of the command line: parsers, and complaints in one line."""

from __future__ import annotations

import importlib
import itertools
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
    # a class was given where a name would do as well: what its constructor said is meant
    if made := re.search(r"Expected a <class 'str'> - (.+?) Given value type: <class 'jsonargparse", text):
        text = made.group(1)
    return text if len(text) <= _LONGEST_COMPLAINT else text[:_LONGEST_COMPLAINT] + " ..."


def import_modules(names: Sequence[str]) -> None:
    """Imports the user's modules, also from the current folder, so that their classes can be named."""
    sys.path.insert(0, str(Path.cwd()))
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise OtoscopeError(f"--import {name}: cannot be imported ({error})") from error


def with_shorthands(verb: str, arguments: list[str], enough: str = "--model") -> list[str]:
    """``HPARAMS.yaml`` becomes ``--config``, ``--data_folder`` an option of the data set.

    Args:
        verb: For messages.
        arguments: The command line behind it.
        enough: An option without which, and without a file, there is nothing to do.

    Raises:
        OtoscopeError: The file is not there, or none is given.
    """
    if arguments and not arguments[0].startswith("-"):
        if not Path(arguments[0]).is_file():
            raise OtoscopeError(f"{arguments[0]}: no such hyperparameter file; check the current folder")
        arguments = ["--config", arguments[0], *arguments[1:]]
    elif not any(a.startswith(("--config", enough, "-h", "--help")) for a in arguments):
        raise OtoscopeError(f"give a hyperparameter file first: otoscope {verb} HPARAMS.yaml --data_folder DIR")
    short, long = "--data_folder", "--data.init_args.data_folder"
    return [long + a[len(short) :] if a == short or a.startswith(short + "=") else a for a in arguments]


def values_of(option: str, arguments: Sequence[str]) -> list[str]:
    """What a command line gives to an option, before it is parsed.

    Example:
        >>> values_of("--import", ["--import", "mine", "--import=yours"])
        ['yours', 'mine']
    """
    values = [a.partition("=")[2] for a in arguments if a.startswith(option + "=")]
    return values + [value for a, value in itertools.pairwise(arguments) if a == option]
