"""Write files and folders atomically: after a kill or on a full disk, the old content or the new one is there."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from otoscope.errors import OtoscopeError

_REMEDY = "check the folder and the free space"
_RUN = secrets.token_hex(3)
"""Differs between two processes that had the same id one after the other, as in a container."""
_TEMPORARY = re.compile(r"^\..*-tmp-(?P<host>[0-9a-f]{6})-(?P<process>\d+)-(?P<run>[0-9a-f]{6})-")
_FOREIGN_AGE_S = 86_400.0
"""Age at which a temporary file of another machine counts as left behind: its process cannot be looked up."""


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
        _remove_stale_once(path.parent)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path.stem), suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            temporary.chmod(0o644)  # mkstemp lets only the owner read
            # Without the flush, a power cut after the rename could leave an empty file under the final name.
            _sync(temporary)
            temporary.replace(path)
            _sync_folder(path.parent)
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
        _remove_stale_once(folder.parent)
        _recover(folder)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_prefix(folder.name)))
        try:
            write(temporary)
            temporary.chmod(0o755)  # mkdtemp lets only the owner enter
            for path in temporary.rglob("*"):
                if path.is_file():
                    _sync(path)
            _swap(temporary, folder)
            _sync_folder(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def remove_stale_below(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files and folders that killed processes left in a folder or anywhere below it.

    Args:
        folder: Folder that results were written to. It need not exist.
    """
    # From the top down, so that a temporary folder is gone before it would be searched.
    for parent, _, _ in os.walk(folder):
        remove_stale(parent)


def remove_stale(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files and folders that killed processes left in a folder; others stay.

    Args:
        folder: Folder that results were written to. Folders in it are not searched. It need not exist.
    """
    try:
        paths = list(Path(folder).iterdir())
    except OSError:
        return
    for path in paths:
        if (match := _TEMPORARY.match(path.name)) and not _is_in_use(path, match):
            # A file that cannot be removed does no harm.
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@functools.lru_cache(maxsize=4096)
def _remove_stale_once(folder: Path) -> None:
    # Once in a process: what it leaves behind by itself is removed by the next one.
    remove_stale(folder)


def _is_in_use(path: Path, match: re.Match[str]) -> bool:
    """Return whether the process that made a temporary file may still be running."""
    if match["host"] != _host():
        with contextlib.suppress(OSError):
            return time.time() - path.lstat().st_mtime < _FOREIGN_AGE_S
        return True
    process = int(match["process"])
    if process == os.getpid():
        return match["run"] == _RUN
    try:
        os.kill(process, 0)  # signal 0 only asks whether the process exists
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


@functools.cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode(errors="replace")).hexdigest()[:6]


def _prefix(name: str) -> str:
    """Return the first part of a temporary name, with the name of the target and the process that writes it."""
    # A hidden name, so that a process that lists the folder meanwhile does not take the file for a result. Without
    # bytes that are no text, which libraries that write the file may refuse.
    shown = name[:40].encode(errors="replace").decode()
    return f".{shown}-tmp-{_host()}-{os.getpid()}-{_RUN}-"


def _swap(temporary: Path, folder: Path) -> None:
    """Rename a folder to another that may exist; a failure leaves the former folder in place."""
    if not folder.exists():
        temporary.rename(folder)
    # In one system call where there is one, so that the folder is never absent. The caller removes the former one.
    elif not _exchange(temporary, folder):
        former = _former(folder)
        folder.rename(former)
        try:
            temporary.rename(folder)
        except OSError:
            former.rename(folder)
            raise
        shutil.rmtree(former)


def _former(folder: Path) -> Path:
    """Return the name of a former folder between two renames; it depends on the folder alone, see `_recover`."""
    digest = hashlib.sha256(os.fsencode(folder.name)).hexdigest()[:16]
    return folder.with_name(f".former-{digest}")


def _recover(folder: Path) -> None:
    """Finish what a process that was killed between two renames has begun."""
    former = _former(folder)
    if not former.is_dir():
        return
    if folder.exists():
        shutil.rmtree(former, ignore_errors=True)
    else:
        former.rename(folder)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange the names of two folders in one step; return False where the system or the disk cannot."""
    name, options = {"linux": ("renameat2", 2), "darwin": ("renameatx_np", 2)}.get(sys.platform, ("", 0))
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no library of the process itself
        return False
    here = -100 if sys.platform == "linux" else -2  # AT_FDCWD: paths are relative to the current folder
    arguments = (
        ctypes.c_int(here),
        ctypes.c_char_p(os.fsencode(first)),
        ctypes.c_int(here),
        ctypes.c_char_p(os.fsencode(second)),
    )
    return bool(function(*arguments, ctypes.c_uint(options)) == 0)


def _sync(path: Path) -> None:
    """Flush a file to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, so that a power cut does not undo a rename."""
    # Some systems cannot open folders, and some file systems cannot flush them; the file is complete all the same.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _named_errors(path: Path, error: type[OtoscopeError], remedy: str) -> Iterator[None]:
    """Raise operating system errors again as errors that name the target and a remedy."""
    try:
        yield
    except OSError as cause:
        raise error(f"{path}: cannot be written ({cause}); {remedy}") from cause
