"""Entry point of the command line. The module of a verb is imported when the verb runs, to keep ``--help`` fast."""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Sequence

from otoscope.cli.allocator import keep_freed_memory
from otoscope.errors import OtoscopeError

VERBS = ("demo", "train", "explain", "evaluate", "convert")
"""Each is a module of `otoscope.cli` with a function ``run(arguments)``."""
USAGE = """\
usage: otoscope VERB [options]

Explains audio classifiers in sound.

verbs:
  demo      train, explain and score on synthetic sounds (about two minutes, no network)
  train     train a classifier or an interpreter:  otoscope train HPARAMS.yaml --data_folder DIR
  explain   explain recordings:                    otoscope explain CLIP.wav --model DIR --out DIR
  evaluate  compare methods of explanation:        otoscope evaluate HPARAMS.yaml --data_folder DIR
  convert   convert a model to a model folder:     otoscope convert SOURCE OUTPUT_FOLDER

`otoscope VERB --help` lists the options of a verb.
"""
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: Command line without the program's name (default: that of the process).

    Returns:
        Exit code: 0; 1 if some of several recordings could not be explained; 2 for an error that the user can fix,
        reported in one line.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        import otoscope

        print(f"otoscope {otoscope.__version__}")
        return 0
    verb, *options = arguments
    if verb not in VERBS:
        return _fail(f"otoscope: there is no verb {verb!r}; choose one of {', '.join(VERBS)}")
    return _run(verb, options)


def _run(verb: str, options: list[str]) -> int:
    # before the verb's module allocates anything large
    keep_freed_memory()
    try:
        code: int | None = importlib.import_module(f"otoscope.cli.{verb}").run(options)
    except OtoscopeError as error:
        return _fail(f"otoscope {verb}: {error}")
    # The user can fix a full disk or missing permissions; any other OSError keeps its traceback.
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        return _fail(f"otoscope {verb}: {error.filename or 'a file'}: cannot be written ({error.strerror})")
    except KeyboardInterrupt:
        return _fail(f"otoscope {verb}: stopped by the keyboard")
    return code or 0


def _fail(message: str) -> int:
    # Messages of other libraries may hold line breaks, but an error is reported in one line.
    print(" ".join(message.split()), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
