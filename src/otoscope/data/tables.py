"""CSV files that list clips."""

from __future__ import annotations

import csv
from collections.abc import Set
from pathlib import Path

from otoscope.errors import DataError

Row = tuple[int, dict[str, str]]
"""Line number and cells by column."""


def read_rows(path: Path, columns: Set[str], layout: str = "") -> list[Row]:
    """Read a CSV that lists clips and return each row with its line number.

    Args:
        path: CSV file; a byte-order mark, which spreadsheets write, is ignored.
        columns: Columns that the file must have.
        layout: Name of the expected layout, for the message about a missing column.

    Raises:
        DataError: The file cannot be read, lists no clips, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(enumerate(csv.DictReader(file), start=2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not rows:
        raise DataError(f"{path}: lists no clips")
    if missing := sorted(columns - rows[0][1].keys()):
        hint = f"; expected the layout of {layout}" if layout else ""
        raise DataError(f"{path}: has no column {', '.join(missing)}{hint}")
    return rows
