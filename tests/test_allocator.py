"""The setting of the C allocator."""

import platform
import subprocess
import sys

from otoscope import allocator


def test_the_gnu_allocator_accepts_the_settings():
    code = "from otoscope.allocator import keep_freed_memory; raise SystemExit(0 if keep_freed_memory() else 3)"
    expected = 0 if platform.libc_ver()[0] == "glibc" else 3
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == expected


def test_another_c_library_is_not_touched(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert allocator.keep_freed_memory() is False
