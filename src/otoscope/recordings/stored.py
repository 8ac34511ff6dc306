"""Results of a run, whether they are folders or rows of shards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from otoscope.errors import DataError
from otoscope.explanation import FolderExplanation, StoredExplanation
from otoscope.explanation.shard import iterate_shard, shards_of
from otoscope.recordings.files import EXPLANATION_NAME


def iterate_results(source: str | os.PathLike[str]) -> Iterator[StoredExplanation]:
    """Yield the explanations in the results of `explain`: folders in the order of their paths, and rows of shards.

    Sounds and masks are read only when they are asked for, so that memory stays constant however many there are.

    Args:
        source: Folder of results, searched at any depth; folder of one explanation; or a shard.

    Raises:
        DataError: There is no such folder, or a result is damaged.
        MissingExtraError: There are shards, and pyarrow is not installed.

    Example:
        >>> for stored in iterate_results("results"):  # doctest: +SKIP
        ...     print(stored.name, stored.content["label"], stored.mask().mean())
    """
    path = Path(source)
    if path.is_file():
        yield from iterate_shard(path)
        return
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder of results, and no such shard")
    for folder, folders, files in os.walk(path):
        if EXPLANATION_NAME in files:
            folders.clear()
            yield FolderExplanation(folder)
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for shard in shards_of(folder):
            yield from iterate_shard(shard)
