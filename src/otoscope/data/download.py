"""Downloads of data sets: resumed after an interruption, verified, and unpacked completely or not at all.

Work in progress lies in a hidden folder beside the destination, `.<name>.download`: the archive and the folder that
is being unpacked. The last step is therefore a rename on one disk, and a process that is killed leaves something to
resume from, never half a data set.
"""

import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from urllib.parse import urlsplit

import pooch
import requests
from filelock import FileLock
from pooch.utils import unique_file_name
from tqdm import tqdm

from otoscope.errors import DownloadError

# Nobody publishes a checksum of these 17.65 GB: the CRC of each member is verified, and the three parts must exist.
WHAM_URL = "https://my-bucket-a8b4b49c25c811ee9a7e8bba05fa24c7.s3.amazonaws.com/wham_noise.zip"
LJSPEECH_URL = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"
# As other public projects pin it; not verified here by a download of the 2.7 GB.
LJSPEECH_CHECKSUM = "sha256:be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"

BACKOFF_S = 1.0  # pause before the second attempt; doubles with each further one
TIMEOUTS_S = (10.0, 60.0)  # to connect; between two pieces of the answer
CHUNK_BYTES = 1 << 16

Check = Callable[[Path, Path], None]


def fetch_archive(
    url: str,
    destination: Path,
    checksum: str | None,
    *,
    retries: int = 3,
    progress: bool = True,
    contents: Sequence[str] = (),
    check: Check | None = None,
) -> Path:
    """Download a zip or tar archive, unpack it to a folder that appears only when complete, and return the folder.

    A call after an interruption resumes where the server allows it. Processes that ask for the same destination
    wait for the first. A destination that exists and is not empty stays as it is.

    Args:
        url: Address of the archive, http or https.
        destination: Folder to create. A single folder that wraps the whole archive is left out.
        checksum: Digest of the archive, `sha256:...` or `md5:...`; None if there is none.
        retries: Further attempts after a lost connection, a short answer or a server error.
        progress: Show a progress bar on standard error.
        contents: Paths that the folder must hold, relative to it; the error message names them too.
        check: Called with the unpacked folder and the archive before the folder takes its place; raises
            DownloadError if the content is not as expected.

    Raises:
        DownloadError: The archive cannot be downloaded, verified, unpacked or written.
    """
    target = Path(destination).resolve()
    folder = target.with_name(f".{target.name}.download")
    try:
        if not _is_filled(target):
            with _locked(folder):
                if not _is_filled(target):  # another process may have been faster
                    archive = _download(url, folder, checksum, retries, progress)
                    _install(archive, target, folder / "unpacked", contents, check)
        elif missing := _missing(target, contents):
            raise DownloadError(f"{target} exists but lacks {missing} (move it away to download it again)")
    except (DownloadError, OSError) as error:
        places = " and ".join(f"{target}/{path}" for path in contents) or str(target)
        advice = f"Download it in another way and unpack it so that the next run finds {places}."
        raise DownloadError(f"Cannot download {url}: {_describe(error)}. {advice}") from error
    return destination


def fetch_wham(destination: Path) -> Path:
    """Download WHAM! noise (17.65 GB, CC BY-NC 4.0) into a folder with ``tr``, ``cv`` and ``tt``."""
    return fetch_archive(WHAM_URL, destination, None, contents=("tr/", "cv/", "tt/"))


def fetch_ljspeech(destination: Path) -> Path:
    """Download LJSpeech (2.7 GB, public domain) into a folder with ``wavs``."""
    return fetch_archive(LJSPEECH_URL, destination, LJSPEECH_CHECKSUM, contents=("metadata.csv", "wavs/"))


