"""Hyperparameter files: what the verbs ``train`` and ``evaluate`` do with ``HPARAMS.yaml`` and its overrides."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.cli.options import add_shared, import_modules, parse, shorten
from otoscope.errors import OtoscopeError

if TYPE_CHECKING:
    import jsonargparse


def add_common_options(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options that both verbs have beside those of their classes."""
    add_shared(
        parser,
        "output_folder",
        type=str | None,
        default=None,
        help="Folder for the results (default: results/<name of the hyperparameter file>/<seed>).",
    )
    add_shared(parser, "seed", default=1234)
    add_shared(parser, "json")
    add_shared(parser, "import")


@contextlib.contextmanager
def _without_deprecations() -> Iterator[None]:
    """Hide the deprecation warnings of signatures that jsonargparse reads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


@_without_deprecations()
def parse_hparams(
    verb: str, build_parser: Callable[[], jsonargparse.ArgumentParser], arguments: Sequence[str], required: str
) -> tuple[jsonargparse.ArgumentParser, Any]:
    """Parse a hyperparameter file and its overrides.

    Args:
        verb: Name of the verb, for messages.
        build_parser: Function that makes the verb's parser.
        arguments: Command line after the verb.
        required: Option that may stand in for the file, since everything else has defaults.

    Returns:
        The parser, and the options.

    Raises:
        OtoscopeError: No file is given, it does not exist, or an option is wrong.
    """
    parser = build_parser()
    arguments = expand_shorthands(verb, arguments, required)
    # classes of the user must be known before options that name them are parsed
    import_modules(values_of("--import", arguments))
    return parser, parse(parser, arguments)


@_without_deprecations()
def instantiate(parser: jsonargparse.ArgumentParser, options: Any) -> Any:
    """Make the objects that the options describe.

    Raises:
        OtoscopeError: A class refuses its options.
    """
    try:
        return parser.instantiate_classes(options)
    except (ValueError, TypeError) as error:
        raise _error_of_user(error) or OtoscopeError(shorten(str(error))) from error


def _error_of_user(error: BaseException) -> OtoscopeError | None:
    """Return the error that a class raised, out of the report on every type that jsonargparse makes of it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OtoscopeError):
        cause = cause.__cause__ or cause.__context__
    return cause


def expand_shorthands(verb: str, arguments: Sequence[str], required: str) -> list[str]:
    """Replace ``HPARAMS.yaml`` by ``--config`` and ``--data_folder`` by the option of the data set.

    Args:
        verb: Name of the verb, for messages.
        arguments: Command line after the verb.
        required: Option that may stand in for the file.

    Raises:
        OtoscopeError: The file does not exist, or none is given.
    """
    arguments = list(arguments)
    if arguments and not arguments[0].startswith("-"):
        if not Path(arguments[0]).is_file():
            raise OtoscopeError(f"{arguments[0]}: no such hyperparameter file; check the current folder")
        arguments = ["--config", *arguments]
    elif not any(argument.startswith(("--config", required, "-h", "--help")) for argument in arguments):
        raise OtoscopeError(f"give a hyperparameter file first: otoscope {verb} HPARAMS.yaml --data_folder DIR")
    # The data set is a class named in the file, so its options lie below `data.init_args`.
    short, long = "--data_folder", "--data.init_args.data_folder"
    return [
        long + argument[len(short) :] if argument.partition("=")[0] == short else argument for argument in arguments
    ]


def values_of(option: str, arguments: Sequence[str]) -> list[str]:
    """Return the values that a command line gives to an option, before it is parsed.

    Example:
        >>> values_of("--import", ["--import", "mine", "--import=yours"])
        ['yours', 'mine']
    """
    # Both spellings that a parser accepts: `--option=value`, and `--option value`.
    values = [argument.partition("=")[2] for argument in arguments if argument.startswith(option + "=")]
    return values + [value for name, value in itertools.pairwise(arguments) if name == option]


def output_folder_of(options: Any, default_name: str) -> Path:
    """Return ``--output_folder``, by default ``results/<name of the hyperparameter file>/<seed>``.

    Args:
        options: Parsed options.
        default_name: Name to use if there is no hyperparameter file.
    """
    if options.output_folder:
        return Path(options.output_folder)
    files = [str(path) for path in (options.config or [])]
    return Path("results") / (Path(files[0]).stem if files else default_name) / str(options.seed)
