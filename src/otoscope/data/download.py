"""Archives from the network: resumed after an interruption, verified, and unpacked whole or not at all.

While it works, everything lies in one hidden folder beside the destination, `.<name>.download`: the lock,
the partial file and the folder that is being unpacked. So the last step is a rename on one disk, and a
process that is killed leaves the next one something to continue from, never half a data set.
"""

import csv
import errno
import os
import shutil
import stat
import tarfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import urlsplit

import pooch
import requests
from filelock import FileLock
from pooch.utils import unique_file_name
from tqdm import tqdm

from otoscope.errors import DownloadError

# A commit, not `master.zip`: the bytes of the latter change with every edit of the README, which broke the
# checksum that soundata pinned twice (its issues 67 and 208) until it, too, moved to this commit.
ESC50_COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"
ESC50_URL = f"https://github.com/karolpiczak/ESC-50/archive/{ESC50_COMMIT}.zip"
# Observed, not published by the author: several public projects pin this value for these 645,832,161 bytes;
# soundata (soundata/datasets/esc50.py) pins the MD5 of the same address, 071b44018315e034b2c6e8064543d19c.
ESC50_CHECKSUM = "sha256:661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f"
ESC50_URL_VARIABLE = "OTOSCOPE_ESC50_URL"

BACKOFF_S = 1.0  # before the second attempt; doubles with each further one
TIMEOUTS_S = (10.0, 60.0)  # to connect; between two pieces of the answer
CHUNK_BYTES = 1 << 16  # as much is lost, at most, when the line breaks
WAV_HEADER_BYTES = 44


def fetch_archive(
    url: str,
    destination: Path,
    checksum: str | None,
    *,
    retries: int = 3,
    progress: bool = True,
    contents: Sequence[str] = (),
    check: Callable[[Path, Path], None] | None = None,
) -> Path:
    """Download a zip or tar archive and unpack it to a folder, which appears only when it is whole.

    A call after an interruption continues where the server allows it. Processes that ask for the same
    destination wait for the first. A destination that exists and is not empty is left as it is.

    Args:
        url: Address of the archive, http or https.
        destination: Folder to make. A single folder that wraps the whole archive is left out.
        checksum: Digest of the archive, `sha256:...` or `md5:...`; None if it is known by content alone.
        retries: Further attempts after a lost connection, a short answer or a failing server.
        progress: Show a progress bar on standard error.
        contents: Paths that the folder must hold, relative to it; the error message names them too.
        check: Called with the unpacked folder and the archive before the folder takes its place; raises
            DownloadError if it is not what was asked for.

    Returns:
        The destination.

    Raises:
        DownloadError: It cannot be fetched, verified, unpacked or written.
    """
    target = Path(destination).resolve()
    work_folder = target.with_name(f".{target.name}.download")
    try:
        if not _is_filled(target):
            with _alone_in(work_folder, target):
                if not _is_filled(target):  # another process may have been faster
                    archive = _download(url, work_folder, checksum, retries, progress)
                    _install(archive, target, work_folder / "unpacked", contents, check)
        elif missing := _missing(target, contents):
            raise DownloadError(f"{target} exists but lacks {missing} (move it away to fetch it anew)")
    except (DownloadError, OSError) as error:
        places = " and ".join(f"{target}/{path}" for path in contents) or str(target)
        advice = f"Download it in another way and unpack it so that the next run finds {places}."
        raise DownloadError(f"Cannot fetch {url}: {_describe(error)}. {advice}") from error
    return destination


def fetch_esc50(destination: Path, *, clips: int = 2000, progress: bool = True) -> Path:
    """Download ESC-50 (about 650 MB, 0.9 GB unpacked), unless the folder holds it already.

    The archive is made by GitHub, which does not promise the same bytes for ever. So the content decides:
    the CRC of every member, and each clip of `meta/esc50.csv` present as a WAV file. The SHA-256 that other
    projects observed for this commit is compared as well, and another one is a warning, not an error. It
    is not compared where the environment variable OTOSCOPE_ESC50_URL names another address. ESC-50 is
    licensed CC BY-NC 3.0.

    Args:
        destination: Folder to make, with `audio/` and `meta/esc50.csv` in it.
        clips: Number of clips that the archive must hold; a mirror may offer a subset.
        progress: Show a progress bar on standard error.

    Returns:
        The destination.

    Raises:
        DownloadError: It cannot be fetched, verified, unpacked or written.
    """
    mirror = os.environ.get(ESC50_URL_VARIABLE)
    check = partial(_check_esc50, clips=clips, checksum=None if mirror else ESC50_CHECKSUM)
    contents = ("meta/esc50.csv", "audio/")
    return fetch_archive(mirror or ESC50_URL, destination, None, progress=progress, contents=contents, check=check)