FETCH: Mapping[str, Callable[[Path], Path]] = MappingProxyType({"wham": fetch_wham, "speech": fetch_ljspeech})
"""Download of the recordings that a condition of the evaluation needs, by condition."""


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Create and lock the working folder; remove it in the end unless it holds something to resume from."""
    lock = folder.with_name(f"{folder.name}.lock")
    with FileLock(lock):
        folder.mkdir(exist_ok=True)
        try:
            yield
        finally:
            with suppress(OSError):
                folder.rmdir()  # fails if it is not empty
            # A process that waits for the removed file notices that it is gone and locks a new one.
            with suppress(OSError):
                lock.unlink()


class _TransientError(DownloadError):
    """A failure of the server that may not occur again a moment later."""


_TRANSIENT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, _TransientError)


def _download(url: str, folder: Path, checksum: str | None, retries: int, progress: bool) -> Path:
    # The name contains a hash of the address, so that a partial file is never resumed from another address.
    archive: Path = folder / unique_file_name(url)
    part = archive.with_name(f"{archive.name}.part")
    if archive.exists():  # complete and verified, but not unpacked before the process ended
        return archive
    for attempt in range(retries + 1):
        try:
            _receive(url, part, progress)
            break
        except _TRANSIENT:
            if attempt == retries:
                raise
            time.sleep(BACKOFF_S * 2**attempt)
    if checksum is not None:
        algorithm, _, expected = checksum.partition(":")
        if (digest := pooch.file_hash(str(part), algorithm)) != expected:
            _forget(part)
            raise DownloadError(f"its {algorithm} is {digest} instead of {expected}; the partial file was removed")
    part.replace(archive)
    _forget(part)
    return archive


def _validator(part: Path) -> Path:
    return part.with_name(f"{part.name}.validator")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)


def _receive(url: str, part: Path, progress: bool) -> None:
    """Request the bytes that the partial file lacks (RFC 9110, section 14), and append them."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges then count bytes of the file itself
    if start:
        headers["Range"] = f"bytes={start}-"
        if _validator(part).exists():
            headers["If-Range"] = _validator(part).read_text(encoding="latin-1")
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS_S) as response:
        status, sent_range = response.status_code, response.headers.get("Content-Range", "")
        if start and status == 416 and sent_range == f"bytes */{start}":
            return  # nothing is missing
        if status == 416 or (status == 206 and not sent_range.startswith(f"bytes {start}-")):
            _forget(part)
            raise _TransientError("the server does not resume the partial file")
        if status not in (200, 206):
            kind = _TransientError if status >= 500 or status == 429 else DownloadError
            raise kind(f"the server answers {status} {response.reason}")
        if status == 200:  # a new file: the server has no ranges, or the file has changed
            start = 0
            _forget(part)
            # If-Range needs a strong validator; a weak ETag (W/"...") does not guarantee the same bytes.
            etag = response.headers.get("ETag", "")
            tag = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
            if tag:
                _validator(part).write_text(tag, encoding="latin-1")
        _append(response, part, start, progress)


def _append(response: requests.Response, part: Path, start: int, progress: bool) -> None:
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    name = PurePosixPath(urlsplit(response.url).path).name
    bar = tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True, disable=not progress)
    with bar, part.open("ab") as file:
        for chunk in response.iter_content(CHUNK_BYTES):
            bar.update(file.write(chunk))
    received = part.stat().st_size
    if total is not None and received != total:
        raise _TransientError(f"the server sent {received} of {total} bytes")


def _install(archive: Path, target: Path, folder: Path, contents: Sequence[str], check: Check | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # remains of a killed process
    try:
        _unpack(archive, folder)
        entries = list(folder.iterdir())
        root = entries[0] if len(entries) == 1 and entries[0].is_dir() else folder
        if missing := _missing(root, contents):
            raise DownloadError(f"the archive lacks {missing}")
        if check is not None:
            check(root, archive)
        if target.exists():
            target.rmdir()  # it is empty, and a rename needs its place
        root.rename(target)
        archive.unlink()
    except DownloadError:
        archive.unlink()  # so that the next run downloads it again
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    try:
        if zipfile.is_zipfile(archive) or not tarfile.is_tarfile(archive):
            with zipfile.ZipFile(archive) as bundle:
                # Verifies the CRC of each member. Absolute names and ".." are cut off; a link becomes a plain file.
                bundle.extractall(folder)
        else:
            with tarfile.open(archive) as bundle:
                bundle.extractall(folder, filter="data")  # refuses paths and links that lead out, and devices
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        raise DownloadError(f"the archive is damaged or unsafe ({error}) and was removed") from error


def _is_filled(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def _missing(folder: Path, contents: Sequence[str]) -> str:
    return ", ".join(path for path in contents if not (folder / path).exists())


# In this order, because the later classes include the earlier ones.
_CAUSES = {
    requests.Timeout: "the server does not answer",
    requests.exceptions.ChunkedEncodingError: "the connection broke off",
    requests.exceptions.SSLError: "the certificate of the server is not trusted",
    requests.ConnectionError: "the server cannot be reached",
}


def _describe(error: Exception) -> str:
    """Summarise an error in a few words; the messages of requests run to whole paragraphs."""
    for kind, cause in _CAUSES.items():
        if isinstance(error, kind):
            return cause
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    return str(error).rstrip(".")
