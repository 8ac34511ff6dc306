"""Settings of the threads of PyTorch for machines that other processes use too."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

_SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""Variables of OpenMP, and of the OpenMP of LLVM and Intel, that let waiting threads sleep at once."""
_WAITING_BRIEFLY = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
"""Variables that let them sleep after some microseconds.

To wake a thread takes longer than most parts of a small network: an explanation in a new process took 1.9 s more
than importing PyTorch where threads slept at once, and 1.2 s like this. With two other processes on one of two
cores it was the other way round, 1.6 and 2.3 s, and 8.9 s with ten times as many turns.
"""
_WAITING_OF_USER = (*_SLEEPING, "GOMP_SPINCOUNT")
_COUNTS_OF_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_CGROUPS = Path("/sys/fs/cgroup")
_CGROUP_OF_PROCESS = Path("/proc/self/cgroup")


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let the threads of this process sleep while they wait long, and use no more of them than it has cores.

    By default a thread that waits for the others keeps its core busy. On a machine with other processes the others
    are not running at that moment because of it, so the time of a verb multiplies, and its processor time too. A
    container with a share of the cores has the same problem with more threads than its share. If other processes
    have kept all cores busy for the last minute, threads sleep at once.

    Must be called before PyTorch is imported, which reads the variables once; afterwards it changes nothing.
    Variables that the user has set stay.

    Args:
        environment: Environment variables to complete.
    """
    if "torch" in sys.modules:
        return
    if not any(name in environment for name in _WAITING_OF_USER):
        environment.update(_SLEEPING if _is_busy() else _WAITING_BRIEFLY)
    # Without a limit by time OpenMP counts the cores itself, those that the process may run on.
    quota = core_quota()
    if quota is not None and not any(name in environment for name in _COUNTS_OF_USER):
        environment["OMP_NUM_THREADS"] = str(usable_cores())


def _is_busy() -> bool:
    """Return whether about as many processes as there are cores have run in the last minute."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] >= usable_cores()


def usable_cores() -> int:
    """Return the number of cores that this process may use, by its affinity and by the limit of a container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = core_quota()
    return cores if quota is None else min(cores, max(1, math.ceil(quota)))


def core_quota(cgroups: Path = _CGROUPS, of_process: Path = _CGROUP_OF_PROCESS) -> float | None:
    """Return the number of cores whose time a container grants to this process; None without a limit.

    Args:
        cgroups: Folder in which the kernel shows control groups.
        of_process: File that names the control group of this process.
    """
    group = Path()
    with contextlib.suppress(OSError):
        # The line `0::/path` is that of the second version, which has one hierarchy for everything.
        for line in of_process.read_text().splitlines():
            if line.startswith("0::/"):
                group = Path(line.removeprefix("0::/"))
    # A limit of any group above holds too.
    quotas = [_quota(cgroups / place) for place in (group, *group.parents)]
    return min((quota for quota in [*quotas, _first_version(cgroups / "cpu")] if quota is not None), default=None)


def _quota(group: Path) -> float | None:
    """Return the limit of a group: ``cpu.max`` holds microseconds per period, or ``max``."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period)
    return None


def _first_version(group: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        quota = int((group / "cpu.cfs_quota_us").read_text())
        return quota / int((group / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    return None
