"""Scores of single clips on disk, so that a killed evaluation goes on where it was."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from otoscope.errors import ConfigurationError, DataError
from otoscope.evaluation.fingerprints import alike
from otoscope.json_file import json_values, write_json

_LONGEST = 200


class Records:
    """A file of lines for each condition and method: one line, one clip.

    What was found for a method stays when others are added, and when clips or conditions are.

    Args:
        folder: Where they are kept.
        settings: What all scores depend on, by option.

    Raises:
        ConfigurationError: The folder holds records that were made with other settings, or cannot be made.
        DataError: They are damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"--output_folder {folder.parent}: cannot be written ({error})") from error
        self._index = folder / "index.json"
        self._known: dict[str, Any] = {"settings": json_values(dict(settings)), "methods": {}}
        self._read: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        if not self._index.is_file():
            return
        try:
            former = json.loads(self._index.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{self._index}: is damaged ({error}); choose another --output_folder") from error
        self._compare("", former["settings"], self._known["settings"])
        self._known = former

    def expect(self, method: str, fingerprint: str) -> None:
        """Refuses to go on with records of a method that was another one then.

        Args:
            method: Its name.
            fingerprint: Changes when its scores may.
        """
        known: dict[str, str] = self._known["methods"]
        if not self._has(method):
            known.pop(method, None)  # it could not explain then
        former = known.setdefault(method, fingerprint)
        self._compare("methods.", {method: former}, {method: fingerprint})

    def of(self, condition: str, method: str) -> dict[str, dict[str, Any]]:
        """What is known, by clip."""
        key = (condition, method)
        if key not in self._read:
            self._read[key] = {record["clip"]: record for record in _whole_lines(self._path(*key))}
        return self._read[key]

    def add(self, condition: str, method: str, found: Iterable[Mapping[str, Any]]) -> None:
        """Appends records, each a whole line or none; one of a clip that is known takes its place."""
        known = self.of(condition, method)
        fresh = [json_values(dict(record)) for record in found]
        if not self._index.is_file() or json.loads(self._index.read_text(encoding="utf-8")) != self._known:
            write_json(self._index, self._known)
        path = self._path(condition, method)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in fresh).encode())
        known |= {record["clip"]: record for record in fresh}

    def _has(self, method: str) -> bool:
        """Whether there are records of a method."""
        folders = (folder.name for folder in self.folder.iterdir() if folder.is_dir())
        return any(self._path(folder, method).is_file() for folder in folders)

    def _path(self, condition: str, method: str) -> Path:
        return self.folder / quote(condition, safe="") / f"{quote(method, safe=' +-')}.jsonl"

    def _compare(self, prefix: str, former: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        changed = [
            f"{prefix}{name} was {_short(former.get(name))}, is {_short(present.get(name))}"
            for name in sorted(former.keys() | present.keys())
            if not alike(former.get(name), present.get(name))
        ]
        if changed:
            raise ConfigurationError(
                f"{self.folder}: holds records of another evaluation ({'; '.join(changed[:5])}); choose another "
                "--output_folder, delete the folder, or give the same options to go on"
            )


def write_whole(path: Path, text: str) -> Path:
    """Writes a text, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Reads the records; what a kill left of a last line is cut off, so that the next one begins at its start."""
    if not path.is_file():
        return []
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        os.truncate(path, end)
    try:
        return [json.loads(line) for line in content[:end].splitlines()]
    except ValueError as error:
        raise DataError(f"{path}: is damaged ({error}); delete it, and its scores are computed again") from error
