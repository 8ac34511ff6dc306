"""Recordings at URIs that fsspec reads: ``s3://``, ``gs://``, ``hf://``, ``https://``, ``memory://`` and others."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from otoscope.errors import AudioError, MissingExtraError, OtoscopeError, choices, first_line

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_WEB = ("http", "https")
_TIMEOUT_S = 30.0
"""Time without an answer after which a request to a web server fails."""
_TRIES = 2
_PAUSE_S = 0.5
_VERSION_KEYS = (
    *("ETag", "etag", "e_tag", "generation", "md5Hash", "content_md5", "blob_id", "Last-Modified", "LastModified"),
    *("last_modified", "updated", "mtime", "modified", "created"),
)
"""Keys under which file systems state what changes with the content of a file, the most reliable first."""
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Uri:
    """Address of a recording.

    Attributes:
        text: Address as it was given, with a scheme.

    Example:
        >>> uri = Uri("https://example.org/night/owl%201.wav?part=2")
        >>> uri.scheme, uri.stem, uri.suffix
        ('https', 'owl 1', '.wav')
    """

    text: str

    def __str__(self) -> str:
        """Return the address."""
        return self.text

    @property
    def scheme(self) -> str:
        """Scheme in lower case, such as ``s3``."""
        return self.text.partition("://")[0].lower()

    @property
    def stem(self) -> str:
        """Name of the file without its ending; the address if it ends without a name."""
        return self._path.stem or re.sub(r"\W+", "_", self.text.partition("://")[2]).strip("_")

    @property
    def suffix(self) -> str:
        """Ending of the file's name, in lower case."""
        return self._path.suffix.lower()

    @property
    def is_folder(self) -> bool:
        """Whether it ends with a slash."""
        return self.text.endswith("/")

    @property
    def _path(self) -> PurePosixPath:
        # Only on the web does a question mark begin a query; elsewhere it is part of a name or a pattern.
        path = unquote(urlsplit(self.text).path) if self.scheme in _WEB else self.text.partition("://")[2]
        return PurePosixPath(path)


Location = Path | Uri
"""Where a recording is."""


def parse_location(text: str) -> Location:
    """Return a URI, or the path of a file on this machine, which may also be given as ``file://``."""
    if not _URI.match(text):
        return Path(text)
    uri = Uri(text)
    return Path(unquote(urlsplit(text).path)) if uri.scheme == "file" else uri


@contextlib.contextmanager
def local_file(location: Location) -> Iterator[Path]:
    """Give the path of a file on this machine with the content of a location, which a URI has in the context only.

    Errors that name this file name the URI instead.

    Args:
        location: Path, which is given unchanged, or URI.

    Raises:
        AudioError: The URI cannot be read; the message names the cause and a remedy.
        MissingExtraError: A package is missing that reads URIs of this scheme.
    """
    if isinstance(location, Path):
        yield location
        return
    with _temporary_file(location.suffix) as path:
        fetch = _fetch_row if location.scheme == "dataset" else _fetch
        _tried(location, lambda: fetch(location, path))
        try:
            yield path
        except OtoscopeError as error:
            raise AudioError(str(error).replace(str(path), str(location))) from error


@contextlib.contextmanager
def _temporary_file(suffix: str) -> Iterator[Path]:
    """Give the path of an empty file, which the system removes even if this process is killed (Linux)."""
    if Path("/proc/self/fd").is_dir():
        with tempfile.TemporaryFile() as file:  # it has no name in any folder
            yield Path(f"/proc/self/fd/{file.fileno()}")
    else:
        with tempfile.TemporaryDirectory(prefix="otoscope-") as folder:
            path = Path(folder, f"recording{suffix}")
            path.touch()
            yield path


def _fetch(uri: Uri, path: Path) -> None:
    files, name = _file_system(uri)
    files.get_file(name, str(path))


def _fetch_row(uri: Uri, path: Path) -> None:
    from otoscope.recordings.dataset_rows import read_row

    path.write_bytes(read_row(str(uri)))


def version_of(uri: Uri) -> str | None:
    """Return what changes with the content at a URI, such as its entity tag; None if its server states nothing.

    Raises:
        AudioError: The URI cannot be read.
        MissingExtraError: A package is missing that reads URIs of this scheme.
    """
    if uri.scheme == "dataset":
        return None
    info = _tried(uri, lambda: _info(uri))
    versions = [f"{key}={info[key]}" for key in _VERSION_KEYS if info.get(key)]
    return f"{versions[0]} size={info.get('size')}" if versions else None


def _info(uri: Uri) -> dict[str, Any]:
    files, name = _file_system(uri)
    info: dict[str, Any] = files.info(name)
    return info


