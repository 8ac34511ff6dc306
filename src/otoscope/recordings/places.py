"""Where the results of a run are: a folder for each recording, or rows of shards."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self

from otoscope.errors import OtoscopeError
from otoscope.files.atomic import remove_stale
from otoscope.recordings.files import Recording, UniqueNames
from otoscope.recordings.identity import is_of_recording, is_up_to_date, read_explanation
from otoscope.recordings.plan import Plan
from otoscope.recordings.results import Result, explained_line
from otoscope.recordings.shards import ShardFolder
from otoscope.recordings.uris import Location, full_path


class Place(Protocol):
    """Where the results of a run are. It is a context that ends with the run."""

    def placed(self, recordings: Sequence[Recording]) -> list[Recording]:
        """Return the recordings with names at which there is nothing else than an explanation of theirs."""

    def earlier(self, recordings: Sequence[Recording], plan: Plan) -> dict[Recording, Result]:
        """Return the results of earlier runs that this run would repeat."""

    def prepare(self, remaining: Sequence[Recording]) -> None:
        """Make room for the results of the recordings that this run explains."""

    def accept(self, result: Result) -> None:
        """Write what a result holds, and complete its line."""

    def __enter__(self) -> Self:
        """Return the place."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the run."""


class Folders:
    """A folder for each recording, which the backends write.

    Args:
        folder: Folder of the results.

    Raises:
        OtoscopeError: It cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parents: set[Path] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OtoscopeError(f"{folder}: cannot be written ({error}); choose another folder") from error

    def placed(self, recordings: Sequence[Recording]) -> list[Recording]:
        """Return the recordings with names of free folders; see `Place.placed`."""
        return _renamed(recordings, lambda name, path: _is_free(self.folder, name, path))

    def earlier(self, recordings: Sequence[Recording], plan: Plan) -> dict[Recording, Result]:
        """Return the results of earlier runs; see `Place.earlier`."""
        results = {}
        for recording in recordings:
            folder = self.folder / recording.name
            content = read_explanation(folder)
            if is_up_to_date(content, recording.path, plan.made_with, plan.parts):
                results[recording] = Result(explained_line(recording, content, folder=str(folder)), skipped=True)
        return results

    def prepare(self, remaining: Sequence[Recording]) -> None:
        """Remove what killed processes have left."""
        self._parents = {(self.folder / recording.name).parent for recording in remaining}
        self._remove_stale()

    def accept(self, result: Result) -> None:
        """Do nothing: the backend has written the folder."""

    def __enter__(self) -> Self:
        """Return the place."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what processes of this run have left that were killed."""
        self._remove_stale()

    def _remove_stale(self) -> None:
        for parent in self._parents:
            remove_stale(parent)


class Shards:
    """Rows of shards, which this process writes.

    Args:
        folder: Folder of the results.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OtoscopeError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._shards = ShardFolder(folder)

    def placed(self, recordings: Sequence[Recording]) -> list[Recording]:
        """Return the recordings with names of free rows; see `Place.placed`."""
        rows = self._shards.rows
        # A recording that has a row keeps its name, so that it never gets a second one.
        names = {_path_of(row.content): row.name for row in rows.values()}
        named = [
            replace(recording, name=names.get(full_path(recording.path), recording.name))
            for recording in recordings
        ]
        return _renamed(named, lambda name, path: name not in rows or is_of_recording(rows[name].content, path))

    def earlier(self, recordings: Sequence[Recording], plan: Plan) -> dict[Recording, Result]:
        """Return the results of earlier runs; see `Place.earlier`."""
        results = {}
        for recording in recordings:
            row = self._shards.rows.get(recording.name)
            if row and is_up_to_date(row.content, recording.path, plan.made_with, plan.parts):
                line = explained_line(recording, row.content, shard=str(self._shards.folder / row.shard))
                results[recording] = Result(line, skipped=True)
        return results

    def prepare(self, remaining: Sequence[Recording]) -> None:
        """Remove the rows that this run makes again."""
        self._shards.drop([recording.name for recording in remaining])

    def accept(self, result: Result) -> None:
        """Write the row of a result."""
        if result.row is not None:
            result.line["shard"] = str(self._shards.folder / self._shards.add(result.row))

    def __enter__(self) -> Self:
        """Return the place."""
        self._shards.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the last shard."""
        self._shards.__exit__(kind)


def _renamed(recordings: Sequence[Recording], is_free: Callable[[str, Location], bool]) -> list[Recording]:
    names = UniqueNames()
    placed = []
    for recording in recordings:

        def is_free_for_it(name: str, path: Location = recording.path) -> bool:
            return is_free(name, path)

        placed.append(replace(recording, name=names.take(recording.name, is_free_for_it)))
    return placed


def _is_free(folder: Path, name: str, path: Location) -> bool:
    """Return whether a folder is absent, empty, or an explanation of the recording at a path."""
    target = folder / name
    # An explanation in which the folder would lie is replaced as a whole.
    above = itertools.takewhile(lambda parent: parent != folder, target.parents)
    if any(read_explanation(parent) for parent in above):
        return False
    try:
        return not any(target.iterdir()) or is_of_recording(read_explanation(target), path)
    except NotADirectoryError:
        return False
    except OSError:  # absent; what cannot be read is reported when the explanation is saved
        return True


def _path_of(content: dict[str, Any]) -> str | None:
    """Return the full path of the recording that a content is about."""
    source = content.get("source")
    recording = source.get("recording") if isinstance(source, dict) else None
    path = recording.get("full_path") if isinstance(recording, dict) else None
    return path if isinstance(path, str) else None