def _download(url: str, folder: Path, checksum: str | None, retries: int, progress: bool) -> Path:
    name = unique_file_name(url)  # so a partial file is never continued from another address
    downloader = _ResumingDownloader(folder / f"{name}.part", retries, progress)
    pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
    cache = pooch.create(path=folder, base_url="", registry={name: checksum}, urls={name: url})
    try:
        archive = Path(cache.fetch(name, downloader=downloader))
    except ValueError as error:  # pooch's word for a wrong checksum
        downloader.forget()
        reason = str(error).split(". ")[0]
        raise DownloadError(f"{reason}; the partial file was removed") from error
    downloader.forget()
    return archive


class _TransientError(Exception):
    """The same request may succeed a moment later."""


@dataclass
class _ResumingDownloader:
    """Downloader for pooch that keeps what it has got in a file of its own.

    Args:
        part: Where the bytes are collected; outlives this process.
        retries: Further attempts after a transient failure.
        progress: Show a progress bar on standard error.
    """

    part: Path
    retries: int
    progress: bool

    def __call__(self, url: str, output_file: str, _cache: object) -> None:
        for attempt in range(self.retries + 1):
            try:
                self._receive(url)
                break
            except (requests.RequestException, _TransientError) as error:
                if attempt == self.retries or not _is_transient(error):
                    raise DownloadError(_describe(error)) from error
                time.sleep(BACKOFF_S * 2**attempt)
        self._hand_over(Path(output_file))

    def forget(self) -> None:
        """Remove the partial file and what is known about it."""
        self.part.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)

    @property
    def _validator(self) -> Path:
        return self.part.with_name(f"{self.part.name}.validator")

    def _receive(self, url: str) -> None:
        start = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Accept-Encoding": "identity"}  # lengths and ranges then count bytes of the file itself
        if start:
            headers["Range"] = f"bytes={start}-"
            if self._validator.exists():
                headers["If-Range"] = self._validator.read_text(encoding="latin-1")
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS_S) as response:
            status, range_sent = response.status_code, response.headers.get("Content-Range", "")
            if start and status == 416 and range_sent == f"bytes */{start}":
                return  # it was complete, and only the last steps were missing
            if status == 416 or (status == 206 and not range_sent.startswith(f"bytes {start}-")):
                self.forget()
                raise _TransientError("the server does not continue the partial file")
            if status >= 500 or status == 429:
                raise _TransientError(f"the server answers {status} {response.reason}")
            if status not in (200, 206):
                raise DownloadError(f"the server answers {status} {response.reason}")
            self._write(response, start if status == 206 else 0)

    def _write(self, response: requests.Response, start: int) -> None:
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        if start == 0:
            self.forget()
            etag = response.headers.get("ETag", "")
            validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
            if validator:  # a weak ETag says nothing about bytes, so it may not guard a range
                self._validator.write_text(validator, encoding="latin-1")
        name = PurePosixPath(urlsplit(response.url).path).name
        with (
            _room((total or start) - start, self.part.parent),
            tqdm(
                desc=name, total=total, initial=start, unit="B", unit_scale=True, disable=not self.progress
            ) as bar,
            self.part.open("ab") as file,
        ):
            for chunk in response.iter_content(CHUNK_BYTES):
                bar.update(file.write(chunk))
        received = self.part.stat().st_size
        if total is not None and received != total:
            raise _TransientError(f"the server sent {received} of {total} bytes")

    def _hand_over(self, output_file: Path) -> None:
        # A second name for the same bytes: a kill while pooch computes the checksum loses nothing.
        output_file.unlink(missing_ok=True)
        try:
            os.link(self.part, output_file)
        except OSError:  # a file system without links
            self.part.replace(output_file)


