"""Archives of ESC-50, WHAM! and LJSpeech: unpacked completely or refused."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from otoscope.data import download, esc50
from otoscope.data.download import FETCH, fetch_ljspeech, fetch_wham
from otoscope.data.esc50 import fetch_esc50
from otoscope.errors import DownloadError
from otoscope.files import http


def _tarred(members, kind="w:bz2", link=None):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=kind) as bundle:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            bundle.addfile(entry, io.BytesIO(content))
        if link is not None:
            entry = tarfile.TarInfo("LJSpeech-1.1/wavs/link.wav")
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            bundle.addfile(entry)
    return buffer.getvalue()


def _zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _no_mirror(monkeypatch):
    monkeypatch.delenv("OTOSCOPE_ESC50_URL", raising=False)


@pytest.fixture
def served(monkeypatch):
    """Serve these bytes instead of gigabytes, and record address and checksum of each request."""
    requests = []

    def serve(body):
        def give(url, folder, checksum, retries, progress):
            requests.append((url, checksum))
            path = folder / "archive"
            path.write_bytes(body)
            return path

        monkeypatch.setattr(download, "download_file", give)
        return requests

    return serve


SPEECH = {"LJSpeech-1.1/metadata.csv": b"a|b\n", "LJSpeech-1.1/wavs/LJ001.wav": b"RIFF"}


def test_ljspeech_from_its_tar(served, tmp_path):
    requests = served(_tarred(SPEECH))
    folder = fetch_ljspeech(tmp_path / "speech")
    assert (folder / "wavs" / "LJ001.wav").read_bytes() == b"RIFF"
    assert requests == [(download.LJSPEECH_URL, download.LJSPEECH_CHECKSUM)]
    assert fetch_ljspeech(folder) == folder  # it exists: no second request
    assert len(requests) == 1


def test_wham_from_its_zip(served, tmp_path):
    served(_zipped({f"wham_noise/{part}/a.wav": b"RIFF" for part in ("tr", "cv", "tt")}))
    assert (fetch_wham(tmp_path / "wham") / "tt" / "a.wav").is_file()


def test_incomplete_wham_is_refused(served, tmp_path):
    served(_zipped({"wham_noise/tr/a.wav": b"RIFF"}))
    with pytest.raises(DownloadError, match="lacks cv/, tt/"):
        fetch_wham(tmp_path / "wham")
    assert not (tmp_path / "wham").exists()


@pytest.mark.parametrize(
    "body",
    [
        _tarred({**SPEECH, "LJSpeech-1.1/../../escape": b"x"}),
        _tarred(SPEECH, link="/etc/passwd"),
        _tarred({f"LJSpeech-1.1/wavs/{i}.wav": bytes(range(256)) * 40 for i in range(20)}, "w")[:60_000],
        b"not an archive" * 100,
    ],
    ids=["outside", "link", "short", "nonsense"],
)
def test_bad_archives_leave_nothing(served, tmp_path, body):
    served(body)
    with pytest.raises(DownloadError, match=r"Cannot download https://data\.keithito\.com"):
        fetch_ljspeech(tmp_path / "in" / "speech")
    assert not (tmp_path / "in" / "speech").exists()
    assert not (tmp_path / "escape").exists()


def test_fetch_functions_by_condition():
    assert dict(FETCH) == {"wham": fetch_wham, "speech": fetch_ljspeech}


WAV = b"RIFF\x00\x00\x00\x00WAVE" + bytes(64)


def esc50_zip(clips=3, **changed):
    names = [f"1-{index}-A-0.wav" for index in range(clips)]
    rows = "".join(f"{name},1,0,dog\n" for name in names)
    members = {f"audio/{name}": changed.get(f"clip{index}", WAV) for index, name in enumerate(names)}
    members["meta/esc50.csv"] = changed.get("table", f"filename,fold,target,category\n{rows}".encode())
    return _zipped({f"ESC-50-master/{name}": content for name, content in members.items()})


def test_esc50_from_a_mirror(served, tmp_path, monkeypatch):
    requests = served(esc50_zip())
    monkeypatch.setenv("OTOSCOPE_ESC50_URL", "http://mirror/esc50.zip")
    folder = fetch_esc50(tmp_path / "ESC-50-master", clips=3, progress=False)
    assert (folder / "meta" / "esc50.csv").is_file()
    assert len(list((folder / "audio").iterdir())) == 3
    assert fetch_esc50(folder, clips=3) == folder
    assert requests == [("http://mirror/esc50.zip", None)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (esc50_zip(2), "lists 2 clips instead of 3"),
        (esc50_zip(clip1=b""), "1 clips of the archive are not WAV files, the first is 1-1-A-0.wav"),
        (esc50_zip(clip1=WAV[:44]), "1 clips of the archive are not WAV files"),
        (esc50_zip(clip2=b"OggS" + bytes(99)), "not WAV files, the first is 1-2-A-0.wav"),
        (esc50_zip(table=b"\xff\xfe"), "not a table of clips"),
        (esc50_zip(table=b"name\na.wav\n"), "not a table of clips"),
        (_zipped({"ESC-50-master/README.md": b"moved"}), "the archive lacks meta/esc50.csv, audio/"),
    ],
    ids=["two clips", "empty", "no samples", "ogg", "not text", "no filenames", "other content"],
)
def test_esc50_with_other_content_is_refused(served, tmp_path, body, message):
    served(body)
    with pytest.raises(DownloadError, match=message):
        fetch_esc50(tmp_path / "ESC-50-master", clips=3, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_esc50_with_the_observed_checksum(served, tmp_path, monkeypatch):
    body = esc50_zip()
    served(body)
    monkeypatch.setattr(esc50, "ESC50_CHECKSUM", f"sha256:{hashlib.sha256(body).hexdigest()}")
    assert (fetch_esc50(tmp_path / "esc50", clips=3) / "meta" / "esc50.csv").is_file()


def test_esc50_that_was_packed_again_is_accepted_with_a_warning(served, tmp_path):
    served(esc50_zip())
    with pytest.warns(UserWarning, match="the checksum of its archive is"):
        folder = fetch_esc50(tmp_path / "esc50", clips=3)
    assert (folder / "meta" / "esc50.csv").is_file()


def test_esc50_does_not_touch_a_folder_with_other_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DownloadError, match=r"lacks meta/esc50\.csv, audio/"):
        fetch_esc50(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_esc50_offline_error_names_address_and_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(http, "BACKOFF_S", 0.001)
    monkeypatch.setenv("OTOSCOPE_ESC50_URL", "http://127.0.0.1:9/master.zip")
    folder = tmp_path / "ESC-50-master"
    with pytest.raises(DownloadError) as caught:
        fetch_esc50(folder, progress=False)
    message = str(caught.value)
    assert "http://127.0.0.1:9/master.zip" in message
    assert f"{folder}/meta/esc50.csv and {folder}/audio/" in message
    assert "\n" not in message
