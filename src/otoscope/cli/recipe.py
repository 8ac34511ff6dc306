"""Scripts of the recipes: a verb that finds its hyperparameter file, and keeps its results, beside the script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from otoscope.cli.main import main
from otoscope.cli.threads import share_cores

# Already here: a script imports this module first, and then PyTorch together with the classes that it names.
share_cores()


def run_recipe(verb: str, script: str | Path, arguments: Sequence[str] | None = None) -> int:
    """Run a verb for a script, from any folder.

    Args:
        verb: ``train`` or ``evaluate``.
        script: Path of the script.
        arguments: Command line of the script (default: that of the process).

    Returns:
        Exit code; see `otoscope.cli.main.main`.
    """
    return main([verb, *script_arguments(script, sys.argv[1:] if arguments is None else arguments)])


def script_arguments(script: str | Path, arguments: Sequence[str]) -> list[str]:
    """Complete the command line of a script.

    A hyperparameter file that does not exist in the current folder is looked up beside the script, and results are
    written beside it. A name that ends in ``.py``, as the reference's documents spell it, means the ``.yaml`` file.

    Args:
        script: Path of the script.
        arguments: Command line of the script.
    """
    arguments = list(arguments)
    folder = Path(script).resolve().parent
    if not arguments or arguments[0].startswith("-"):
        return arguments
    # Inside the script's folder the names stay short, as the user typed them.
    beside = Path() if folder == Path.cwd().resolve() else folder
    named = Path(arguments[0])
    candidates = [place / name for name in (named, named.with_suffix(".yaml")) for place in (Path(), beside)]
    file = next((path for path in candidates if path.is_file() and path.suffix != ".py"), named)
    return [str(file), f"--results_folder={beside / 'results'}", *arguments[1:]]
