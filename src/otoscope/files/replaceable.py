"""Folders that results may replace as a whole."""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from pathlib import Path


def is_replaceable(folder: Path, names: AbstractSet[str], marker: str | None = None) -> bool:
    """Return whether a folder is absent, empty, or holds nothing but a result, and may be renamed.

    Args:
        folder: Folder.
        names: Names of everything that a result may hold.
        marker: Name that every result holds (default: none is required).
    """
    try:
        present = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return True
    except OSError:
        return False
    # The current folder of a shell stays: a new one of the same name would not be the same folder.
    if os.path.realpath(folder) == os.path.realpath(".") or os.path.ismount(folder):
        return False
    return present <= names and (not present or marker is None or marker in present)
