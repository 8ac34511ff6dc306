"""``manifest.jsonl``: one line of JSON for each recording of a run."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from otoscope.files.json_lines import JsonLines

MANIFEST_NAME = "manifest.jsonl"


class Manifest:
    """A file of JSON lines that stays readable even if the process is killed.

    Args:
        path: Path of the file. Lines of other recordings in it are kept.
        files: Recordings that lines will be added for; their former lines are removed.
        finished: Those among them that an earlier run explained; their former lines stay.

    Raises:
        OtoscopeError: The file cannot be written.
    """

    def __init__(self, path: Path, files: Collection[str] = (), finished: Collection[str] = ()) -> None:
        self._lines = JsonLines(path)
        lines = [
            line
            for line in read_manifest(path)
            if line.get("file") not in files or (line["file"] in finished and line.get("status") == "explained")
        ]
        self.files = {line.get("file") for line in lines}
        # The only rewrite. From here on lines are appended, and a kill costs no earlier line.
        self._lines.rewrite(lines)

    def add(self, line: dict[str, Any]) -> None:
        """Append a line.

        Raises:
            OtoscopeError: The file cannot be written.
        """
        self._lines.append(line)
        self.files.add(line.get("file"))


def read_manifest(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the lines of a manifest, or none if there is no file. Damaged lines are skipped."""
    return JsonLines(path).read(skip_damaged=True)
