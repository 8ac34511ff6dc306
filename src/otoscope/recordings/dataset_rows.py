"""The audio column of a data set of Hugging Face as recordings: ``dataset://OWNER/NAME?split=test&column=audio``."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

from otoscope.errors import DataError, MissingExtraError, choices, first_line

_OPTIONS = ("config", "split", "column", "revision")


class DataSetAddress(NamedTuple):
    """Parts of the address of a data set.

    Attributes:
        source: Id on the hub, or folder.
        config: Name of the configuration.
        split: Name of the split.
        column: Name of the audio column.
        revision: Branch, tag or commit on the hub.
        row: Number of a row; None for all.
    """

    source: str
    config: str | None = None
    split: str = "train"
    column: str = "audio"
    revision: str | None = None
    row: int | None = None


def parse_address(uri: str) -> DataSetAddress:
    """Return the parts of an address.

    Args:
        uri: ``dataset://OWNER/NAME``, or ``dataset:///FOLDER``, with options behind a question mark and the number
            of a row behind ``#``.

    Raises:
        DataError: It has an unknown option, or no number behind ``#``.

    Example:
        >>> parse_address("dataset://owner/birds?split=test#17")[:4]
        ('owner/birds', None, 'test', 'audio')
    """
    address, _, row = uri.partition("://")[2].partition("#")
    source, _, query = address.partition("?")
    options = {name: values[-1] for name, values in parse_qs(query).items()}
    for name in options:
        if name not in _OPTIONS:
            raise DataError(f"{uri}: unknown option {name!r}; {choices(name, _OPTIONS)}")
    if row and not row.isdecimal():
        raise DataError(f"{uri}: {row!r} is no number of a row")
    return DataSetAddress(unquote(source))._replace(**options, row=int(row) if row else None)


def rows_of(uri: str) -> list[tuple[str, str]]:
    """Return the address of each row of a data set with its name, or of the one that the address names.

    Raises:
        DataError: The data set cannot be opened, or has no such column or row.
        MissingExtraError: `datasets` is not installed.
    """
    address = parse_address(uri)
    count = len(_column(address._replace(row=None)))
    numbers = range(count) if address.row is None else [address.row]
    folder = address.source.rstrip("/").rpartition("/")[2]
    start = uri.partition("#")[0]
    return [(f"{start}#{number}", f"{folder}/{address.split}-{number:06d}") for number in numbers]


def read_row(uri: str) -> bytes:
    """Return the sound file in a row of a data set.

    Raises:
        DataError: The data set cannot be opened, or has no such column or row, or the row holds no sound.
        MissingExtraError: `datasets` is not installed.
    """
    address = parse_address(uri)
    rows = _column(address._replace(row=None))
    if address.row is None or address.row >= len(rows):
        raise DataError(f"{uri}: no such row; there are {len(rows)}, counted from 0")
    value = rows[address.row][address.column]
    if value is None or (value.get("bytes") is None and not value.get("path")):
        raise DataError(f"{uri}: the row holds no sound")
    if value.get("bytes") is not None:
        return bytes(value["bytes"])
    import fsspec

    with fsspec.open(value["path"], "rb") as file:
        return bytes(file.read())


@functools.lru_cache(maxsize=4)
def _column(address: DataSetAddress) -> Any:
    """Return a data set with the encoded sounds of a column alone."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            f"dataset://{address.source}: needs the package datasets; install it with pip install datasets"
        ) from error
    try:
        rows = datasets.load_dataset(address.source, address.config, split=address.split, revision=address.revision)
    except Exception as error:  # of any kind: of the hub, of the network, of the files
        raise DataError(f"dataset://{address.source}: cannot be opened ({first_line(error)})") from error
    if address.column not in rows.column_names:
        raise DataError(
            f"dataset://{address.source}: no column {address.column!r}; "
            f"{choices(address.column, rows.column_names)}; name it with ?column="
        )
    return rows.select_columns([address.column]).cast_column(address.column, datasets.Audio(decode=False))
