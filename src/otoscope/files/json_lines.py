"""Files of JSON lines to which several processes can append, and which stay readable if one of them is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from otoscope.errors import OtoscopeError
from otoscope.files.atomic import replace_text
from otoscope.files.json import json_text


class JsonLines:
    """A file with one JSON object per line.

    Args:
        path: Path of the file. It need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def read(self, skip_damaged: bool = False) -> list[dict[str, Any]]:
        """Return the objects, or an empty list if there is no file.

        A last line that was cut off, by a kill or a full disk, is ignored.

        Args:
            skip_damaged: Ignore other damaged lines as well.

        Raises:
            ValueError: A line holds no JSON object, and ``skip_damaged`` is False.
        """
        try:
            content = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return []
        rows = []
        for number, line in enumerate(_complete_lines(content), start=1):
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("expected a JSON object")
            except ValueError as error:
                if skip_damaged:
                    continue
                raise ValueError(f"line {number}: {error}") from error
            rows.append(row)
        return rows

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Append objects, one line each.

        All lines go to the file in one system call: the kernel appends them as a whole, so lines of several
        processes do not mix and a kill leaves all of them or none.

        Raises:
            OtoscopeError: The file cannot be written.
        """
        data = "".join(map(_as_line, rows)).encode()
        # One unbuffered write with O_APPEND: Python's buffered files would split it into several system calls.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if os.write(handle, data) < len(data):
                    raise OSError("only a part was written")
            finally:
                os.close(handle)
        except OSError as error:
            raise OtoscopeError(f"{self.path}: cannot be written ({error}); check the free space") from error

    def rewrite(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace the whole content atomically.

        Raises:
            OtoscopeError: The file cannot be written.
        """
        replace_text(self.path, "".join(map(_as_line, rows)))

    def repair(self) -> None:
        """Remove a last line that was cut off, so that the next object starts on a line of its own.

        Must not be called while another process appends, whose line could look cut off.
        """
        if not self.path.is_file():
            return
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            os.truncate(self.path, end)


def _complete_lines(content: bytes) -> list[bytes]:
    """Return the lines that end in a line feed, without it."""
    # What follows the last line feed is nothing, or the beginning of a line that was cut off.
    return content.split(b"\n")[:-1]


def _as_line(row: Mapping[str, Any]) -> str:
    return json_text(dict(row)) + "\n"
