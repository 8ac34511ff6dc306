"""Downloads from a local server: complete, interrupted, wrong, hostile, absent."""

import errno
import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pooch.utils import unique_file_name

from otoscope.data import download
from otoscope.data.download import fetch_archive
from otoscope.errors import DownloadError
from otoscope.files import http


def packed(members: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


def sha256(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


ARCHIVE = packed({"sounds-master/a.txt": b"a" * 3000, "sounds-master/deep/b.txt": bytes(range(256)) * 20})
CHECKSUM = sha256(ARCHIVE)


@dataclass
class Site:
    """Content and faults of the server, and the requests that it received.

    Attributes:
        cut_after: For each request in turn, the number of body bytes after which the line breaks.
        failures: Status codes for the first requests.
        seen: Headers of each request.
        sent: Number of body bytes of each good answer.
    """

    url: str = ""
    body: bytes = ARCHIVE
    etag: str = '"first"'
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    seen: list[dict[str, str]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def range_start(self, headers: dict[str, str]) -> int:
        asked = headers.get("Range")
        if not self.ranges or asked is None or headers.get("If-Range", self.etag) != self.etag:
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        site: Site = self.server.site  # type: ignore[attr-defined]
        headers = dict(self.headers.items())
        site.seen.append(headers)
        if site.failures:
            self.answer(site.failures.pop(0), {"Content-Length": "0"})
            return
        start, size = site.range_start(headers), len(site.body)
        if start >= size:
            self.answer(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            return
        fields = {"Content-Length": str(size - start), "ETag": site.etag}
        if start:
            fields["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self.answer(206 if start else 200, fields)
        body = site.body[start:][: site.cut_after.pop(0) if site.cut_after else None]
        site.sent.append(len(body))
        self.wfile.write(body)

    def answer(self, status: int, fields: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.site = site  # type: ignore[attr-defined]
        site.url = f"http://127.0.0.1:{server.server_port}/sounds/master.zip"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        server.shutdown()
        thread.join(timeout=10)


@pytest.fixture(autouse=True)
def _small_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACKOFF_S", 0.001)
    monkeypatch.setattr(http, "CHUNK_BYTES", 100)
    monkeypatch.setattr(http, "TIMEOUTS_S", (2.0, 2.0))


def fetch(site: Site, destination: Path, checksum: str | None = CHECKSUM, **options: Any) -> Path:
    return fetch_archive(site.url, destination, checksum, progress=False, **options)


def assert_whole(destination: Path) -> None:
    assert (destination / "a.txt").read_bytes() == b"a" * 3000
    assert (destination / "deep" / "b.txt").read_bytes() == bytes(range(256)) * 20
    assert [path.name for path in destination.parent.iterdir()] == [destination.name]


def working_files(destination: Path) -> list[str]:
    folder = destination.with_name(f".{destination.name}.download")
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_first_fetch_unpacks_without_the_wrapping_folder_and_the_second_makes_no_request(
    site: Site, tmp_path: Path
) -> None:
    destination = tmp_path / "sounds"
    assert fetch(site, destination) == destination
    assert_whole(destination)
    assert stat.S_IMODE(destination.stat().st_mode) & 0o500 == 0o500
    assert fetch_archive("http://127.0.0.1:9/gone.zip", destination, CHECKSUM) == destination
    assert len(site.seen) == 1


def test_all_entries_at_the_top_are_unpacked(site: Site, tmp_path: Path) -> None:
    site.body = packed({"a.txt": b"1", "deep/b.txt": b"3"})
    destination = fetch(site, tmp_path / "sounds", f"md5:{hashlib.md5(site.body).hexdigest()}")
    assert sorted(path.name for path in destination.iterdir()) == ["a.txt", "deep"]


def test_an_empty_destination_counts_as_absent(site: Site, tmp_path: Path) -> None:
    destination = tmp_path / "sounds"
    destination.mkdir()
    assert_whole(fetch(site, destination))


def test_progress_goes_to_standard_error(site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fetch_archive(site.url, tmp_path / "sounds", CHECKSUM)
    output = capfd.readouterr()
    assert "master.zip" in output.err
    assert output.out == ""


def test_retry_after_an_interruption_requests_only_the_missing_bytes(site: Site, tmp_path: Path) -> None:
    site.cut_after = [1000]
    assert_whole(fetch(site, tmp_path / "sounds"))
    assert "Range" not in site.seen[0]
    assert site.seen[1]["Range"] == "bytes=1000-"
    assert site.seen[1]["If-Range"] == '"first"'
    assert site.sent == [1000, len(ARCHIVE) - 1000]


def test_the_next_call_resumes_the_partial_file(site: Site, tmp_path: Path) -> None:
    destination = tmp_path / "sounds"
    site.cut_after = [1000, 500]
    with pytest.raises(DownloadError, match="broke off"):
        fetch(site, destination, retries=1)
    assert not destination.exists()
    assert any(name.endswith(".part") for name in working_files(destination))
    assert_whole(fetch(site, destination))
    assert site.sent == [1000, 500, len(ARCHIVE) - 1500]


def test_a_server_without_ranges_starts_again(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.cut_after = [1000]
    assert_whole(fetch(site, tmp_path / "sounds"))
    assert site.seen[1]["Range"] == "bytes=1000-"
    assert site.sent == [1000, len(ARCHIVE)]


def test_a_file_that_changed_on_the_server_starts_again(site: Site, tmp_path: Path) -> None:
    site.body, site.cut_after = bytes(len(ARCHIVE)), [1000]
    with pytest.raises(DownloadError):
        fetch(site, tmp_path / "sounds", retries=0)
    site.body, site.etag = ARCHIVE, '"second"'
    assert_whole(fetch(site, tmp_path / "sounds"))
    assert site.sent == [1000, len(ARCHIVE)]


@pytest.mark.parametrize(("surplus", "sent"), [(b"", []), (b"too much", [len(ARCHIVE)])])
def test_a_partial_file_with_nothing_missing(site: Site, tmp_path: Path, surplus: bytes, sent: list[int]) -> None:
    destination = tmp_path / "sounds"
    work_folder = tmp_path / ".sounds.download"
    work_folder.mkdir()
    (work_folder / f"{unique_file_name(site.url)}.part").write_bytes(ARCHIVE + surplus)
    assert_whole(fetch(site, destination))
    assert site.sent == sent


@pytest.mark.parametrize("status", [500, 503, 429])
def test_request_to_a_failing_server_is_repeated(site: Site, tmp_path: Path, status: int) -> None:
    site.failures = [status, status]
    assert_whole(fetch(site, tmp_path / "sounds"))
    assert len(site.seen) == 3


def test_retries_end_if_the_server_keeps_failing(site: Site, tmp_path: Path) -> None:
    site.failures = [502] * 10
    with pytest.raises(DownloadError, match="answers 502 Bad Gateway"):
        fetch(site, tmp_path / "sounds", retries=2)
    assert len(site.seen) == 3
    assert list(tmp_path.iterdir()) == []


def test_request_for_a_missing_page_is_not_repeated(site: Site, tmp_path: Path) -> None:
    site.failures = [404]
    with pytest.raises(DownloadError, match="answers 404 Not Found"):
        fetch(site, tmp_path / "sounds")
    assert len(site.seen) == 1


def test_file_with_a_wrong_checksum_is_refused_and_removed(site: Site, tmp_path: Path) -> None:
    wrong = "sha256:" + "0" * 64
    with pytest.raises(DownloadError) as caught:
        fetch(site, tmp_path / "sounds", wrong)
    message = str(caught.value)
    assert f"its sha256 is {CHECKSUM.removeprefix('sha256:')} instead of {'0' * 64}" in message
    assert "the partial file was removed" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "C:/evil.txt", "..\\evil.txt"])
def test_members_cannot_escape(site: Site, tmp_path: Path, name: str) -> None:
    site.body = packed({"good.txt": b"good", name: b"evil"})
    destination = fetch(site, tmp_path / "inner" / "sounds", None)
    assert (destination / "good.txt").read_bytes() == b"good"
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]
    assert [path.name for path in (tmp_path / "inner").iterdir()] == ["sounds"]
    assert not Path("/evil.txt").exists()


def test_links_are_not_created(site: Site, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        bundle.writestr(link, "/etc/passwd")
    site.body = buffer.getvalue()
    link_path = fetch(site, tmp_path / "sounds", None) / "link"
    assert not link_path.is_symlink()
    assert link_path.read_text() == "/etc/passwd"


@pytest.mark.parametrize("damage", ["no zip", "wrong byte", "deflate"])
def test_a_damaged_archive_is_removed_and_downloaded_again(site: Site, tmp_path: Path, damage: str) -> None:
    compression = zipfile.ZIP_DEFLATED if damage == "deflate" else zipfile.ZIP_STORED
    good = packed({"sounds/a.txt": b"abc" * 500, "sounds/b.txt": b"b"}, compression=compression)
    body = bytearray(b"<html>" * 100 if damage == "no zip" else good)
    body[45] ^= 0xFF
    site.body = bytes(body)
    with pytest.raises(DownloadError, match="damaged"):
        fetch(site, tmp_path / "sounds", None)
    assert list(tmp_path.iterdir()) == []
    site.body = good
    assert (fetch(site, tmp_path / "sounds", None) / "b.txt").read_bytes() == b"b"


# Loaded by its path, because importing the package would import torch, which takes seconds.
KILLED_WHILE_UNPACKING = """
import importlib.util, os, signal, sys, zipfile
from pathlib import Path

spec = importlib.util.spec_from_file_location("download", sys.argv[1])
sys.modules["download"] = download = importlib.util.module_from_spec(spec)
spec.loader.exec_module(download)

def die(source, target, *_):
    target.write(source.read(100))
    target.flush()
    os.kill(os.getpid(), signal.SIGKILL)

zipfile.shutil.copyfileobj = die
download.fetch_archive(sys.argv[2], Path(sys.argv[3]), sys.argv[4], progress=False)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_after_a_kill_while_unpacking_the_next_run_finishes(site: Site, tmp_path: Path) -> None:
    destination = tmp_path / "sounds"
    arguments = [download.__file__, site.url, str(destination), CHECKSUM]
    command = [sys.executable, "-c", KILLED_WHILE_UNPACKING, *arguments]
    source = str(Path(download.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": source}
    process = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert not destination.exists()
    assert "unpacked" in working_files(destination)
    assert_whole(fetch(site, destination))
    assert len(site.seen) == 1  # the archive itself was complete


def test_an_interruption_while_the_checksum_is_computed_loses_nothing(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pooch.file_hash", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(site, tmp_path / "sounds")
    assert_whole(fetch(site, tmp_path / "sounds"))
    assert site.sent == [len(ARCHIVE)]


@dataclass
class FullDisk:
    """A file on a disk with limited space."""

    file: Any
    space: int

    def write(self, chunk: bytes) -> int:
        if self.file.tell() + len(chunk) > self.space:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self.file.write(chunk))

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()


def test_a_disk_that_fills_up_while_downloading_leaves_something_to_resume(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = Path.open

    def open_on_full_disk(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        file = open_file(path, mode, *rest, **options)
        return FullDisk(file, 1000) if mode == "ab" else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_on_full_disk)
        with pytest.raises(DownloadError, match="No space left on device"):
            fetch(site, tmp_path / "sounds")
    assert_whole(fetch(site, tmp_path / "sounds"))
    assert site.seen[1]["Range"] == "bytes=1000-"


def test_a_disk_that_fills_up_while_unpacking_leaves_the_archive_only(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    destination = tmp_path / "sounds"
    with monkeypatch.context() as patch:
        patch.setattr("zipfile.shutil.copyfileobj", fill)
        with pytest.raises(DownloadError, match="No space left on device"):
            fetch(site, destination)
    assert not destination.exists()
    assert working_files(destination) == [unique_file_name(site.url)]
    assert_whole(fetch(site, destination))
    assert len(site.seen) == 1


def test_concurrent_calls_download_once(site: Site, tmp_path: Path) -> None:
    destination = tmp_path / "sounds"
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: fetch(site, destination), range(4))) == [destination] * 4
    assert_whole(destination)
    assert len(site.seen) == 1


def test_offline_error_names_the_address_and_the_destination(tmp_path: Path) -> None:
    url, destination = "http://127.0.0.1:9/sounds.zip", tmp_path / "sounds"
    with pytest.raises(DownloadError) as caught:
        fetch_archive(url, destination, CHECKSUM, retries=1, progress=False, contents=["meta.csv", "audio/"])
    assert str(caught.value) == (
        f"Cannot download {url}: the server cannot be reached. Download it in another way and unpack it so "
        f"that the next run finds {destination}/meta.csv and {destination}/audio/."
    )
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="Invalid URL 'nonsense'"):
        fetch_archive("nonsense", tmp_path / "sounds", None, progress=False)


def test_a_destination_that_is_a_file_is_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "sounds").write_text("a file")
    with pytest.raises(DownloadError, match="Not a directory"):
        fetch(site, tmp_path / "sounds")
    assert site.seen == []
