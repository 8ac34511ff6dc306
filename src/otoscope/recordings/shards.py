"""Shards in the folder of a run: written whole one after the other, with exactly one row per recording.

Rows that do not fill a shard yet are in a journal, a stream of Arrow in a hidden file, to which each row is
appended as soon as it is there. A run that is killed leaves at most a journal; the next one continues it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from filelock import FileLock, Timeout

from otoscope.errors import OtoscopeError
from otoscope.explanation.shard import iterate_rows, require_pyarrow, shard_schema, shards_of, write_shard
from otoscope.files.atomic import remove_stale, replace_file

ROWS_PER_SHARD = 256
BYTES_PER_SHARD = 64 << 20
_NUMBER = re.compile(r"\d+")
_LOCK_NAME = ".shards.lock"
_PATIENCE_S = 10.0
"""Time that the processes of a killed run may take to end, as they hold its lock."""


class StoredRow(NamedTuple):
    """A row of the shards in a folder.

    Attributes:
        name: Name of the recording in the results.
        shard: Name of the shard.
        content: Content of ``explanation.json``.
    """

    name: str
    shard: str
    content: dict[str, Any]


class ShardFolder:
    """Shards in a folder, to which one process appends rows.

    Args:
        folder: Folder of the results.
        rows_per_shard: Number of rows after which a shard is written.
        bytes_per_shard: Size in bytes after which it is written earlier.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: A shard is damaged.
        OtoscopeError: The folder cannot be written, or another process writes shards in it.
    """

    def __init__(
        self, folder: Path, rows_per_shard: int = ROWS_PER_SHARD, bytes_per_shard: int = BYTES_PER_SHARD
    ) -> None:
        require_pyarrow()
        self.folder, self._rows_limit, self._bytes_limit = folder, rows_per_shard, bytes_per_shard
        self._lock = FileLock(folder / _LOCK_NAME, timeout=_PATIENCE_S)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise OtoscopeError(f"{folder}: another process writes shards here; choose another --out") from error
        except OSError as error:
            raise OtoscopeError(f"{folder}: cannot be written ({error}); check the folder") from error
        remove_stale(folder)
        numbers = [int(_NUMBER.findall(path.name)[-1]) for path in shards_of(folder)]
        self._number = max(numbers, default=-1) + 1
        self._journal: _Journal | None = None
        self._pending: list[dict[str, Any]] = self._recover()
        self.rows: dict[str, StoredRow] = {row.name: row for row in self._stored()}

    def drop(self, names: Collection[str]) -> None:
        """Remove rows, so that new ones of the same names can be added. Shards are replaced one at a time.

        Args:
            names: Names of recordings; those without a row are ignored.

        Raises:
            OtoscopeError: A shard cannot be written.
        """
        dropped = set(names).intersection(self.rows)
        for shard in sorted({self.rows[name].shard for name in dropped}):
            path = self.folder / shard
            if path.exists():
                remaining = [row for row in iterate_rows(path) if row["name"] not in dropped]
                if remaining:
                    _replace_shard(path, remaining)
                else:
                    path.unlink()
        if any(row["name"] in dropped for row in self._pending):
            self._pending = [row for row in self._pending if row["name"] not in dropped]
            self._rewrite_journal()
        for name in dropped:
            del self.rows[name]

    def add(self, row: dict[str, Any]) -> str:
        """Append a row in the place of an earlier one of the same name, and return the name of its shard.

        Raises:
            OtoscopeError: The row cannot be written.
        """
        self.drop([row["name"]])
        shard = self._path.name
        self._pending.append(row)
        if self._journal is None:
            self._rewrite_journal()
        else:
            with _named_errors(self._path):
                self._journal.append(row)
        self.rows[row["name"]] = StoredRow(row["name"], shard, {})
        size = sum(map(_size, self._pending))
        if len(self._pending) >= self._rows_limit or size >= self._bytes_limit:
            self.finish()
        return shard

    def finish(self) -> None:
        """Write the rows of the journal as a shard, even if they do not fill it.

        Raises:
            OtoscopeError: The shard cannot be written.
        """
        if not self._pending:
            return
        _replace_shard(self._path, self._pending)
        # In this order: a journal beside the shard of its number is known to be in the shard.
        self._close_journal()
        self._journal_path.unlink(missing_ok=True)
        self._number += 1
        self._pending = []

    def __enter__(self) -> Self:
        """Return the shards."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the last shard, unless an error has occurred, and release the folder."""
        try:
            if kind is None or not issubclass(kind, Exception):  # Ctrl-C is no error
                self.finish()
        finally:
            self._close_journal()
            self._lock.release()
            with contextlib.suppress(OSError):
                (self.folder / _LOCK_NAME).unlink()

    @property
    def _path(self) -> Path:
        return self.folder / f"shard-{self._number:05d}.parquet"

    @property
    def _journal_path(self) -> Path:
        return self.folder / f".shard-{self._number:05d}.unfinished"

    def _recover(self) -> list[dict[str, Any]]:
        """Return the rows of the journal of a killed run; remove one whose shard has been written."""
        for path in [*self.folder.glob(".shard-*.unfinished"), *self.folder.glob(".shard-*.rewritten")]:
            if path != self._journal_path:
                path.unlink()
        return list(_journal_rows(self._journal_path))

    def _stored(self) -> Iterator[StoredRow]:
        for path in shards_of(self.folder):
            yield from (_stored_row(row, path.name) for row in iterate_rows(path, ["name", "record"]))
        yield from (_stored_row(row, self._path.name) for row in self._pending)

    def _rewrite_journal(self) -> None:
        """Write the pending rows as a new journal, and leave it open for more."""
        self._close_journal()
        with _named_errors(self._path):
            # Beside the former journal, so that a kill leaves the one or the other.
            temporary = self._journal_path.with_suffix(".rewritten")
            self._journal = _Journal(temporary)
            for row in self._pending:
                self._journal.append(row)
            temporary.replace(self._journal_path)

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None


class _Journal:
    """Stream of Arrow in a file, with a batch for each row."""

    def __init__(self, path: Path) -> None:
        import pyarrow

        # Without a buffer, so that a kill leaves every row that was appended.
        self._file = path.open("wb", buffering=0)
        self._schema = shard_schema()
        self._writer = pyarrow.ipc.new_stream(self._file, self._schema)

    def append(self, row: Mapping[str, Any]) -> None:
        import pyarrow

        self._writer.write_batch(pyarrow.RecordBatch.from_pylist([dict(row)], schema=self._schema))

    def close(self) -> None:
        self._writer.close()
        self._file.close()


def _journal_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a journal; one that was cut off by a kill ends there."""
    pyarrow = require_pyarrow()
    if not path.exists():
        return
    # What is behind the last whole row can be anything; whatever error it causes, the rows before it are whole.
    with contextlib.suppress(OSError, pyarrow.ArrowException), path.open("rb") as file:
        reader = pyarrow.ipc.open_stream(file)
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            yield from batch.to_pylist()


def _replace_shard(path: Path, rows: Collection[Mapping[str, Any]]) -> None:
    replace_file(path, lambda temporary: write_shard(rows, temporary))


def _stored_row(row: Mapping[str, Any], shard: str) -> StoredRow:
    try:
        content = json.loads(row["record"])
    except ValueError:
        content = {}
    return StoredRow(row["name"], shard, content if isinstance(content, dict) else {})


def _size(row: Mapping[str, Any]) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, bytes | str))


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OtoscopeError(f"{path}: cannot be written ({error}); check the folder and the free space") from error
