"""Scores of single clips on disk, from which an interrupted evaluation resumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from otoscope.errors import ConfigurationError, DataError
from otoscope.evaluation.fingerprints import alike
from otoscope.files.json import json_values, read_json, write_json
from otoscope.files.json_lines import JsonLines

_UNSTATED = {"precision": "float32"}
"""Values of settings that records do not state."""
_MAX_LENGTH = 200
"""Number of characters of a value that a message shows."""


class Records:
    """One file of JSON lines for each condition and method, with one line for each clip.

    The records of a method stay valid when methods, clips or conditions are added. Beside them, ``index.json``
    holds the settings and the fingerprints of the methods that the records were made with.

    Args:
        folder: Folder of the records.
        settings: Values that all scores depend on, by name.

    Raises:
        ConfigurationError: The folder holds records that were made with other settings, or cannot be made.
        DataError: ``index.json`` is damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"--output_folder {folder.parent}: cannot be written ({error})") from error
        self._index_path = folder / "index.json"
        self._index: dict[str, Any] = {"settings": json_values(dict(settings)), "methods": {}}
        self._cache: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        if not self._index_path.is_file():
            return
        try:
            former = read_json(self._index_path)
        except ValueError as error:
            raise DataError(f"{self._index_path}: is damaged ({error}); choose another --output_folder") from error
        self._compare("", former["settings"], self._index["settings"])
        self._index = former

    def expect(self, method: str, fingerprint: str) -> None:
        """Require that the records of a method, if there are any, were made by the same method.

        Args:
            method: Name of the method.
            fingerprint: Fingerprint of the method as it is now.

        Raises:
            ConfigurationError: The records were made by another method of that name.
        """
        fingerprints: dict[str, str] = self._index["methods"]
        if not self._has(method):
            # A former run named the method but scored nothing with it, so that it may change.
            fingerprints.pop(method, None)
        former = fingerprints.setdefault(method, fingerprint)
        self._compare("methods.", {method: former}, {method: fingerprint})

    def of(self, condition: str, method: str) -> dict[str, dict[str, Any]]:
        """Return the records of a method in a condition, by clip.

        Raises:
            DataError: The file is damaged.
        """
        key = (condition, method)
        if key not in self._cache:
            self._cache[key] = {record["clip"]: record for record in self._read(*key)}
        return self._cache[key]

    def add(self, condition: str, method: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Append records, all of them or none; they replace former records of the same clips.

        Args:
            condition: Name of the condition.
            method: Name of the method.
            records: Records with the name of the clip as ``clip``.

        Raises:
            OtoscopeError: The file cannot be written.
            DataError: The file is damaged.
        """
        by_clip = self.of(condition, method)
        fresh = [json_values(dict(record)) for record in records]
        # The index comes first: records without it could not be distinguished from those of other settings.
        if not self._index_path.is_file() or read_json(self._index_path) != self._index:
            write_json(self._index_path, self._index)
        # A former line of a clip stays in the file. The last one counts, as `of` reads them in order.
        self._lines(condition, method).append(*fresh)
        by_clip |= {record["clip"]: record for record in fresh}

    def _has(self, method: str) -> bool:
        """Return whether there are records of a method."""
        return any((folder / _file_name(method)).is_file() for folder in self.folder.iterdir())

    def _read(self, condition: str, method: str) -> list[dict[str, Any]]:
        lines = self._lines(condition, method)
        # A kill may have cut off the last line; the next record would be appended to it and be lost too.
        lines.repair()
        try:
            return lines.read()
        except ValueError as error:
            raise DataError(
                f"{lines.path}: is damaged ({error}); delete it, and its scores are computed again"
            ) from error

    def _lines(self, condition: str, method: str) -> JsonLines:
        return JsonLines(self.folder / quote(condition, safe="") / _file_name(method))

    def _compare(self, prefix: str, former: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        names = sorted(former.keys() | present.keys())
        pairs = {name: [values.get(name, _UNSTATED.get(name)) for values in (former, present)] for name in names}
        changed = [
            f"{prefix}{name} was {_short(before)}, is {_short(after)}"
            for name, (before, after) in pairs.items()
            if not alike(before, after)
        ]
        if changed:
            raise ConfigurationError(
                f"{self.folder}: holds records of another evaluation ({'; '.join(changed[:5])}); choose another "
                "--output_folder, delete the folder, or resume with the former options"
            )


def _file_name(method: str) -> str:
    """Return the name of the file of a method; quoting keeps names with ``/`` inside the folder."""
    return f"{quote(method, safe=' +-')}.jsonl"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]} ..."