def _install(
    archive: Path,
    destination: Path,
    folder: Path,
    contents: Sequence[str],
    check: Callable[[Path, Path], None] | None,
) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    try:
        _unpack(archive, folder)
        entries = list(folder.iterdir())
        root = entries[0] if len(entries) == 1 and entries[0].is_dir() else folder
        if missing := _missing(root, contents):
            raise DownloadError(f"the archive lacks {missing}")
        if check is not None:
            check(root, archive)
        if destination.exists():
            destination.rmdir()  # empty, else there were nothing to do
        root.rename(destination)
    except DownloadError:
        archive.unlink()  # the next run must not meet the same bad archive
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(archive: Path, folder: Path) -> None:
    if not zipfile.is_zipfile(archive) and tarfile.is_tarfile(archive):
        _unpack_tar(archive, folder)
        return
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = bundle.infolist()
            for member in members:
                _refuse_unsafe(member)
            with _room(sum(member.file_size for member in members), archive.parent):
                folder.mkdir()
                bundle.extractall(folder)  # compares the CRC of each member
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DownloadError(f"the archive is damaged ({error}) and was removed") from error


def _unpack_tar(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as bundle, _room(archive.stat().st_size, archive.parent):
            folder.mkdir()
            bundle.extractall(folder, filter="data")  # refuses links and paths that lead out, and special files
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise DownloadError(f"the archive is damaged or unsafe ({error}) and was removed") from error


def _refuse_unsafe(member: zipfile.ZipInfo) -> None:
    name = member.filename
    path = PureWindowsPath(name)  # knows both kinds of slashes, and drives
    if path.anchor or ".." in path.parts:
        raise DownloadError(f"the archive would write outside its folder ({name!r}) and was removed")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DownloadError(f"the archive holds a link or a special file ({name!r}) and was removed")


def _check_esc50(folder: Path, archive: Path, clips: int, checksum: str | None) -> None:
    try:
        with (folder / "meta" / "esc50.csv").open(newline="", encoding="utf-8") as table:
            names = {row["filename"] for row in csv.DictReader(table)}
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DownloadError("meta/esc50.csv of the archive is no table of clips") from error
    if len(names) != clips:
        raise DownloadError(f"meta/esc50.csv of the archive lists {len(names)} clips instead of {clips}")
    if broken := sorted(name for name in names if not _is_wav(folder / "audio" / name)):
        raise DownloadError(f"{len(broken)} clips of the archive are no WAV files, the first is {broken[0]}")
    if checksum is not None and (found := f"sha256:{pooch.file_hash(str(archive))}") != checksum:
        warnings.warn(
            f"ESC-50 is complete, but its archive has another checksum than was known: {found} instead of "
            f"{checksum}. GitHub may have packed it anew; compare results with others' with care.",
            stacklevel=2,
        )


def _is_wav(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size <= WAV_HEADER_BYTES:
        return False
    with path.open("rb") as file:
        header = file.read(12)
    return header[:4] == b"RIFF" and header[8:] == b"WAVE"


def _is_filled(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def _missing(folder: Path, contents: Sequence[str]) -> str:
    return ", ".join(path for path in contents if not (folder / path).exists())


@contextmanager
def _alone_in(work_folder: Path, destination: Path) -> Iterator[None]:
    """Lock the working folder; remove it in the end unless it holds something to continue from."""
    lock = FileLock(work_folder / "lock")
    while not lock.is_locked:
        work_folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the process before us removed it at this moment
            lock.acquire()
    try:
        yield
    finally:
        if _is_filled(destination) or {path.name for path in work_folder.iterdir()} <= {"lock"}:
            shutil.rmtree(work_folder, ignore_errors=True)
        lock.release()


@contextmanager
def _room(needed_bytes: int, folder: Path) -> Iterator[None]:
    """Say how much is needed where a disk is too small, before or while it is written."""
    full = OSError(errno.ENOSPC, f"the disk of {folder.parent} is full: {needed_bytes / 1e6:.3g} MB are needed")
    if shutil.disk_usage(folder).free < needed_bytes:
        raise full
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full from error
        raise


def _is_transient(error: Exception) -> bool:
    lost = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, (*lost, _TransientError))


def _describe(error: Exception) -> str:
    """Put in words what the user can do something about; requests' own messages run to whole paragraphs."""
    if isinstance(error, requests.Timeout):
        return "the server does not answer"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.exceptions.SSLError):
        return "the certificate of the server is not trusted"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    return str(error).rstrip(".")
