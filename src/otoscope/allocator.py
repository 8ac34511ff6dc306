"""Settings of the C allocator, for faster networks on a CPU and a server whose memory does not grow."""

from __future__ import annotations

import contextlib
import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h of the GNU C library


def keep_freed_memory() -> bool:
    """Make the GNU allocator keep the large blocks that a network allocates and frees again and again.

    By default the allocator returns each block to the system, which must then clear its pages: half the time of a
    training step of a small convolutional network, and 12 % of an explanation. The command line calls this
    function once, before a verb runs, and so does each process of a pool; importing otoscope does not. The process
    then holds its peak memory.

    Returns:
        Whether the allocator accepted the settings; False on systems with another C library.
    """
    # Blocks from mmap go back to the system as soon as they are freed, so there are none; the heap shrinks only if
    # 2 GiB at its end are free.
    return _set(_M_MMAP_MAX, 0) and _set(_M_TRIM_THRESHOLD, 2**31 - 1)


def share_freed_memory() -> bool:
    """Make all threads of the process use the same arena of the GNU allocator, that of the first thread.

    By default each thread takes memory from an arena of its own, which consists of pieces of 64 MB. What one arena
    has freed, no other can use, and whether a network that explains in a thread fits into the pieces depends on
    what happens to lie in them: the memory of a server rises and falls by such pieces. The app calls this function
    before its threads start.

    Returns:
        Whether the allocator accepted the setting; False on systems with another C library.
    """
    return _set(_M_ARENA_MAX, 1)


def _set(name: int, value: int) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL("libc.so.6").mallopt(name, value))
    return False
