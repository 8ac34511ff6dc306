"""Hyperparameter files: what the verbs ``train`` and ``evaluate`` do with ``HPARAMS.yaml`` and its overrides."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from otoscope.cli.options import (
    DEFAULT_SEED,
    add_shared,
    import_modules,
    messages_beside,
    parse,
    shorten,
    values_of,
)
from otoscope.cli.own_recordings import with_data_class
from otoscope.cli.paths import located_options
from otoscope.cli.undotted import Command, options_by_name, translate_flags
from otoscope.errors import OtoscopeError, close_names

if TYPE_CHECKING:
    import jsonargparse


USAGE = "HPARAMS.yaml --data_folder DIR [options]"
"""Usage of both verbs; `expand_shorthands` says what HPARAMS.yaml and ``--data_folder`` stand for."""


def add_common_options(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options that both verbs have beside those of their classes."""
    add_shared(
        parser,
        "output_folder",
        type=str | None,
        default=None,
        help="Folder for the results (default: <results_folder>/<name of the hyperparameter file>/<seed>).",
    )
    parser.add_argument(
        "--results_folder",
        type=str,
        default="results",
        help="Folder of all results, for the default of --output_folder; the scripts of the recipes write to "
        "`results` beside themselves.",
    )
    add_shared(parser, "seed", default=DEFAULT_SEED)
    add_shared(parser, "json")
    add_shared(parser, "import")


class Parsed(NamedTuple):
    """A parsed command line.

    Attributes:
        parser: Parser of the verb.
        options: The options.
        overrides: Command line without the hyperparameter file, in options of the parser.
        before: Options that come before the overrides: the hyperparameter file, and the paths in it.
        content: Content of the hyperparameter file.
    """

    parser: jsonargparse.ArgumentParser
    options: Any
    overrides: list[str]
    before: list[str]
    content: dict[str, Any]

    def with_settings(self, settings: Sequence[str]) -> Any:
        """Return the options with further settings, none of which the command line itself makes."""
        # At the end, because the overrides may name the classes that the settings belong to.
        with _without_deprecations():
            return parse(self.parser, [*self.before, *self.overrides, *settings]) if settings else self.options


@contextlib.contextmanager
def _without_deprecations() -> Iterator[None]:
    """Hide the deprecation warnings of signatures that jsonargparse reads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


@_without_deprecations()
def parse_hparams(
    verb: str, build_parser: Callable[[], jsonargparse.ArgumentParser], arguments: Sequence[str], required: str
) -> Parsed:
    """Parse a hyperparameter file and its overrides.

    Args:
        verb: Name of the verb, for messages.
        build_parser: Function that makes the verb's parser.
        arguments: Command line after the verb.
        required: Option that may stand in for the file, since everything else has defaults.

    Raises:
        OtoscopeError: No file is given, it does not exist, or an option is wrong.
    """
    parser = build_parser()
    arguments = expand_shorthands(verb, arguments, required)
    file, overrides = (arguments[:2], arguments[2:]) if arguments[:1] == ["--config"] else ([], arguments)
    content = read_hparams(Path(file[1])) if file else {}
    # classes of the user must be known before options that name them are parsed
    import_modules([*_listed(content.get("import")), *values_of("--import", overrides)])
    model = next(iter(values_of("--model", overrides)), "") or _class_path(content.get("model"))
    command = Command(verb, overrides, file[1] if file else "", model.rpartition(".")[2])
    by_name = options_by_name(content, parser)
    overrides = translate_flags(command, by_name)
    of_classes = [f"--{name}" for names in by_name.values() for name in names]
    # The paths come before the overrides, which take precedence.
    before = [*file, *(located_options(Path(file[1]), content) if file else [])]
    with messages_beside("--json" in overrides):
        overrides = with_data_class(content, overrides)
    return Parsed(parser, parse(parser, [*before, *overrides], of_classes), overrides, before, content)


def read_hparams(file: Path) -> dict[str, Any]:
    """Return the content of a hyperparameter file; nothing if it is no YAML mapping, which the parser reports."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _class_path(content: Any) -> str:
    path = content.get("class_path", "") if isinstance(content, dict) else content
    return path if isinstance(path, str) else ""


def _listed(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


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
            raise OtoscopeError(f"{arguments[0]}: no such hyperparameter file; {_close_files(Path(arguments[0]))}")
        arguments = ["--config", *arguments]
    elif not any(argument.startswith(("--config", required, "-h", "--help")) for argument in arguments):
        raise OtoscopeError(f"give a hyperparameter file first: otoscope {verb} HPARAMS.yaml --data_folder DIR")
    # The data set is a class named in the file, so its options lie below `data.init_args`.
    short, long = "--data_folder", "--data.init_args.data_folder"
    return [
        long + argument[len(short) :] if argument.partition("=")[0] == short else argument for argument in arguments
    ]


def _close_files(path: Path) -> str:
    """Return what to do about a hyperparameter file that does not exist."""
    beside = {other.stem: str(other) for other in sorted(path.parent.glob("*.yaml"))}
    close = [beside[name] for name in close_names(path.stem, beside)]
    return f"did you mean {' or '.join(close)}?" if close else "check the current folder"


def output_folder_of(options: Any, default_name: str) -> Path:
    """Return ``--output_folder``, by default ``<results_folder>/<name of the hyperparameter file>/<seed>``.

    Args:
        options: Parsed options.
        default_name: Name to use if there is no hyperparameter file.
    """
    if options.output_folder:
        return Path(options.output_folder)
    files = [str(path) for path in (options.config or [])]
    return Path(options.results_folder) / (Path(files[0]).stem if files else default_name) / str(options.seed)
