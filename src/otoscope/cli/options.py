"""Options that verbs share, and parsers whose errors fit in one line."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from otoscope.errors import OtoscopeError

if TYPE_CHECKING:
    import jsonargparse

DEFAULT_SEED = 1234
_LONGEST_MESSAGE = 400
_QUOTE = (
    "YAML reads yes, no, on, off, null and numbers as other values than text; put them in quotes, such as "
    '\'["yes", "0"]\''
)


class Option(NamedTuple):
    """An option that means the same in every verb that has it.

    Attributes:
        help: Description for ``--help``.
        settings: Arguments of ``add_argument``.
        short_forms: Other spellings.
    """

    help: str
    settings: dict[str, Any]
    short_forms: tuple[str, ...] = ()


SHARED = {
    "output_folder": Option("Folder for the results.", {"type": str}, ("--out", "-o")),
    "revision": Option("Branch, tag or commit on the hub.", {"type": str | None, "default": None}),
    "device": Option("Device that the networks run on: cpu, cuda, cuda:1, mps.", {"type": str, "default": "cpu"}),
    "seed": Option("Seed of everything random.", {"type": int}),
    "json": Option("Print the results as JSON.", {"action": "store_true"}),
    "workers": Option("Number of processes", {"type": int | None, "default": None}),
    "backend": Option(
        "Where the processes run: on this machine, or as actors on the Ray cluster that RAY_ADDRESS names (without "
        "it, a cluster of this machine alone); ray needs the extra `cluster`.",
        {"type": Literal["local", "ray"], "default": "local"},
    ),
    "import": Option(
        "Python module with classes of your own, looked up in the current folder too; may be repeated.",
        {"action": "append", "default": []},
    ),
}
"""The shared options by name."""
WORKERS_HELP = (
    f"{SHARED['workers'].help}, each with one thread (default: the cores that can be used; with --backend ray "
    "those of the cluster)."
)
"""Description of ``--workers`` for verbs that have ``--backend``."""
SOURCE_HELP = "Model folder, owner/name on the Hugging Face hub, SpeechBrain's model folder or training results"


def make_parser(verb: str, description: str, usage: str | None = None) -> jsonargparse.ArgumentParser:
    """Return a parser that raises instead of exiting, and accepts no abbreviated options.

    Args:
        verb: Name of the verb.
        description: Text for ``--help``.
        usage: What follows the verb in the first line of ``--help`` (default: all options).
    """
    from otoscope.cli.parser import Parser

    parser = Parser(
        prog=f"otoscope {verb}",
        description=description,
        usage=usage and f"otoscope {verb} {usage}",
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with options.")
    return parser


def add_shared(parser: jsonargparse.ArgumentParser, name: str, **settings: Any) -> None:
    """Add one of the `SHARED` options to a parser.

    Args:
        parser: Parser of a verb.
        name: Name of the option.
        **settings: Arguments of ``add_argument`` that differ in this verb, such as ``default``.
    """
    option = SHARED[name]
    parser.add_argument(f"--{name}", *option.short_forms, **{"help": option.help, **option.settings, **settings})


def parse(parser: jsonargparse.ArgumentParser, arguments: Sequence[str], others: Sequence[str] = ()) -> Any:
    """Parse the arguments of a verb.

    Args:
        parser: Parser of the verb.
        arguments: Command line after the verb.
        others: Options that exist beside those of the parser, such as ``--model.classifier.width``, to name them
            when one is misspelt.

    Raises:
        OtoscopeError: An option is unknown, missing or has a wrong value; the message is one line.
    """
    import argparse

    import jsonargparse

    from otoscope.cli.suggestions import with_suggestions
    from otoscope.cli.text_files import check_options_file, raise_if_quoted

    for path in values_of("--config", arguments):
        check_options_file(path, "--config")
    try:
        return parser.parse_args(list(arguments))
    except (argparse.ArgumentError, jsonargparse.ArgumentError) as error:
        raise_if_quoted(str(error), arguments)
        options = [*(name for action in parser._actions for name in action.option_strings), *others]
        message = with_suggestions(shorten(str(error), arguments), options)
        raise OtoscopeError(f"{message} (see {parser.prog} --help)") from error


def shorten(message: str, arguments: Sequence[str] = ()) -> str:
    """Reduce a message of jsonargparse to the line that matters.

    For nested options jsonargparse wraps the reason in a report on every type that it tried.

    Args:
        message: Text of the exception.
        arguments: Command line, to quote a misspelt option as the user wrote it.
    """
    # A misspelt option. jsonargparse names its last part only; the command line has it in full.
    if unknown := re.findall(r"Option '([^']+)' is not accepted", message):
        name = unknown[-1]
        given = [argument.split("=")[0] for argument in arguments]
        given = [option for option in given if option.startswith("--") and option.rsplit(".", 1)[-1] == name]
        return f"there is no option {given[0] if given else repr(name)}"
    # Words that YAML reads as other values, where text is expected.
    if re.search(r"Expected a <class 'str'>\. Got value: (True|False|None|-?[\d.]+)", message):
        name = re.search(r'Parser key "([^"]+)"', message)
        return f"{name.group(1) if name else 'an option'}: {_QUOTE}"
    # A wrong value. Of the report on every type only the key, the expectation and the value matter.
    if wrong := re.findall(r'Parser key "([^"]+)":\s+(Expected [^.]+\.\s+Got value: [^\n.]+)', message):
        name, text = wrong[-1]
        return f"{name}: {' '.join(text.split())}"
    # what follows lists the other types of an optional value
    text = re.split(r" - Expected a <class 'NoneType'>", " ".join(message.split()))[0]
    value = re.search(r"Given value: (?!NestedArg|Namespace)(\S+)", message)
    text += f", got {value.group(1)}" if value and value.group(1) not in text else ""
    # Without the list of types that were tried, and without the path of the class around the fault.
    text = re.sub(r"Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: - ", "", text)
    text = re.split(r"Problem with given class_path '[^']+': ", text)[-1]
    # a class was given where a name is accepted too: the message of the class's constructor is the relevant one
    if constructor := re.search(r"Expected a <class 'str'> - (.+?) Given value type: <class 'jsonargparse", text):
        text = constructor.group(1)
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + " ..."


def values_of(option: str, arguments: Sequence[str]) -> list[str]:
    """Return the values that a command line gives to an option, before it is parsed.

    Example:
        >>> values_of("--import", ["--import", "mine", "--import=yours"])
        ['yours', 'mine']
    """
    # Both spellings that a parser accepts: `--option=value`, and `--option value`.
    values = [argument.partition("=")[2] for argument in arguments if argument.startswith(option + "=")]
    return values + [value for name, value in itertools.pairwise(arguments) if name == option]


def import_modules(names: Sequence[str]) -> None:
    """Import the user's modules, also from the current folder, so that options can name their classes.

    Raises:
        OtoscopeError: A module cannot be imported.
    """
    # An installed command does not search the current folder, unlike `python -m`.
    sys.path.insert(0, str(Path.cwd()))
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise OtoscopeError(f"--import {name}: cannot be imported ({error})") from error


def check_positive(options: Any, names: Sequence[str]) -> None:
    """Raise an error if one of the numbers is given and not positive.

    Raises:
        OtoscopeError: A number is zero or negative.
    """
    for name in names:
        if options[name] is not None and options[name] < 1:
            raise OtoscopeError(f"--{name} {options[name]}: must be positive")


def move_to_device(networks: Any, device: str) -> None:
    """Move a classifier or an explainer to ``--device``.

    Raises:
        OtoscopeError: There is no such device.
    """
    try:
        networks.to(device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without this device
        raise OtoscopeError(f"--device {device}: cannot be used ({shorten(str(error))})") from error


def messages_beside(json_output: bool) -> contextlib.AbstractContextManager[Any]:
    """Return a context that sends printed messages to the error output if the output is JSON."""
    return contextlib.redirect_stdout(sys.stderr) if json_output else contextlib.nullcontext()


def print_json(content: Any) -> None:
    """Print results as JSON, with null for numbers that are not finite."""
    from otoscope.files.json import json_text

    text = json_text(content, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a terminal that lacks characters gets JSON's own escapes
        text = json.dumps(json.loads(text), indent=2)
    print(text)
