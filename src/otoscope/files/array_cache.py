"""On-disk cache of arrays that are expensive to compute."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pooch

from otoscope.errors import DataError
from otoscope.files.atomic import replace_file


def default_cache_folder() -> Path:
    """Return the folder of caches: the environment variable ``OTOSCOPE_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("OTOSCOPE_CACHE") or pooch.os_cache("otoscope"))


def file_key(path: Path) -> str:
    """Return the cache key of a file: its path, size and modification time."""
    status = path.stat()
    # Size and time instead of a digest, which would have to read the whole file.
    return f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"


class ArrayCache:
    """Folder of arrays, one file each, written atomically.

    Processes can share the folder. An array whose version has changed is computed again and replaces the former
    one.

    Args:
        folder: Folder of the arrays, created when first needed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def get(self, name: str, version: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Return an array, read-only and memory-mapped; compute it only if it is not in the cache.

        Args:
            name: Name of what the array belongs to.
            version: Cache key; changes whenever the array would come out differently.
            compute: Callback that computes the array.

        Raises:
            DataError: The folder cannot be written.
        """
        path = self.path(name, version)
        try:
            return _mapped(path)
        except (OSError, ValueError, EOFError):
            pass  # absent or damaged: computing it fixes both
        array = compute()
        remedy = "free some space or set OTOSCOPE_CACHE to another folder"
        replace_file(path, lambda temporary: _write(temporary, array), DataError, remedy)
        # After the new version is complete, so that an interruption never leaves none.
        self._remove_other_versions(path)
        return _mapped(path)

    def has(self, name: str, version: str) -> bool:
        """Return whether the cache holds an array in this version."""
        return self.path(name, version).is_file()

    def path(self, name: str, version: str) -> Path:
        """Return the path of an array's file."""
        # Hashed, because a name may be a long path; all versions of a name share the first part.
        return self.folder / f"{_digest(name)}-{_digest(version)}.npy"

    def _remove_other_versions(self, path: Path) -> None:
        for other in self.folder.glob(f"{path.name.split('-')[0]}-*.npy"):
            if other != path:
                other.unlink(missing_ok=True)


def _write(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def _mapped(path: Path) -> np.ndarray:
    array: np.ndarray = np.load(path, mmap_mode="r")
    return array


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
