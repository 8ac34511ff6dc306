"""Help that leaves out the many options of Lightning's Trainer, and an option that shows them."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import Any

import jsonargparse

OPTION = "--help_trainer"
_PREFIX = "trainer."


def add_trainer_help(parser: jsonargparse.ArgumentParser, shown: Collection[str]) -> None:
    """Hide the options of the Trainer from ``--help``, and add the option that shows all of them.

    Args:
        parser: Parser that has the options ``--trainer.NAME``.
        shown: Names of those that ``--help`` shows nevertheless.
    """
    hidden: dict[argparse.Action, str | None] = {}
    for action in parser._actions:
        name = action.dest.removeprefix(_PREFIX)
        if action.dest.startswith(_PREFIX) and name not in shown:
            hidden[action] = action.help
            action.help = argparse.SUPPRESS

    class TrainerHelp(argparse.Action):
        """Print the help with the hidden options, and exit."""

        def __call__(self, parser: argparse.ArgumentParser, *arguments: Any, **options: Any) -> None:
            for action, text in hidden.items():
                action.help = text
            parser.print_help()
            parser.exit()

    parser.add_argument(
        OPTION,
        action=TrainerHelp,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="Show this help with all options of Lightning's Trainer, and exit.",
    )
