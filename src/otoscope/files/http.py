"""Download of files over HTTP: resumed after an interruption, repeated after a failure, and verified."""

from __future__ import annotations

import time
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pooch
import requests
from pooch.utils import unique_file_name
from tqdm import tqdm

from otoscope.errors import DownloadError

BACKOFF_S = 1.0  # pause before the second attempt; doubles with each further one
TIMEOUTS_S = (10.0, 60.0)  # to connect; between two pieces of the answer
CHUNK_BYTES = 1 << 16


class _TransientError(DownloadError):
    """A failure of the server that may not occur again a moment later."""


_TRANSIENT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, _TransientError)

# In this order, because the later classes include the earlier ones.
_CAUSES = {
    requests.Timeout: "the server does not answer",
    requests.exceptions.ChunkedEncodingError: "the connection broke off",
    requests.exceptions.SSLError: "the certificate of the server is not trusted",
    requests.ConnectionError: "the server cannot be reached",
}


def download_file(url: str, folder: Path, checksum: str | None, retries: int, progress: bool) -> Path:
    """Download a file into a folder, and return its path; an interrupted download is resumed.

    pooch downloads files too, but always from the beginning, so it only contributes the name and the digest.

    Args:
        url: Address of the file, http or https.
        folder: Existing folder. The name of the file contains a hash of the address.
        checksum: Digest of the file, ``sha256:...`` or ``md5:...``; None if there is none.
        retries: Further attempts after a lost connection, a short answer or a server error.
        progress: Show a progress bar on standard error.

    Raises:
        DownloadError: The server refuses the file, or its digest is wrong.
        OSError: The server cannot be reached, or the file cannot be written.
    """
    # The hash in the name ensures that a partial file is never resumed from another address.
    path: Path = folder / unique_file_name(url)
    part = path.with_name(f"{path.name}.part")
    if path.exists():  # complete and verified by an earlier call
        return path
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
            _remove(part)
            raise DownloadError(f"its {algorithm} is {digest} instead of {expected}; the partial file was removed")
    # Only a complete and verified file gets the final name. Its validator is no longer needed.
    part.replace(path)
    _remove(part)
    return path


def describe_failure(error: Exception) -> str:
    """Summarise an error of `download_file` in a few words; the messages of requests fill whole paragraphs."""
    for kind, cause in _CAUSES.items():
        if isinstance(error, kind):
            return cause
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    return str(error).rstrip(".")


def _receive(url: str, part: Path, progress: bool) -> None:
    """Request the bytes that the partial file lacks (RFC 9110, section 14), and append them."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges then count bytes of the file itself
    if start:
        headers["Range"] = f"bytes={start}-"
        # If-Range asks for the whole file if it is no longer the one that the partial file began with.
        if _validator(part).exists():
            headers["If-Range"] = _validator(part).read_text(encoding="latin-1")
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS_S) as response:
        status, sent_range = response.status_code, response.headers.get("Content-Range", "")
        # 416, range not satisfiable: the partial file is complete if it is as long as the file on the server.
        if start and status == 416 and sent_range == f"bytes */{start}":
            return
        if status == 416 or (status == 206 and not sent_range.startswith(f"bytes {start}-")):
            _remove(part)
            raise _TransientError("the server does not resume the partial file")
        if status not in (200, 206):
            kind = _TransientError if status >= 500 or status == 429 else DownloadError
            raise kind(f"the server answers {status} {response.reason}")
        if status == 200:  # the whole file: the server does not support ranges, or the file has changed
            start = 0
            _remove(part)
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
    # requests does not report an answer that ends early.
    received = part.stat().st_size
    if total is not None and received != total:
        raise _TransientError(f"the server sent {received} of {total} bytes")


def _validator(part: Path) -> Path:
    """Return the file with the ETag or date of a partial file."""
    return part.with_name(f"{part.name}.validator")


def _remove(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)
