"""Recognition of the user's own recordings in a data folder."""

from __future__ import annotations

from pathlib import Path

OWN_RECORDINGS = "otoscope.data.AudioFolder"
"""Class of the user's own recordings."""

_ESC50_TABLE = Path("meta") / "esc50.csv"


def is_own_recordings(path: Path) -> bool:
    """Return whether a data folder holds recordings in another layout than that of ESC-50, or is a table of such.

    A folder that is absent or empty does not: ESC-50 would be downloaded into it. Nor does one that holds ESC-50 in
    a folder of its own, which is a mistake that the data set's own message explains.
    """
    if path.is_file():
        return True
    if not path.is_dir() or (path / _ESC50_TABLE).is_file():
        return False
    children = [child for child in path.iterdir() if not child.name.startswith(".")]
    return bool(children) and not any((child / _ESC50_TABLE).is_file() for child in children)
