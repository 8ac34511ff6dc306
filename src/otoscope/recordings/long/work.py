"""Intermediate results of a long recording: what a killed run leaves and the next one continues."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from otoscope.audio import Survey
from otoscope.errors import OtoscopeError
from otoscope.files.atomic import remove_stale
from otoscope.files.json import json_values, read_json, write_json

_STATE_NAME = "state.json"


class WorkFolder:
    """Hidden folder beside the results, removed when they are complete.

    Args:
        results: Folder of the results.
        key: Everything that the intermediate results depend on (JSON values). Those of another key are removed.

    Raises:
        OtoscopeError: The folder cannot be made.
    """

    def __init__(self, results: Path, key: dict[str, Any]) -> None:
        self.path = results.parent / f".{results.name}.unfinished"
        # JSON makes lists of tuples
        self._key = json.loads(json.dumps(json_values(key)))
        self._state = self._read()
        if self._state.get("key") != self._key:
            shutil.rmtree(self.path, ignore_errors=True)
            self._state = {"key": self._key}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OtoscopeError(f"{results}: cannot be written ({error}); check the folder") from error
        remove_stale(self.path)
        write_json(self.path / _STATE_NAME, self._state)

    @property
    def survey(self) -> Survey | None:
        """Survey of the recording by an earlier run; None if there is none."""
        stored = self._state.get("survey")
        return None if stored is None else Survey(stored["samples"], stored["peak"], tuple(stored["notes"]))

    @survey.setter
    def survey(self, survey: Survey) -> None:
        self._state["survey"] = asdict(survey)
        write_json(self.path / _STATE_NAME, self._state)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _read(self) -> dict[str, Any]:
        try:
            content = read_json(self.path / _STATE_NAME)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
