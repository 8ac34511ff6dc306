"""Labelled segments of recordings: selection tables of Raven, label files of Audacity, and tables of events."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from otoscope.audio import audio_info
from otoscope.data.tables import (
    COLUMN_NAMES,
    RECORD_SUFFIXES,
    Row,
    column_key,
    read_records,
    read_rows,
    read_text,
)
from otoscope.errors import AudioError, DataError

TABLE_SUFFIXES = (".txt", ".tsv")
"""Suffixes of label files that lie beside their recordings."""

_TOLERANCE_S = 0.01
_RAVEN_NAMES = {
    "begin_s": ("begintimes", "begintime"),
    "end_s": ("endtimes", "endtime"),
    "offset_s": ("fileoffsets",),
    "low_hz": ("lowfreqhz",),
    "high_hz": ("highfreqhz",),
    "filename": ("beginfile", "beginpath", "soundfile", "filename"),
    # Raven itself has no column of labels; these are the names that users give theirs.
    "label": ("annotation", "species", *COLUMN_NAMES["label"], "call", "calltype", "comments", "notes"),
}


@dataclass(frozen=True)
class Segment:
    """Labelled part of a recording.

    Attributes:
        label: Name of its class.
        begin_s: Begin in the recording.
        end_s: End in the recording.
        filename: Recording that the table names; empty if it names none.
        line: Line of the table.
        low_hz: Lowest frequency; None if the table has none.
        high_hz: Highest frequency; None if the table has none.
    """

    label: str
    begin_s: float
    end_s: float
    filename: str
    line: int
    low_hz: float | None = None
    high_hz: float | None = None


def is_raven_table(text: str) -> bool:
    r"""Return whether a text is a selection table of Raven, which begins with the names of its columns.

    Example:
        >>> is_raven_table("Selection\tView\tBegin Time (s)\tEnd Time (s)\n")
        True
    """
    columns = {column_key(name) for name in text.partition("\n")[0].split("\t")}
    return {"begintimes", "endtimes"} <= columns


def is_audacity_labels(text: str) -> bool:
    r"""Return whether a text is a label file of Audacity: lines of begin, end and label, separated by tabs.

    Example:
        >>> is_audacity_labels("0.5\t1.25\twren\n"), is_audacity_labels("notes of the day\n")
        (True, False)
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("\\")]
    return bool(lines) and all(_audacity_times(line) is not None for line in lines)


def read_segments(path: Path) -> list[Segment] | None:
    """Read the segments of a selection table of Raven, a label file of Audacity, JSON lines or a Parquet file.

    Labels that mark a point instead of a segment are left out.

    Args:
        path: Table.

    Returns:
        The segments; None if the file is none of these.

    Raises:
        DataError: The file cannot be read, has no labels, or a time is no number or lies before the begin.
        MissingExtraError: The file is a Parquet file, and pyarrow is not installed.
    """
    if path.suffix.lower() in RECORD_SUFFIXES:
        return segments_of_rows(path, read_records(path))
    text = read_text(path)
    if is_raven_table(text):
        return list(_raven_segments(path))
    if is_audacity_labels(text):
        return list(_audacity_segments(path, text))
    return None


def load_segment(path: Path, begin_s: float, end_s: float, sample_rate_hz: int) -> Tensor:
    """Load a part of a recording as a mono waveform, without decoding the rest.

    Args:
        path: Sound file.
        begin_s: Begin of the part.
        end_s: End of the part; at most a hundredth of a second behind the end of the recording.
        sample_rate_hz: Sample rate of the result.

    Returns:
        Waveform, shape (samples,).

    Raises:
        AudioError: The file cannot be read, or ends before the part does.
    """
    info = audio_info(path)
    duration_s = info.frames / info.sample_rate_hz
    if end_s > duration_s + _TOLERANCE_S:
        raise AudioError(
            f"{path}: a segment ends at {end_s:g} s, but the recording at {duration_s:.2f} s; correct its label"
        )
    begin, end = (min(round(time_s * info.sample_rate_hz), info.frames) for time_s in (begin_s, end_s))
    try:
        with soundfile.SoundFile(str(path) if os.name == "nt" else os.fsencode(path)) as file:
            file.seek(begin)
            mono = file.read(end - begin, dtype="float32", always_2d=True).mean(axis=1)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path}: damaged or truncated ({error}); copy or export it again") from error
    mono = soxr.resample(mono, info.sample_rate_hz, sample_rate_hz, quality="HQ")
    if not len(mono) or not np.isfinite(mono).all():
        raise AudioError(f"{path}: no usable samples from {begin_s:g} to {end_s:g} s; correct the label")
    return torch.from_numpy(np.ascontiguousarray(mono, dtype=np.float32))


