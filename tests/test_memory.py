"""The allocator's settings."""

import platform
import subprocess
import sys

from otoscope import memory


def test_the_gnu_allocator_takes_the_settings():
    code = "import sys; from otoscope.memory import keep_freed_memory; sys.exit(0 if keep_freed_memory() else 3)"
    expected = 0 if platform.libc_ver()[0] == "glibc" else 3
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == expected


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert memory.keep_freed_memory() is False
