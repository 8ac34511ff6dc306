"""Archives of WHAM! and LJSpeech: unpacked completely or refused."""

import io
import tarfile
import zipfile

import pytest

from otoscope.data import download
from otoscope.data.download import FETCH, fetch_ljspeech, fetch_wham
from otoscope.errors import DownloadError


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


@pytest.fixture
def served(monkeypatch):
    """Serve these bytes instead of gigabytes, and record address and checksum of each request."""
    asked = []

    def serve(body):
        def give(url, folder, checksum, retries, progress):
            asked.append((url, checksum))
            path = folder / "archive"
            path.write_bytes(body)
            return path

        monkeypatch.setattr(download, "_download", give)
        return asked

    return serve


SPEECH = {"LJSpeech-1.1/metadata.csv": b"a|b\n", "LJSpeech-1.1/wavs/LJ001.wav": b"RIFF"}


def test_ljspeech_from_its_tar(served, tmp_path):
    asked = served(_tarred(SPEECH))
    folder = fetch_ljspeech(tmp_path / "speech")
    assert (folder / "wavs" / "LJ001.wav").read_bytes() == b"RIFF"
    assert asked == [(download.LJSPEECH_URL, download.LJSPEECH_CHECKSUM)]
    assert fetch_ljspeech(folder) == folder  # it exists: no second request
    assert len(asked) == 1


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
