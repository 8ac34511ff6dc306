"""Folders that the results of a long recording may replace."""

from __future__ import annotations

import os
from pathlib import Path

from otoscope.errors import OtoscopeError
from otoscope.recordings.files import EXPLANATION_NAME, TIMELINE_NAME
from otoscope.recordings.tables import TABLES

_NAMES = {"evidence.flac", "remainder.flac", "windows.csv", "events", "segments", "targets", TIMELINE_NAME}
_NAMES |= {f"timeline.{ending}" for ending in ("npz", "png", "svg")}
_NAMES |= {table.name for table in TABLES.values()}
"""Names of everything that a timeline saves."""


def is_replaceable(folder: Path) -> bool:
    """Return whether a folder is absent, empty, or holds nothing but a timeline, and may be renamed."""
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return True
    except OSError:
        return False
    # The current folder of a shell stays: a new one of the same name would not be the same folder.
    if os.path.realpath(folder) == os.path.realpath(".") or os.path.ismount(folder):
        return False
    return not names or (TIMELINE_NAME in names and names <= _NAMES)


def require_place(folder: Path) -> None:
    """Raise an error unless the results may replace a folder.

    Raises:
        OtoscopeError: The folder holds other files, or is the current one.
    """
    if not is_replaceable(folder):
        holds = (
            "holds an explanation of" if (folder / EXPLANATION_NAME).is_file() else "is in use or holds files of"
        )
        raise OtoscopeError(
            f"{folder}: {holds} something else, and results replace their folder as a whole; choose another folder"
        )
