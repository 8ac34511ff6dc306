"""The settings of the C allocator."""

import platform
import subprocess
import sys

import pytest

from otoscope import allocator

SETTINGS = ("keep_freed_memory", "share_freed_memory")


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_gnu_allocator_accepts_the_settings(setting):
    code = f"from otoscope import allocator; raise SystemExit(0 if allocator.{setting}() else 3)"
    expected = 0 if platform.libc_ver()[0] == "glibc" else 3
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == expected


@pytest.mark.parametrize("setting", SETTINGS)
def test_another_c_library_is_not_touched(setting, monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert getattr(allocator, setting)() is False


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are those of the GNU C library")
def test_threads_share_the_memory_of_the_first():
    code = """
import ctypes, threading
from otoscope.allocator import share_freed_memory
share_freed_memory()
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype = ctypes.c_void_p
heap = [int(end, 16) for line in open("/proc/self/maps") if "[heap]" in line for end in line.split()[0].split("-")]
places = []
thread = threading.Thread(target=lambda: places.append(libc.malloc(1000)))
thread.start()
thread.join()
raise SystemExit(0 if heap[0] <= places[0] < heap[1] else 3)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
