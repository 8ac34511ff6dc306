"""Finding recordings in files and folders."""

import os

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


def test_no_name_lies_in_another_one(folder):
    """An explanation is replaced as a whole, and must not take another one with it."""
    for name in ("part0/clip/inner.wav", "part0/a/b.wav", "part0/a.wav", "part0/a/b/components.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    names = _names(folder / "part0")
    assert len(names) == len(set(names)) == 5
    assert not any(other.startswith(f"{name}/") for name in names for other in names)


def test_a_file_is_found_once(folder):
    path = folder / "part0" / "clip.wav"
    assert _names(path, folder / "part0", folder / "part1" / ".." / "part0" / "clip.wav") == ["clip"]


@pytest.mark.parametrize(
    "name", ["...wav", "..wav", "....wav", ".wav", "a\\..\\b.wav", "\n.wav", "ü" * 125 + ".wav"]
)
def test_names_stay_in_the_output_folder(name):
    (result,) = _names(name)
    assert result not in ("", ".", "..")
    assert not {"/", "\\"}.intersection(result)
    assert result.isprintable()
    assert len(result.encode()) <= 180


def test_bytes_that_are_no_text_become_escapes():
    assert _names(os.fsdecode(b"caf\xe9.wav")) == ["caf%E9"]


def test_explanations_and_the_output_folder_are_not_searched(folder):
    explanation = folder / "results" / "clip"
    (explanation / "components").mkdir(parents=True)
    for name in ("explanation.json", "original.wav", "components/1.wav"):
        (explanation / name).touch()
    (folder / "out").mkdir()
    (folder / "out" / "partial.wav").touch()
    recordings = find_recordings([str(folder)], folder / "out")
    assert [recording.name for recording in recordings] == ["part0/clip", "part1/CLIP2", "part1/clip"]


def test_a_folder_without_sound_is_refused(folder):
    (folder / "empty").mkdir()
    with pytest.raises(AudioError, match=r"empty: holds no sound file"):
        find_recordings([str(folder / "empty")])
