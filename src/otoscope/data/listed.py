"""Recordings that a table lists: CSV, selection tables of Raven, labels of Audacity, JSON lines, or Parquet."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from otoscope.audio.files import SUFFIXES
from otoscope.data.segments import (
    TABLE_SUFFIXES,
    Segment,
    is_audacity_labels,
    is_raven_table,
    read_segments,
    segment_of_row,
    segments_of_rows,
)
from otoscope.data.splits import SPLITS, split_by_fold
from otoscope.data.tables import COLUMN_NAMES, Row, column_key, read_rows, read_text
from otoscope.errors import DataError

_ALIASES = {
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "training": "train",
    "testing": "test",
}
"""Other names of the splits."""


@dataclass(frozen=True)
class Entry:
    """Recording, or segment of one, with its label.

    Attributes:
        path: Sound file.
        label: Name of its class.
        begin_s: Begin of the segment.
        end_s: End of the segment; None for the whole recording.
        recording: Recording that the file was cut from, if the table names it.
        low_hz: Lowest frequency of the segment, if the table has it.
        high_hz: Highest frequency of the segment, if the table has it.
    """

    path: Path
    label: str
    begin_s: float = 0.0
    end_s: float | None = None
    recording: str | None = None
    low_hz: float | None = None
    high_hz: float | None = None


@dataclass(frozen=True)
class Listing:
    """Recordings, and how they are divided.

    Attributes:
        entries: Recordings or segments, if they are yet to be divided at random.
        split: Recordings of ``train``, ``valid`` and ``test``; None if they are yet to be divided.
    """

    entries: Sequence[Entry] = ()
    split: Mapping[str, Sequence[Entry]] | None = None


def split_name(text: str | None) -> str | None:
    """Return the split that a word stands for; None if it stands for none."""
    word = (text or "").strip().lower()
    name = _ALIASES.get(word, word)
    return name if name in SPLITS else None


def read_listing(path: Path, folder: Path, folds: Mapping[str, Sequence[int]]) -> Listing:
    """Read a table of recordings.

    Args:
        path: CSV, selection table of Raven, label file of Audacity, JSON lines, or Parquet.
        folder: Folder that file names are relative to.
        folds: Folds of ``train``, ``valid`` and ``test``, for a CSV with folds.

    Raises:
        DataError: The table is malformed, or names a recording that does not exist.
        ConfigurationError: Folds overlap or do not exist.
    """
    recordings = _Recordings(path, folder)
    if (segments := read_segments(path)) is not None:
        return Listing(_entries_of_segments(path, segments, recordings))
    rows = read_rows(path, {"filename", "label"}, names=COLUMN_NAMES)
    entries = [_entry(path, number, row, recordings) for number, row in rows]
    # A numeric column of that name, as in some public tables, is no division into the three sets.
    if "split" in rows[0][1]:
        return Listing(split=_by_named_split(path, rows, entries))
    if "fold" in rows[0][1]:
        numbers = [_whole_number(path, number, row["fold"]) for number, row in rows]
        return Listing(split=split_by_fold(list(zip(entries, numbers, strict=True)), folds, str(path)))
    return Listing(entries)


def read_events(path: Path, folder: Path) -> list[Entry]:
    """Read a table of events, with their frequencies.

    Args:
        path: Selection table of Raven, label file of Audacity, CSV, JSON lines or Parquet.
        folder: Folder that file names are relative to.

    Raises:
        DataError: The table is malformed, has no times, or names a recording that does not exist.
        MissingExtraError: It is a Parquet file, and pyarrow is not installed.
    """
    segments = read_segments(path)
    if segments is None:
        columns = {"filename", "label", "begin_s", "end_s"}
        segments = segments_of_rows(path, read_rows(path, columns, names=COLUMN_NAMES))
    return _entries_of_segments(path, segments, _Recordings(path, folder))


def label_files(folder: Path) -> list[Path]:
    """Return the label files below a folder: text files of Raven or Audacity that belong to a recording."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in TABLE_SUFFIXES and path.is_file() and not path.name.startswith(".")
        if is_raven_table(text := read_text(path)) or (is_audacity_labels(text) and _sound_beside(path) is not None)
    ]


