"""Files and folders appear complete or not at all."""

import os

import pytest

from otoscope.errors import AudioError, CheckpointError, OtoscopeError
from otoscope.files.atomic import replace_file, replace_folder, replace_text


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(path):
    (path if path.is_file() else path / "part.txt").write_text("half")
    raise OSError(28, "No space left on device")


def interrupt(path):
    raise KeyboardInterrupt


def test_a_file_is_written_with_its_parents(tmp_path):
    path = replace_text(str(tmp_path / "new" / "table.csv"), "a\r\nü\n")
    assert path == tmp_path / "new" / "table.csv"
    assert path.read_bytes() == "a\r\nü\n".encode()
    assert path.stat().st_mode & 0o777 == 0o644
    assert names_in(path.parent) == ["table.csv"]


def test_the_temporary_file_is_hidden_and_has_the_suffix(tmp_path):
    names = []
    replace_file(tmp_path / "clip.wav", lambda temporary: names.append(temporary.name))
    assert names[0].startswith(".clip-")
    assert names[0].endswith(".wav")


def test_a_name_of_the_greatest_length_fits(tmp_path):
    assert replace_text(tmp_path / f"{'ü' * 120}.txt", "text").read_text() == "text"


def test_a_file_is_flushed_before_it_takes_its_place(tmp_path, monkeypatch):
    seen = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append((tmp_path / "a").exists()) or fsync(handle))
    replace_text(tmp_path / "a", "text")
    assert seen == [False]


@pytest.mark.parametrize("former", [None, "former"])
def test_a_failure_keeps_the_former_file(tmp_path, former):
    path = tmp_path / "model.json"
    if former:
        path.write_text(former)
    before = names_in(tmp_path)
    with pytest.raises(OtoscopeError) as caught:
        replace_file(path, write_half)
    message = f"{path}: cannot be written ([Errno 28] No space left on device); check the folder and the free space"
    assert str(caught.value) == message
    with pytest.raises(AudioError, match="choose another disk"):
        replace_file(path, write_half, AudioError, "choose another disk")
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, interrupt)
    assert names_in(tmp_path) == before
    assert not former or path.read_text() == former


def test_a_file_in_place_of_the_parent_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OtoscopeError, match=r"file/table\.csv: cannot be written"):
        replace_text(tmp_path / "file" / "table.csv", "a")


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "a" / "model"
    for name in ("old", "new"):
        assert replace_folder(folder, lambda temporary, name=name: (temporary / name).write_text(name)) == folder
    assert names_in(folder) == ["new"]
    assert names_in(folder.parent) == ["model"]
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("former", [True, False])
def test_a_failure_keeps_the_former_folder(tmp_path, former):
    folder = tmp_path / "model"
    if former:
        folder.mkdir()
        (folder / "weights").write_text("former")
    with pytest.raises(CheckpointError, match=r"model: cannot be written \(.*No space left"):
        replace_folder(folder, write_half, CheckpointError)
    with pytest.raises(KeyboardInterrupt):
        replace_folder(folder, interrupt)
    assert names_in(tmp_path) == (["model"] if former else [])
    assert not former or (folder / "weights").read_text() == "former"
