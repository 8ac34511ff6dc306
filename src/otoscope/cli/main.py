"""Entry point of the command line. The module of a verb is imported when the verb runs, to keep ``--help`` fast."""

from __future__ import annotations

import contextlib
import errno
import importlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from otoscope.allocator import keep_freed_memory
from otoscope.cli.pipes import SIGPIPE, quiet_pipes
from otoscope.cli.threads import share_cores
from otoscope.errors import OtoscopeError, choices

VERBS = ("demo", "train", "explain", "evaluate", "audit", "report", "app", "convert", "completion")
"""Each is a module of `otoscope.cli` with a function ``run(arguments)``."""
USAGE = """\
usage: otoscope VERB [options]

Explains audio classifiers in sound.

verbs:
  demo        train, explain and score on synthetic sounds (about two minutes, no network)
  train       train a classifier or an interpreter:  otoscope train HPARAMS.yaml --data_folder DIR
  explain     explain recordings:                    otoscope explain CLIP.wav --model DIR --out DIR
  evaluate    compare methods of explanation:        otoscope evaluate HPARAMS.yaml --data_folder DIR
  audit       find what a classifier cheats by:      otoscope audit --model DIR --data_folder DIR
  report      show results on one page:              otoscope report RESULTS... --output_file report.html
  app         explain recordings in the browser:     otoscope app --model DIR
  convert     convert a model to a model folder:     otoscope convert SOURCE OUTPUT_FOLDER
  completion  print a script for tab completion:     otoscope completion bash

`otoscope VERB --help` lists the options of a verb, `otoscope train --help_trainer` Lightning's too.
"""
_SIGNALS = {int(signal.SIGINT): "the keyboard", int(signal.SIGTERM): "SIGTERM"}
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: Command line without the program's name (default: that of the process).

    Returns:
        Exit code: 0; 1 if some of several recordings could not be explained; 2 for an error that the user can fix,
        reported in one line; 130 after Ctrl-C, 143 after SIGTERM; 141 if the reader of the output has gone, as
        ``head`` goes.
    """
    _escape_what_cannot_be_printed()
    try:
        with quiet_pipes():
            return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except BrokenPipeError:
        return 128 + SIGPIPE


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        import otoscope

        print(f"otoscope {otoscope.__version__}")
        return 0
    verb, *options = arguments
    if verb not in VERBS:
        return _fail(f"otoscope: there is no verb {verb!r}; {choices(verb, VERBS)}")
    return _run(verb, options)


def _run(verb: str, options: list[str]) -> int:
    # before the verb's module imports PyTorch, or allocates anything large
    share_cores()
    keep_freed_memory()
    received: list[int] = []
    try:
        with _ended_by_signals(received):
            code = _run_reporting(verb, options)
    except KeyboardInterrupt:
        received = received or [int(signal.SIGINT)]
    except BaseException:
        if not received:
            raise
    # Whatever became of the exception on its way: Lightning, for example, exits with code 1 after Ctrl-C, and what
    # was interrupted may fail with an error of its own.
    if received:
        print(f"otoscope {verb}: stopped by {_SIGNALS[received[0]]}", file=sys.stderr)
        return 128 + received[0]
    return code


@contextlib.contextmanager
def _ended_by_signals(received: list[int]) -> Iterator[None]:
    """End the block by an exception when Ctrl-C or SIGTERM comes, so that everything is closed and tidied up.

    Args:
        received: List that the signal is appended to.
    """

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # Exceptions that `except Exception` does not catch. Files are complete or absent at any point.
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    # Python sets handlers in the main thread only; a process started in the background ignores Ctrl-C.
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    numbers = [number for number in _SIGNALS if number != signal.SIGINT or not ignored]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    former: dict[int, Any] = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _escape_what_cannot_be_printed() -> None:
    """Print characters that the terminal cannot show as escapes, such as bytes of a file name that are no text."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _run_reporting(verb: str, options: list[str]) -> int:
    """Run a verb; report errors that the user can fix."""
    try:
        code: int | None = importlib.import_module(f"otoscope.cli.{verb}").run(options)
    except OtoscopeError as error:
        return _fail(f"otoscope {verb}: {error}")
    # The user can fix a full disk or missing permissions; any other OSError keeps its traceback.
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        return _fail(f"otoscope {verb}: {error.filename or 'a file'}: cannot be written ({error.strerror})")
    return code or 0


def _fail(message: str) -> int:
    # Messages of other libraries may hold line breaks, but an error is reported in one line.
    print(" ".join(message.split()), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