def has_content(uri: Uri, version: object, sha256: object) -> bool:
    """Return whether a URI still has the content that was read from it.

    Args:
        uri: URI.
        version: What `version_of` returned then.
        sha256: Hash of the content then, which is compared where the server states no version.
    """
    try:
        now = version_of(uri)
        if now is not None:
            return now == version
        with local_file(uri) as path, path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OtoscopeError:
        return False


def files_at(uri: Uri, suffixes: set[str]) -> list[tuple[Uri, str]]:
    """Return the recordings that a URI names, each with its name: itself, those in a folder, or those of a pattern.

    A URI is a folder if it ends with a slash, and a pattern if it holds an asterisk. It is not read otherwise.

    Args:
        uri: URI.
        suffixes: Endings of the files in a folder that are recordings, in lower case.

    Raises:
        AudioError: The folder or the pattern holds no recording, or cannot be read.
        MissingExtraError: A package is missing that reads URIs of this scheme.
    """
    if uri.scheme == "dataset":
        from otoscope.recordings.dataset_rows import rows_of

        return [(Uri(text), name) for text, name in rows_of(str(uri))]
    is_pattern = "*" in uri.text and uri.scheme not in _WEB
    if not uri.is_folder and not is_pattern:
        return [(uri, uri.stem)]
    root, names = _tried(uri, lambda: _listed(uri, is_pattern))
    recordings = [
        (Uri(text), str(PurePosixPath(name.removeprefix(root).lstrip("/")).with_suffix("")))
        for text, name in names
        if is_pattern or Uri(text).suffix in suffixes
    ]
    if not recordings:
        raise AudioError(f"{uri}: holds no sound file (wav, flac, ogg, mp3, aiff and others)")
    return recordings


def _listed(uri: Uri, is_pattern: bool) -> tuple[str, list[tuple[str, str]]]:
    """Return the folder that names are relative to, and the files with their names."""
    files, name = _file_system(uri)
    names = sorted(files.glob(name) if is_pattern else files.find(name))
    root = name.partition("*")[0].rpartition("/")[0] if is_pattern else name
    return root, [(files.unstrip_protocol(path), path) for path in names]


def _file_system(uri: Uri) -> tuple[Any, str]:
    """Return the file system of a URI, and its name there."""
    import fsspec.core

    options: dict[str, Any] = {}
    if uri.scheme in _WEB:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_S, sock_read=_TIMEOUT_S)
        options = {"client_kwargs": {"timeout": timeout}}
    files, name = fsspec.core.url_to_fs(uri.text, **options)
    return files, name


def _tried(uri: Uri, read: Callable[[], _Value]) -> _Value:
    """Return the result of reading a URI; an error that may be temporary is tried again before it is raised."""
    for remaining in reversed(range(_TRIES)):
        try:
            return read()
        except Exception as error:  # each file system has its own
            if remaining == 0 or not _may_be_temporary(error):
                raise _named(uri, error) from error
            time.sleep(_PAUSE_S)
    raise AssertionError  # the last try returns or raises


def _may_be_temporary(error: Exception) -> bool:
    permanent = (OtoscopeError, FileNotFoundError, IsADirectoryError, PermissionError, ImportError, ValueError)
    status = getattr(error, "status", 500)  # of an answer over HTTP
    return not isinstance(error, permanent) and not (isinstance(status, int) and 400 <= status < 500)


def _named(uri: Uri, error: Exception) -> OtoscopeError:
    """Return an error that names the URI, the fault and a remedy."""
    if isinstance(error, OtoscopeError):
        return error
    if isinstance(error, ImportError):
        return MissingExtraError(
            f"{uri}: needs a package for {uri.scheme}:// that is not installed ({first_line(error)})"
        )
    if isinstance(error, FileNotFoundError):
        return AudioError(f"{uri}: no such file; check the address")
    if isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403):
        return AudioError(f"{uri}: may not be read; check the credentials for {uri.scheme}://")
    if isinstance(error, TimeoutError):
        return AudioError(f"{uri}: no answer within {_TIMEOUT_S:g} s; try again with --skip_existing")
    if isinstance(error, ValueError) and "rotocol not known" in str(error):
        import fsspec

        return AudioError(f"{uri}: unknown scheme; {choices(uri.scheme, fsspec.available_protocols())}")
    cause = first_line(error) if str(error) else type(error).__name__
    return AudioError(f"{uri}: cannot be read ({cause}); check the address and the network")


def full_path(location: str | os.PathLike[str] | Uri) -> str:
    """Return a URI, or an absolute path without ``..``, in which links stay: two links are two recordings."""
    if isinstance(location, Uri):
        return location.text
    return os.path.abspath(location)  # noqa: PTH100 - Path.resolve follows links
