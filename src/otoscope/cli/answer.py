"""Line of the answer on the standard output, printed as soon as it is known and completed when its files exist."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from otoscope.explanation import Explanation
    from otoscope.recordings import Result


class AnswerLine:
    """Summary of an explanation, its notes, and the folder of its files.

    A person reads the answer while the pictures are drawn, so its summary is printed first. The folder follows when
    the files are in it: a line that ends without a folder has none. As a context it ends a line that was begun.
    """

    def __init__(self) -> None:
        self._is_begun = False

    def begin(self, explanation: Explanation) -> None:
        """Print the answer, before its files are written."""
        self._is_begun = True
        # If nobody reads any more, the files are written all the same; the end of the line meets the same error.
        with contextlib.suppress(BrokenPipeError):
            print(_text(explanation.summary(), explanation.notes), end="", flush=True)

    def complete(self, result: Result) -> None:
        """Print where the files of a result are, and the answer if it is not there yet."""
        place = f"-> {result.line.get('folder') or result.line.get('shard')}"
        if self._is_begun:
            self._is_begun = False
            print("", place, flush=True)
        else:
            print(_text(result.summary, result.line["notes"]), place, flush=True)

    def __enter__(self) -> Self:
        """Return the line."""
        return self

    def __exit__(self, *_: object) -> None:
        """End a line whose files could not be written."""
        if self._is_begun:
            self._is_begun = False
            with contextlib.suppress(BrokenPipeError):
                print(flush=True)


def _text(summary: str, notes: list[str]) -> str:
    return " ".join([summary, *(f"({note})" for note in notes)])
