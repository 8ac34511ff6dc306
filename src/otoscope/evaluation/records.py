"""Scores of single clips on disk, so that a killed evaluation goes on where it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from otoscope.errors import ConfigurationError, DataError
from otoscope.evaluation.fingerprints import alike
from otoscope.files.json import json_values, read_json, write_json
from otoscope.files.json_lines import JsonLines

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
            former = read_json(self._index)
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
            self._read[key] = {record["clip"]: record for record in self._stored(*key)}
        return self._read[key]

    def add(self, condition: str, method: str, found: Iterable[Mapping[str, Any]]) -> None:
        """Appends records, each a whole line or none; one of a clip that is known takes its place."""
        known = self.of(condition, method)
        fresh = [json_values(dict(record)) for record in found]
        if not self._index.is_file() or read_json(self._index) != self._known:
            write_json(self._index, self._known)
        self._lines(condition, method).append(*fresh)
        known |= {record["clip"]: record for record in fresh}

    def _has(self, method: str) -> bool:
        """Whether there are records of a method."""
        folders = (folder.name for folder in self.folder.iterdir() if folder.is_dir())
        return any(self._lines(folder, method).path.is_file() for folder in folders)

    def _stored(self, condition: str, method: str) -> list[dict[str, Any]]:
        """Read the records of a file, after removing a last line that a kill has cut off."""
        lines = self._lines(condition, method)
        lines.repair()
        try:
            return lines.read()
        except ValueError as error:
            raise DataError(
                f"{lines.path}: is damaged ({error}); delete it, and its scores are computed again"
            ) from error

    def _lines(self, condition: str, method: str) -> JsonLines:
        return JsonLines(self.folder / quote(condition, safe="") / f"{quote(method, safe=' +-')}.jsonl")

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


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
