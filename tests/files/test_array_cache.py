"""Cached arrays are computed once, written atomically and never stale."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from otoscope.errors import DataError
from otoscope.files.array_cache import ArrayCache, default_cache_folder, file_key


class Counted:
    """Compute an array and count the calls."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = value
        self.calls = 0

    def __call__(self) -> np.ndarray:
        self.calls += 1
        return np.full((3, 5), self.value, np.float32)


@pytest.fixture
def cache(tmp_path):
    return ArrayCache(tmp_path / "arrays")


def files_of(cache):
    return sorted(path.name for path in cache.folder.iterdir())


def test_computed_once_and_then_read_from_disk(cache):
    compute = Counted()
    assert not cache.has("clip", "1")
    first, second = cache.get("clip", "1", compute), cache.get("clip", "1", compute)
    assert compute.calls == 1
    assert cache.has("clip", "1")
    assert np.array_equal(first, second)
    assert np.array_equal(ArrayCache(cache.folder).get("clip", "1", compute), first)
    assert compute.calls == 1


def test_arrays_are_memory_mapped_and_read_only(cache):
    array = cache.get("clip", "1", Counted())
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 2


def test_arrays_of_different_names_are_separate(cache):
    assert cache.get("a", "1", Counted(1))[0, 0] == 1
    assert cache.get("b", "1", Counted(2))[0, 0] == 2
    assert cache.get("a", "1", Counted(3))[0, 0] == 1


def test_a_new_version_replaces_the_old_file(cache):
    cache.get("other", "1", Counted(7))
    cache.get("clip", "1", Counted(1))
    assert cache.get("clip", "2", Counted(2))[0, 0] == 2
    assert not cache.has("clip", "1")
    assert cache.has("other", "1")
    assert len(files_of(cache)) == 2


@pytest.mark.parametrize(
    "content", [b"", b"not an array", b"\x93NUMPY\x01\x00"], ids=["empty", "other content", "header"]
)
def test_a_damaged_array_is_computed_again(cache, content):
    cache.get("clip", "1", Counted(1))
    cache.path("clip", "1").write_bytes(content)
    assert cache.get("clip", "1", Counted(2))[0, 0] == 2
    assert cache.get("clip", "1", Counted(3))[0, 0] == 2


def test_a_truncated_array_is_computed_again(cache):
    cache.get("clip", "1", Counted(1))
    path = cache.path("clip", "1")
    path.write_bytes(path.read_bytes()[:-4])
    assert cache.get("clip", "1", Counted(2))[0, 0] == 2


def test_a_failure_while_writing_leaves_nothing(cache, monkeypatch):
    def write_half(file, array):
        file.write(b"\x93NUMPY half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", write_half)
    with pytest.raises(DataError, match=r"arrays/.*: cannot be written \(.*No space left.*OTOSCOPE_CACHE"):
        cache.get("clip", "1", Counted())
    assert files_of(cache) == []
    monkeypatch.undo()
    assert cache.get("clip", "1", Counted(2))[0, 0] == 2


def test_an_error_of_the_computation_is_not_changed(cache):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.get("clip", "1", fail)
    assert not cache.has("clip", "1")


def test_a_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file/arrays/.*: cannot be written"):
        ArrayCache(tmp_path / "file" / "arrays").get("clip", "1", Counted())


WRITER = """
import os, sys, time
import numpy as np
from otoscope.files.array_cache import ArrayCache

def slow_save(file, array, save=np.save):
    file.write(b"half of an array"); file.flush(); os.fsync(file.fileno())
    print("writing", flush=True); time.sleep(60)

if sys.argv[2] == "slow":
    np.save = slow_save
print(ArrayCache(sys.argv[1]).get("clip", "1", lambda: np.full((3, 5), 4.0, np.float32)).sum(), flush=True)
"""


def start_writer(folder: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_kill_while_writing_and_two_processes_at_once(cache):
    killed = start_writer(cache.folder, "slow")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "writing\n"
    other = start_writer(cache.folder, "fast")  # writes the same array meanwhile
    assert other.communicate(timeout=60)[0] == "60.0\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    compute = Counted(9)
    assert cache.get("clip", "1", compute).sum() == 60
    assert compute.calls == 0


def test_the_default_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("OTOSCOPE_CACHE", str(tmp_path))
    assert default_cache_folder() == tmp_path
    monkeypatch.delenv("OTOSCOPE_CACHE")
    assert default_cache_folder().name == "otoscope"


def test_the_cache_key_of_a_file_changes_with_its_content(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(b"one")
    key = file_key(path)
    assert file_key(path) == key
    path.write_bytes(b"other")
    assert file_key(path) != key
    path.write_bytes(b"one")
    os.utime(path, (time.time() + 5, time.time() + 5))
    assert file_key(path) != key
