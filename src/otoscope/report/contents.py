"""Checked access to JSON of any origin: a missing or wrong value is an error that names the file and the key."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from otoscope.errors import DataError, first_line
from otoscope.files.json import read_json


class Content:
    """Object of a JSON file.

    Args:
        path: Path of the file, for messages.
        values: The object.
    """

    def __init__(self, path: Path, values: Any) -> None:
        if not isinstance(values, dict):
            raise DataError(f"{path}: holds no JSON object; make the result again")
        self.path, self.values = path, values

    @classmethod
    def read(cls, path: Path) -> Content:
        """Read a file.

        Raises:
            DataError: The file cannot be read, or holds no JSON object.
        """
        try:
            return cls(path, read_json(path))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({first_line(error)}); make the result again") from error

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text."""
        value = self.values.get(key, default)
        return value if isinstance(value, str) else self._fail(key, "a text")

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self.values.get(key)
        if not _is_number(value):
            self._fail(key, "a number")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """Return a finite number, or None where there is none."""
        return None if self.values.get(key) is None else self.number(key)

    def texts(self, key: str) -> list[str]:
        """Return a list of texts, empty if it is missing."""
        value = self.values.get(key, [])
        is_list = isinstance(value, list) and all(isinstance(text, str) for text in value)
        return list(value) if is_list else self._fail(key, "a list of texts")

    def numbers(self, key: str) -> dict[str, float]:
        """Return the numbers of an object by name, without those that are null; empty if it is missing."""
        value = self.values.get(key, {})
        if not isinstance(value, dict) or not all(_is_number(item) or item is None for item in value.values()):
            self._fail(key, "numbers by name")
        return {name: float(item) for name, item in value.items() if item is not None}

    def part(self, key: str) -> Content:
        """Return an object within this one, an empty one if it is missing or null."""
        value = self.values.get(key)
        value = {} if value is None else value
        return Content(self.path, value) if isinstance(value, dict) else self._fail(key, "an object")

    def parts(self, key: str) -> list[Content]:
        """Return a list of objects, empty if it is missing."""
        value = self.values.get(key, [])
        is_list = isinstance(value, list) and all(isinstance(item, dict) for item in value)
        return [Content(self.path, item) for item in value] if is_list else self._fail(key, "a list of objects")

    def _fail(self, key: str, expected: str) -> NoReturn:
        raise DataError(f"{self.path}: {key!r} is not {expected}; make the result again")


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