def segment_of_row(path: Path, number: int, row: dict[str, str]) -> tuple[float, float]:
    """Return begin and end, in seconds, of a row with the columns ``begin_s`` and ``end_s``.

    Raises:
        DataError: One is no number, or they are not in order.
    """
    begin_s, end_s = (_seconds(path, number, row[name], name) for name in ("begin_s", "end_s"))
    if not 0 <= begin_s < end_s:
        raise DataError(f"{path}, line {number}: begins at {begin_s:g} s and ends at {end_s:g} s")
    return begin_s, end_s


def frequencies_of_row(path: Path, number: int, row: dict[str, str]) -> tuple[float | None, float | None]:
    """Return the lowest and the highest frequency, in Hz, of a row; None where it has no such cell.

    Raises:
        DataError: One is no number, or they are not in order.
    """
    low_hz, high_hz = (
        _seconds(path, number, row[name], name, "Hz") if row.get(name) else None for name in ("low_hz", "high_hz")
    )
    if low_hz is not None and high_hz is not None and not low_hz < high_hz:
        raise DataError(f"{path}, line {number}: low_hz is {low_hz:g}, high_hz {high_hz:g}; expected less")
    return low_hz, high_hz


def segments_of_rows(path: Path, rows: Sequence[Row]) -> list[Segment]:
    """Return the segments of rows with the columns ``filename``, ``label``, ``begin_s`` and ``end_s``.

    Raises:
        DataError: A cell is missing, a time is no number, or begin and end are not in order.
    """
    segments = []
    for number, row in rows:
        if not row["filename"] or not row["label"]:
            raise DataError(f"{path}, line {number}: filename or label is missing")
        begin_s, end_s = segment_of_row(path, number, row)
        frequencies = frequencies_of_row(path, number, row)
        segments.append(Segment(row["label"], begin_s, end_s, row["filename"], number, *frequencies))
    return segments


def _raven_segments(path: Path) -> Iterator[Segment]:
    rows = read_rows(path, {"begin_s", "end_s", "label"}, "a Raven selection table with labels", _RAVEN_NAMES)
    for number, row in _one_row_per_selection(rows):
        begin_s, end_s = segment_of_row(path, number, row)
        # In a table of several sounds, times run on from sound to sound; the offset counts from the sound's begin.
        if row.get("offset_s"):
            shift_s = _seconds(path, number, row["offset_s"], "file offset") - begin_s
            begin_s, end_s = begin_s + shift_s, end_s + shift_s
        if row["label"]:
            # Tables may come from Windows, with its separators.
            filename = PureWindowsPath(row.get("filename") or "").name
            yield Segment(row["label"], begin_s, end_s, filename, number, *frequencies_of_row(path, number, row))


def _one_row_per_selection(rows: Sequence[Row]) -> list[Row]:
    """Return the first row of each selection: Raven writes one for each of its views of the sound."""
    selection = next((name for name in rows[0][1] if column_key(name) == "selection"), None)
    first: dict[object, Row] = {}
    for number, row in rows:
        number_of_selection = row[selection] if selection else number
        first.setdefault((number_of_selection, row["begin_s"], row["end_s"], row.get("filename")), (number, row))
    return list(first.values())


def _audacity_segments(path: Path, text: str) -> Iterator[Segment]:
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("\\"):  # the frequencies of the label above
            continue
        begin_s, end_s = _audacity_times(line) or (0.0, 0.0)
        label = line.split("\t", 2)[2].strip() if line.count("\t") > 1 else ""
        if end_s < begin_s or begin_s < 0:
            raise DataError(f"{path}, line {number}: begins at {begin_s:g} s and ends at {end_s:g} s")
        if label and end_s > begin_s:
            following = lines[number] if number < len(lines) else ""
            yield Segment(label, begin_s, end_s, "", number, *_audacity_frequencies(following))


def _audacity_frequencies(line: str) -> tuple[float | None, float | None]:
    r"""Return the frequencies of a line that begins with a backslash; None where they are absent or undefined."""
    if not line.startswith("\\"):
        return None, None
    values: list[float | None] = []
    for cell in line.replace(",", ".").split("\t")[1:3]:
        try:
            value = float(cell)
        except ValueError:
            value = -1.0
        values.append(value if math.isfinite(value) and value >= 0 else None)  # Audacity writes -1 for undefined
    low_hz, high_hz = (*values, None, None)[:2]
    return (low_hz, high_hz) if low_hz is None or high_hz is None or low_hz < high_hz else (None, None)


def _audacity_times(line: str) -> tuple[float, float] | None:
    """Return the times of a line; None if it has none. Some languages write a comma in numbers."""
    cells = line.replace(",", ".").split("\t")
    try:
        begin_s, end_s = float(cells[0]), float(cells[1])
    except (ValueError, IndexError):
        return None
    return (begin_s, end_s) if math.isfinite(begin_s) and math.isfinite(end_s) else None


def _seconds(path: Path, number: int, text: str | None, name: str, unit: str = "seconds") -> float:
    try:
        value = float((text or "").replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}, line {number}: {name} is {text!r}, expected a number of {unit}")
    return value
