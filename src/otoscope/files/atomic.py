"""Write files and folders atomically: after a kill or on a full disk, the old content or the new one is there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from otoscope.errors import OtoscopeError

_REMEDY = "check the folder and the free space"


def replace_file(
    path: str | os.PathLike[str],
    write: Callable[[Path], object],
    error: type[OtoscopeError] = OtoscopeError,
    remedy: str = _REMEDY,
) -> Path:
    """Write a file beside its target and move it into place once it is complete.

    Args:
        path: Target file. Missing parent folders are created.
        write: Callback that writes the content to the temporary path it is given, which has the suffix of ``path``.
        error: Class of the error that is raised.
        remedy: Advice at the end of the error message.

    Raises:
        OtoscopeError: The file cannot be written. A former file keeps its content.
    """
    path = Path(path)
    with _named_errors(path, error, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A hidden name, so that a process that lists the folder meanwhile does not take the file for a result.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            temporary.chmod(0o644)  # mkstemp lets only the owner read
            # Without the flush, a power cut after the rename could leave an empty file under the final name.
            _sync(temporary)
            temporary.replace(path)
        finally:
            # After a success the name is gone already; after a failure this removes the partial file.
            temporary.unlink(missing_ok=True)
    return path


def replace_text(
    path: str | os.PathLike[str],
    text: str,
    error: type[OtoscopeError] = OtoscopeError,
    remedy: str = _REMEDY,
) -> Path:
    """Write a text file (UTF-8, line ends as given) atomically; see `replace_file`."""
    return replace_file(path, lambda temporary: temporary.write_bytes(text.encode()), error, remedy)


def replace_folder(
    folder: str | os.PathLike[str],
    write: Callable[[Path], object],
    error: type[OtoscopeError] = OtoscopeError,
    remedy: str = _REMEDY,
) -> Path:
    """Fill a new folder beside its target and move it into place once it is complete.

    Args:
        folder: Target folder. A former one is replaced as a whole.
        write: Callback that writes into the temporary folder it is given.
        error: Class of the error that is raised.
        remedy: Advice at the end of the error message.

    Raises:
        OtoscopeError: The folder cannot be written. A former folder keeps its content.
    """
    folder = Path(folder)
    with _named_errors(folder, error, remedy):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name[:40]}-"))
        try:
            write(temporary)
            temporary.chmod(0o755)  # mkdtemp lets only the owner enter
            for path in temporary.rglob("*"):
                if path.is_file():
                    _sync(path)
            _swap(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _swap(temporary: Path, folder: Path) -> None:
    """Rename a folder to another that may exist; a failure puts the former folder back."""
    if not folder.exists():
        temporary.rename(folder)
        return
    # No portable system call replaces a folder that is not empty, so the former one is renamed first.
    former = temporary.with_name(temporary.name + "-former")
    folder.rename(former)
    try:
        temporary.rename(folder)
    except OSError:
        former.rename(folder)
        raise
    shutil.rmtree(former)


def _sync(path: Path) -> None:
    """Flush a file to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _named_errors(path: Path, error: type[OtoscopeError], remedy: str) -> Iterator[None]:
    """Raise operating system errors again as errors that name the target and a remedy."""
    try:
        yield
    except OSError as cause:
        raise error(f"{path}: cannot be written ({cause}); {remedy}") from cause
