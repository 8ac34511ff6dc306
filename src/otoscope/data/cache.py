"""Arrays that are dear to compute, computed once and kept on disk, memory-mapped."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pooch

from otoscope.errors import DataError


def default_cache_folder() -> Path:
    """Where caches live: the environment variable ``OTOSCOPE_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("OTOSCOPE_CACHE") or pooch.os_cache("otoscope"))


def file_key(path: Path) -> str:
    """Names a file's present content by its path, size and time of change."""
    status = path.stat()
    return f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"


class ArrayCache:
    """A folder of arrays, one file each, written under a temporary name and renamed.

    So a kill leaves whole arrays only, processes can share the folder, and an array whose version has
    changed is computed anew and replaces the old one.

    Args:
        folder: Created when first needed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def get(self, name: str, version: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The array, read-only and memory-mapped; computed only if it is not there yet.

        Args:
            name: What the array belongs to.
            version: Changes whenever the array would come out differently.
            compute: Makes the array.

        Raises:
            DataError: The folder cannot be written.
        """
        path = self.path(name, version)
        try:
            return _mapped(path)
        except (OSError, ValueError, EOFError):
            pass  # absent, or damaged: both are mended by computing it
        array = compute()
        try:
            self._write(path, array)
        except OSError as error:
            raise DataError(
                f"{self.folder}: the cache cannot be written ({error}); free some space or set "
                "OTOSCOPE_CACHE to another folder"
            ) from error
        return _mapped(path)

    def has(self, name: str, version: str) -> bool:
        """Whether the array is there in that version."""
        return self.path(name, version).is_file()

    def path(self, name: str, version: str) -> Path:
        """The file that holds an array."""
        return self.folder / f"{_digest(name)}-{_digest(version)}.npy"

    def _write(self, path: Path, array: np.ndarray) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, array)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        for other in self.folder.glob(f"{path.name.split('-')[0]}-*.npy"):
            if other != path:
                other.unlink(missing_ok=True)


def _mapped(path: Path) -> np.ndarray:
    array: np.ndarray = np.load(path, mmap_mode="r")
    return array


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
