"""Files and folders appear complete or not at all."""

import os
import signal
import subprocess
import sys

import pytest

from otoscope.errors import AudioError, CheckpointError, OtoscopeError
from otoscope.files import atomic
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
    assert seen == [False, True]  # the file before it is renamed, its folder afterwards


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


DEAD = 2**22 + 1
"""Larger than any process id of Linux."""


def leave_behind(folder, process, run="0" * 6, host=None):
    """Make what a process leaves that is killed while it writes."""
    names = [f".clip-tmp-{host or atomic._host()}-{process}-{run}-{kind}" for kind in ("folder", "file.wav")]
    (folder / names[0] / "components").mkdir(parents=True)
    (folder / names[0] / "components" / "sound.wav").touch()
    (folder / names[1]).touch()
    return names


def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    leave_behind(tmp_path, DEAD)
    leave_behind(tmp_path, os.getpid())  # an earlier process with the id of this one
    old = leave_behind(tmp_path, DEAD, host="abcdef")
    for name in old:
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".clip-tmp-of-the-user").touch()
    replace_text(tmp_path / "table.csv", "a")
    assert names_in(tmp_path) == [".clip-tmp-of-the-user", "table.csv"]


def test_what_killed_runs_left_is_removed_from_all_folders_below(tmp_path):
    deep = tmp_path / "interpretations" / "epoch-2"
    deep.mkdir(parents=True)
    for folder in (tmp_path, deep):
        leave_behind(folder, DEAD)
    (deep / "sound.wav").touch()
    atomic.remove_stale_below(tmp_path)
    assert names_in(tmp_path) == ["interpretations"]
    assert names_in(deep) == ["sound.wav"]


def test_what_other_processes_are_writing_stays(tmp_path):
    names = leave_behind(tmp_path, os.getppid())
    names += leave_behind(tmp_path, os.getpid(), atomic._RUN)
    names += leave_behind(tmp_path, DEAD, host="abcdef")  # of another machine, where it may run
    replace_text(tmp_path / "table.csv", "a")
    assert names_in(tmp_path) == sorted([*names, "table.csv"])


@pytest.mark.parametrize("exchange", [True, False])
def test_a_kill_at_any_rename_leaves_the_former_folder_or_the_new_one(tmp_path, exchange):
    """The process kills itself before its n-th rename; the next run finds one whole folder."""
    code = """
import os, signal, sys
from pathlib import Path
from otoscope.files import atomic
folder, count, exchange = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
def counted(function):
    def call(*arguments):
        global count
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        count -= 1
        return function(*arguments)
    return call
Path.rename = counted(Path.rename)
atomic._exchange = counted(atomic._exchange) if exchange else lambda *paths: False
atomic.replace_folder(folder, lambda temporary: (temporary / "new").write_text("new"))
"""
    folder = tmp_path / "model"
    for count in range(3):
        replace_folder(folder, lambda temporary: (temporary / "old").write_text("old"))
        process = subprocess.run([sys.executable, "-c", code, str(folder), str(count), str(exchange)])
        assert process.returncode in (0, -signal.SIGKILL)
        atomic._recover(folder)
        assert names_in(folder) in (["old"], ["new"])
        assert exchange or process.returncode == 0 or names_in(folder) == ["old"]
    atomic.remove_stale(tmp_path)
    assert names_in(tmp_path) == ["model"]
