"""``otoscope completion``: print a script that completes verbs and options in a shell."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import Any, get_args

from otoscope.cli.main import VERBS
from otoscope.cli.options import make_parser, parse
from otoscope.errors import MissingExtraError, OtoscopeError, choices

_SHELLS = ("bash", "zsh")
_FILES = ("audio", "model", "output_folder", "source", "results", "output_file", "config", "hparams", "data_folder")
"""Options and arguments whose values are files or folders."""


def run(arguments: Sequence[str]) -> None:
    """Run the verb.

    Args:
        arguments: Command line after ``otoscope completion``.

    Raises:
        MissingExtraError: shtab is not installed.
        OtoscopeError: There are no completions for this shell.
    """
    shell = parse(build_parser(), arguments).shell
    if shell not in _SHELLS:
        raise OtoscopeError(f"completion: there is no {shell!r}; {choices(shell, _SHELLS)}")
    print(completion_script(shell))


def build_parser() -> Any:
    """Return the parser of ``otoscope completion``."""
    parser = make_parser(
        "completion",
        'Print a script that completes verbs and options: put `eval "$(otoscope completion bash)"` into ~/.bashrc, '
        "or the same with zsh into ~/.zshrc. Needs the extra `completion`.",
        "bash|zsh",
    )
    parser.add_argument("shell", type=str, help="bash or zsh.")
    return parser


def completion_script(shell: str) -> str:
    """Return the script that completes the command line in a shell.

    Args:
        shell: ``bash`` or ``zsh``.

    Raises:
        MissingExtraError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise MissingExtraError(
            "completion: shtab is not installed; install the extra: pip install 'otoscope[completion]'"
        ) from error
    script: str = shtab.complete(_plain_parser(shtab.FILE), shell)
    return script


def _plain_parser(complete_files: Any) -> argparse.ArgumentParser:
    """Return a parser of all verbs, without types, which shtab can read.

    Args:
        complete_files: What shtab needs to complete files.
    """
    command = argparse.ArgumentParser(prog="otoscope", description="Explains audio classifiers in sound.")
    command.add_argument("--version", action="store_true", help="Print the version.")
    verbs = command.add_subparsers()
    for verb in VERBS:
        described = importlib.import_module(f"otoscope.cli.{verb}").build_parser()
        parser = verbs.add_parser(verb, help=described.description.split(".")[0], add_help=False)
        if verb in ("train", "evaluate"):
            parser.add_argument("hparams").complete = complete_files  # type: ignore[attr-defined]
            parser.add_argument("--data_folder").complete = complete_files  # type: ignore[attr-defined]
        for action in described._actions:
            _add(parser, action, complete_files)
    return command


def _add(parser: argparse.ArgumentParser, action: argparse.Action, complete_files: Any) -> None:
    # jsonargparse also has spellings that append to a list, such as `--areas+`
    names = [name for name in action.option_strings if not name.endswith("+")]
    if action.help == argparse.SUPPRESS or action.dest == "==":
        return
    text = (action.help or "").split(". ")[0].replace("%", "%%")
    settings: dict[str, Any] = {"help": text}
    if action.option_strings and action.nargs == 0:
        settings["action"] = "store_true"
    else:
        settings["nargs"] = action.nargs
        settings["choices"] = _values(getattr(action, "_typehint", None))
    added = parser.add_argument(*(names or [action.dest]), **settings)
    if action.dest in _FILES:
        added.complete = complete_files  # type: ignore[attr-defined]


def _values(hint: Any) -> list[str] | None:
    """Return the words that a type allows; None if there are others."""
    if hint is bool:
        return ["true", "false"]
    values = get_args(hint)
    return list(values) if values and all(isinstance(value, str) for value in values) else None
