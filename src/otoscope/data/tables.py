"""Tables that list clips: CSV with columns under any of their usual names, JSON lines, and Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any

from otoscope.errors import DataError, MissingExtraError

Row = tuple[int, dict[str, str]]
"""Line number and cells by column."""

COLUMN_NAMES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "filename": (
            "filename",
            "file",
            "path",
            "filepath",
            "audiofile",
            "audiofilename",
            "audiopath",
            "audio",
            "wav",
            "soundfile",
            "recording",
            "fname",
            "slicefilename",
        ),
        "label": (
            "label",
            "category",
            "class",
            "classname",
            "labelname",
            "classlabel",
            "species",
            "annotation",
            "tag",
        ),
        "src_file": ("srcfile", "sourcefile", "fsid", "freesoundid", "recordingid"),
        "split": ("split", "subset", "partition"),
        "fold": ("fold",),
        "begin_s": (
            "begins",
            "starts",
            "begintimes",
            "starttimes",
            "begintime",
            "starttime",
            "begin",
            "start",
            "onset",
        ),
        "end_s": ("ends", "endtimes", "stoptimes", "endtime", "stoptime", "end", "stop", "offset"),
        "low_hz": ("lowhz", "lowfreqhz", "lowfreq", "lowfrequency", "minfrequency", "minfreq", "fmin", "freqlow"),
        "high_hz": (
            "highhz",
            "highfreqhz",
            "highfreq",
            "highfrequency",
            "maxfrequency",
            "maxfreq",
            "fmax",
            "freqhigh",
        ),
    }
)
"""Spellings of each column, the preferred one first; capitals, spaces and punctuation do not count."""

RECORD_SUFFIXES = (".jsonl", ".ndjson", ".parquet")
"""Suffixes of tables that name the columns of each row, such as those that `otoscope explain` writes."""
_SEPARATORS = ",;\t"
_LONGEST_LIST = 12


def read_rows(
    path: Path, columns: Set[str], layout: str = "", names: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> list[Row]:
    """Read a CSV that lists clips and return each row with its line number.

    Args:
        path: CSV file, separated by commas, semicolons or tabs. A byte-order mark, which spreadsheets write, is
            ignored.
        columns: Columns that the file must have.
        layout: Name of the expected layout, for the message about a missing column.
        names: Accepted spellings of columns, such as `COLUMN_NAMES`; the rows have the keys of this mapping.

    Raises:
        DataError: The file cannot be read, lists no clips, or lacks a column.
    """
    text = read_text(path)
    try:
        # strict: a quotation mark that is never closed would otherwise swallow the rest of the file
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator_of(text), strict=True)
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as a table ({error})") from error
    if not rows:
        raise DataError(f"{path}: lists no clips")
    header = [name for name in reader.fieldnames or () if name]
    spelt = {name: named for name in header if (named := _canonical(name, header, names))}
    if missing := sorted(columns - set(spelt.values()) - set(header)):
        raise DataError(f"{path}: {_missing_columns(missing, header, layout, names)}")
    return [(number, _cells(path, number, row, spelt)) for number, row in rows]


def read_records(path: Path) -> list[Row]:
    """Read JSON lines or a Parquet file of segments, with columns under any of their usual names.

    Args:
        path: Table, with a suffix of `RECORD_SUFFIXES`.

    Returns:
        The rows with the keys of `COLUMN_NAMES`, as text; an absent value is an empty text.

    Raises:
        DataError: The file cannot be read, lists nothing, or lacks a column.
        MissingExtraError: It is a Parquet file, and pyarrow is not installed.
    """
    records = _parquet_records(path) if path.suffix.lower() == ".parquet" else _json_records(path)
    if not records:
        raise DataError(f"{path}: lists no clips")
    header = list(dict.fromkeys(name for _, record in records for name in record))
    spelt = {name: named for name in header if (named := _canonical(name, header, COLUMN_NAMES))}
    if missing := sorted({"filename", "label", "begin_s", "end_s"} - set(spelt.values())):
        raise DataError(f"{path}: {_missing_columns(missing, header, '', COLUMN_NAMES)}")
    empty = dict.fromkeys(spelt.values(), "")
    return [
        (
            number,
            empty
            | {spelt[name]: "" if value is None else str(value) for name, value in record.items() if name in spelt},
        )
        for number, record in records
    ]


def _json_records(path: Path) -> list[tuple[int, dict[str, Any]]]:
    records = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: is no JSON ({error})") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: expected an object with the columns of an event")
        records.append((number, record))
    return records


def _parquet_records(path: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: Parquet needs pyarrow; install it with pip install 'otoscope[tables]', or give a CSV"
        ) from error
    try:
        records = parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error})") from error
    return list(enumerate(records, start=1))


def read_text(path: Path) -> str:
    """Read a text file as UTF-8 or UTF-16, or as Windows writes it in Western Europe.

    Raises:
        DataError: It cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")  # Excel's "Unicode text"
    if b"\0" in content:
        raise DataError(f"{path}: cannot be read as a table; it holds binary data")
    try:
        return content.decode("utf-8-sig")  # without the byte-order mark
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def separator_of(text: str) -> str:
    r"""Return the separator of a table: the one of comma, semicolon and tab that its first line has most often.

    Example:
        >>> separator_of("file;label\na.wav;dog, large"), separator_of("file")
        (';', ',')
    """
    line = next((line for line in text.splitlines() if line.strip()), "")
    return max(_SEPARATORS, key=line.count)


def column_key(name: str) -> str:
    """Return the name of a column without capitals, spaces and punctuation.

    Example:
        >>> column_key("Begin Time (s)"), column_key("file_name")
        ('begintimes', 'filename')
    """
    return re.sub(r"[\W_]", "", name.casefold())


def _canonical(name: str, header: Sequence[str], names: Mapping[str, Sequence[str]]) -> str | None:
    """Return the key of the accepted column that a name stands for; None if another column fits better."""
    keys = [column_key(other) for other in header]
    for column, spellings in names.items():
        preferred = next((spelling for spelling in spellings if spelling in keys), None)
        if preferred is not None and header[keys.index(preferred)] == name:
            return column
    return None


def _missing_columns(
    missing: Sequence[str], header: Sequence[str], layout: str, names: Mapping[str, Sequence[str]]
) -> str:
    spellings = "; ".join(
        f"{name} may also be called {', '.join(names[name][1:4])}" for name in missing if name in names
    )
    listed = ", ".join(header[:_LONGEST_LIST]) + (", ..." if len(header) > _LONGEST_LIST else "")
    hint = f"; expected the layout of {layout}" if layout else ""
    return f"has no column {', '.join(missing)}; it has {listed}{hint}" + (f" ({spellings})" if spellings else "")


def _cells(path: Path, number: int, row: Mapping[str | None, str], spelt: Mapping[str, str]) -> dict[str, str]:
    if None in row:
        raise DataError(
            f"{path}, line {number}: has more cells than the header; quote cells that contain the separator"
        )
    cells = {str(name): value.strip() if isinstance(value, str) else value for name, value in row.items()}
    return cells | {column: cells[name] for name, column in spelt.items()}
