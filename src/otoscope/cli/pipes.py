"""Output whose reader may leave before the end, as in ``otoscope explain --help | head``."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

SIGPIPE = 13
"""Number of the signal that ends other programs in this case; Windows, which has none, gets the same exit code."""


@contextlib.contextmanager
def quiet_pipes() -> Iterator[None]:
    """Run a block, write its output out, and leave nothing to write to a reader that has gone.

    Raises:
        BrokenPipeError: The reader of the output or of the messages has gone. Nothing is printed about it, now or
            when Python ends.
    """
    ended: BaseException | None = None
    try:
        yield
    except (BrokenPipeError, SystemExit) as error:  # SystemExit: after --help
        ended = error
    # every stream is tried, since each has to be silenced
    gone = [stream for stream in (sys.stdout, sys.stderr) if not _flushed(stream)]
    if gone:
        raise BrokenPipeError from ended
    if ended is not None:  # a pipe of something else broke, which is an error
        raise ended


def _flushed(stream: TextIO) -> bool:
    """Write out what a stream holds; if nobody reads it any more, send it nowhere."""
    try:
        stream.flush()
    except BrokenPipeError:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device, not a path
            os.dup2(nowhere.fileno(), stream.fileno())
        return False
    return True
