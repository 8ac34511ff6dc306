"""Folders that the results of a long recording may replace."""

from __future__ import annotations

from pathlib import Path

from otoscope.errors import OtoscopeError
from otoscope.files.replaceable import is_replaceable
from otoscope.recordings.files import EXPLANATION_NAME, TIMELINE_NAME
from otoscope.recordings.tables import TABLES

_NAMES = {"evidence.flac", "remainder.flac", "windows.csv", "events", "segments", "targets", TIMELINE_NAME}
_NAMES |= {f"timeline.{ending}" for ending in ("npz", "png", "svg")}
_NAMES |= {table.name for table in TABLES.values()}
"""Names of everything that a timeline saves."""


def is_place(folder: Path) -> bool:
    """Return whether a folder is absent, empty, or holds nothing but a timeline, and may be renamed."""
    return is_replaceable(folder, _NAMES, TIMELINE_NAME)


def require_place(folder: Path) -> None:
    """Raise an error unless the results may replace a folder.

    Raises:
        OtoscopeError: The folder holds other files, or is the current one.
    """
    if not is_place(folder):
        holds = (
            "holds an explanation of" if (folder / EXPLANATION_NAME).is_file() else "is in use or holds files of"
        )
        raise OtoscopeError(
            f"{folder}: {holds} something else, and results replace their folder as a whole; choose another folder"
        )