def read_label_files(paths: Sequence[Path], folder: Path) -> Listing:
    """Read several label files; see `read_listing`."""
    entries: list[Entry] = []
    for path in paths:
        entries += _entries_of_segments(path, read_segments(path) or [], _Recordings(path, folder))
    if not entries:
        raise DataError(f"{folder}: its label files mark no segment; give each segment a label")
    return Listing(entries)


class _Recordings:
    """Finds the recordings that a table names, relative to the data folder or to the table, or anywhere below.

    Args:
        table: Table that names them.
        folder: Data folder.
    """

    def __init__(self, table: Path, folder: Path) -> None:
        self.table = table
        self.folder = folder

    def path(self, filename: str, line: int) -> Path:
        """Return the path of a recording.

        Raises:
            DataError: There is none, or several have this name.
        """
        # Backslashes come from Windows.
        names = dict.fromkeys((filename, filename.replace("\\", "/")))
        for name in names:
            for folder in (self.folder, self.table.parent):
                if (path := folder / name).is_file():
                    return path
        same_name = self._by_name[Path(list(names)[-1]).name.lower()]
        if len(same_name) == 1:
            return same_name[0]
        cause = f"there are {len(same_name)} files" if same_name else "there is no"
        raise DataError(
            f"{self.table}, line {line}: {cause} {self.folder / filename}; filenames must be relative to "
            "data_folder"
        )

    @cached_property
    def _by_name(self) -> Mapping[str, list[Path]]:
        """Sound files below the data folder, by their name."""
        result: defaultdict[str, list[Path]] = defaultdict(list)
        for path in self.folder.rglob("*"):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                result[path.name.lower()].append(path)
        return result


def _entry(path: Path, number: int, row: dict[str, str], recordings: _Recordings) -> Entry:
    if not row["filename"] or not row["label"]:
        raise DataError(f"{path}, line {number}: filename or label is missing")
    recording = recordings.path(row["filename"], number)
    # In lists of slices, such as that of UrbanSound8K, the times are those of the slice in another file.
    is_slice = any(column_key(name).startswith("slice") for name in row)
    source = row.get("src_file") or None
    if {"begin_s", "end_s"} <= row.keys() and not is_slice:
        return Entry(recording, row["label"], *segment_of_row(path, number, row), source)
    return Entry(recording, row["label"], recording=source)


def _entries_of_segments(path: Path, segments: Sequence[Segment], recordings: _Recordings) -> list[Entry]:
    beside = _sound_beside(path)
    entries = []
    for segment in segments:
        if not segment.filename and beside is None:
            raise DataError(
                f"{path}: names no recording, and there is none beside it with its name; call it like its "
                "recording, such as morning.txt beside morning.wav"
            )
        recording = recordings.path(segment.filename, segment.line) if segment.filename else beside
        box = {"low_hz": segment.low_hz, "high_hz": segment.high_hz}
        entries.append(Entry(recording, segment.label, segment.begin_s, segment.end_s, **box))  # type: ignore[arg-type]
    return entries


def _sound_beside(table: Path) -> Path | None:
    """Return the recording that a label file is named after, such as ``a.wav`` of ``a.Table.1.selections.txt``."""
    stems = table.name.split(".")
    for count in range(len(stems) - 1, 0, -1):
        stem = ".".join(stems[:count])
        for suffix in SUFFIXES:
            for spelling in (suffix, suffix.upper()):
                if (path := table.with_name(stem + spelling)).is_file():
                    return path
    return None


def _by_named_split(path: Path, rows: Sequence[Row], entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    result: dict[str, list[Entry]] = {name: [] for name in SPLITS}
    for (number, row), entry in zip(rows, entries, strict=True):
        if (name := split_name(row["split"])) is None:
            raise DataError(f"{path}, line {number}: split is {row['split']!r}, expected train, valid or test")
        result[name].append(entry)
    return result


def _whole_number(path: Path, number: int, text: str | None) -> int:
    try:
        value = float(text or "")  # tables that went through a spreadsheet or pandas have 1.0
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise DataError(f"{path}, line {number}: fold is {text!r}, expected a whole number")
    return int(value)
