"""Tables of events: selection tables of Raven, labels of Audacity, CSV, JSON lines, and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from otoscope.errors import MissingExtraError
from otoscope.files.atomic import replace_file
from otoscope.files.json import json_text
from otoscope.recordings.event import Event


@dataclass(frozen=True)
class Table:
    """A kind of table.

    Attributes:
        name: Name of its file.
        content: Function of the events and the highest frequency of the recording, in Hz.
    """

    name: str
    content: Callable[[Sequence[Event], float], bytes]


def write_table(events: Sequence[Event], path: str | Path, kind: str, highest_hz: float) -> Path:
    """Write a table of events, atomically.

    Args:
        events: Events.
        path: File.
        kind: Kind of table, one of `TABLES`.
        highest_hz: Highest frequency that the classifier hears: upper end of events without a box, as Raven and
            Audacity know no event without frequencies.

    Raises:
        MissingExtraError: The kind needs a package that is not installed.
        OtoscopeError: The file cannot be written.
    """
    content = TABLES[kind].content(events, highest_hz)
    return replace_file(path, lambda temporary: temporary.write_bytes(content))


def check_tables(kinds: Sequence[str]) -> None:
    """Raise an error if a kind of table needs a package that is not installed, before a long run begins.

    Raises:
        MissingExtraError: It does; the message names the extra.
    """
    if "parquet" in kinds:
        _pyarrow()


def raven_table(events: Sequence[Event], highest_hz: float) -> bytes:
    r"""Return a selection table of Raven: a tab between cells, a line for each event.

    Example:
        >>> event = Event("a/night.wav", "dog", 12.5, 13.25, 0.97, 0.9, 12, 14, low_hz=200, high_hz=1500)
        >>> header, line = raven_table([event], 8000).decode().splitlines()
        >>> header.split("\t")[:4]
        ['Selection', 'View', 'Channel', 'Begin Time (s)']
        >>> line.split("\t")
        ['1', 'Spectrogram 1', '1', '12.500000', '13.250000', '200.0', '1500.0', 'night.wav', 'dog', '0.9700', '']
    """
    header = [
        *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
        *("Begin File", "Annotation", "Confidence", "Verdict"),
    ]
    lines = [header]
    for number, event in enumerate(events, start=1):
        low_hz, high_hz = _frequencies(event, highest_hz)
        times = [f"{event.begin_s:.6f}", f"{event.end_s:.6f}", f"{low_hz:.1f}", f"{high_hz:.1f}"]
        name = _one_line(PurePath(event.file).name)
        cells = [str(number), "Spectrogram 1", "1", *times, name, _one_line(event.label)]
        lines.append([*cells, f"{event.confidence:.4f}", event.verdict])
    return _encoded("".join("\t".join(cells) + "\n" for cells in lines))


def audacity_labels(events: Sequence[Event], highest_hz: float) -> bytes:
    r"""Return a label file of Audacity, with the line of frequencies that its spectral selection reads.

    Example:
        >>> event = Event("night.wav", "dog", 12.5, 13.25, 0.97, 0.9, 12, 14, low_hz=200, high_hz=1500)
        >>> audacity_labels([event], 8000).decode().splitlines()
        ['12.500000\t13.250000\tdog', '\\\t200.000000\t1500.000000']
    """
    text = ""
    for event in events:
        low_hz, high_hz = _frequencies(event, highest_hz)
        text += f"{event.begin_s:.6f}\t{event.end_s:.6f}\t{_one_line(event.label)}\n"
        text += f"\\\t{low_hz:.6f}\t{high_hz:.6f}\n"
    return _encoded(text)


def csv_table(events: Sequence[Event], highest_hz: float) -> bytes:
    """Return a CSV of the columns of `Event.row`; a value that is not known is an empty cell."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(event.row() for event in events)
    return _encoded(buffer.getvalue())


def json_lines(events: Sequence[Event], highest_hz: float) -> bytes:
    """Return a line of JSON for each event, with all of its attributes."""
    return "".join(json_text(asdict(event)) + "\n" for event in events).encode()


def parquet_table(events: Sequence[Event], highest_hz: float) -> bytes:
    """Return a Parquet file of the columns of `Event.row`.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = _pyarrow()
    import pyarrow.parquet as parquet

    types = {"text": pyarrow.string(), "number": pyarrow.float64(), "count": pyarrow.int64()}
    schema = pyarrow.schema([(name, types[_COLUMNS[name]]) for name in _COLUMNS])
    rows = [{name: _text(value) for name, value in event.row().items()} for event in events]
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), buffer)
    return buffer.getvalue()


TABLES = {
    "raven": Table("events.raven.txt", raven_table),
    "audacity": Table("events.audacity.txt", audacity_labels),
    "csv": Table("events.csv", csv_table),
    "jsonl": Table("events.jsonl", json_lines),
    "parquet": Table("events.parquet", parquet_table),
}
"""The kinds of tables by name."""
DEFAULT_TABLES = ("raven", "audacity", "csv", "jsonl")
"""Kinds that need no further package."""

_COLUMNS = {
    **{"file": "text", "label": "text", "begin_s": "number", "end_s": "number", "low_hz": "number"},
    **{"high_hz": "number", "confidence": "number", "mean_confidence": "number", "windows_begin_s": "number"},
    **{"windows_end_s": "number", "evidence_begin_s": "number", "evidence_end_s": "number", "windows": "count"},
    **{"explained_windows": "count", "p_evidence": "number", "p_remainder": "number", "area": "number"},
    **{"verdict": "text", "page": "text", "segment": "text"},
}
"""Types of the columns, which a Parquet file states even if there is no event."""


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError(
            "tables: parquet needs pyarrow; install it with pip install 'otoscope[tables]', or leave out parquet"
        ) from error
    return pyarrow  # type: ignore[no-any-return]


def _frequencies(event: Event, highest_hz: float) -> tuple[float, float]:
    return (event.low_hz or 0.0), (highest_hz if event.high_hz is None else event.high_hz)


def _one_line(text: str) -> str:
    """Return a text without the characters that separate cells and lines."""
    return " ".join(text.split())


def _text(value: Any) -> Any:
    """Return a text without bytes that are no text, which columns of Parquet cannot hold."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
