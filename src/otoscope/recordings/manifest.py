"""``manifest.jsonl``: one line of JSON for each recording of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from otoscope.errors import OtoscopeError
from otoscope.json_file import json_values

MANIFEST_NAME = "manifest.jsonl"


class Manifest:
    """A file of JSON lines that is complete after every line, whenever the process is killed.

    Args:
        path: Path of the file. Lines of other recordings in it are kept.
        files: Recordings that lines will be added for; their former lines are removed.
        resume: Keep the former lines of recordings that were explained.

    Raises:
        OtoscopeError: The file cannot be written.
    """

    def __init__(self, path: Path, files: Collection[str] = (), resume: bool = False) -> None:
        self.path = path
        lines = [
            line
            for line in read_manifest(path)
            if line.get("file") not in files or (resume and line.get("status") == "explained")
        ]
        self.files = {line.get("file") for line in lines}
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text("".join(map(_as_line, lines)), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise OtoscopeError(
                f"{path}: cannot be written ({error}); check the folder and the free space"
            ) from error

    def add(self, line: dict[str, Any]) -> None:
        """Append a line by one system call, so that lines of several processes do not mix."""
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, _as_line(line).encode())
            finally:
                os.close(handle)
        except OSError as error:
            raise OtoscopeError(f"{self.path}: cannot be written ({error}); check the free space") from error
        self.files.add(line.get("file"))


def read_manifest(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the lines of a manifest, without a last line that was cut off; nothing if there is no file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return []
    lines = []
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            lines.append(content)
    return lines


def _as_line(content: dict[str, Any]) -> str:
    return json.dumps(json_values(content), ensure_ascii=False) + "\n"
