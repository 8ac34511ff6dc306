"""Finding recordings in files and folders."""

import pytest

from otoscope.errors import AudioError
from otoscope.recordings import find_recordings


@pytest.fixture
def folder(tmp_path):
    for name in ("part0/clip.wav", "part1/clip.wav", "part1/CLIP2.FLAC", "notes.txt", ".hidden.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def _names(*sources):
    return [recording.name for recording in find_recordings([str(source) for source in sources])]


def test_files_of_a_folder_are_named_by_their_path(folder):
    assert _names(folder) == ["part0/clip", "part1/CLIP2", "part1/clip"]
    assert find_recordings([str(folder)])[0].path == folder / "part0" / "clip.wav"


def test_files_need_not_exist(folder):
    assert _names("absent/clip.ogg") == ["clip"]


def test_names_are_unique(folder):
    assert _names(folder / "part0" / "clip.wav", "absent/clip.ogg", folder / "part1") == [
        "clip",
        "clip-2",
        "CLIP2",
        "clip-3",
    ]
    (folder / "part0" / "clip.flac").touch()
    assert _names(folder / "part0") == ["clip", "clip-2"]


def test_a_folder_without_sound_is_refused(folder):
    (folder / "empty").mkdir()
    with pytest.raises(AudioError, match=r"empty: holds no sound file"):
        find_recordings([str(folder / "empty")])
