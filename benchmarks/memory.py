"""Peak memory of the sides of a benchmark, each in a fresh process."""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from benchmarks.command import Options, progress

from otoscope.errors import OtoscopeError


def peak_memory(step: Callable[[], object], times: int) -> dict[str, float]:
    """Return the peak memory of this process during a step.

    Args:
        step: Function to run.
        times: Number of runs: the optimiser allocates its state in the first training step, so two show the peak.

    Returns:
        Megabytes: ``before`` the step, the absolute ``peak``, and their difference ``step``.
    """
    gc.collect()
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
    before = _resident_mb("VmRSS")
    for _ in range(times):
        step()
    peak = _resident_mb("VmHWM")
    return {"before": round(before, 1), "peak": round(peak, 1), "step": round(peak - before, 1)}


def memory_of(side: str, options: Options, **changes: object) -> dict[str, float]:
    """Return the peak memory of one side, measured by the same script in a fresh process.

    Args:
        side: Name of the side.
        options: Options of this run.
        **changes: Options that differ in that process.

    Raises:
        OtoscopeError: The process failed; its own message is on the standard error.
    """
    progress(f"peak memory of {side} {' '.join(str(value) for value in changes.values())}")
    values = {**asdict(options), "out": None, **changes, "only": side}
    arguments = [f"--{name}={_argument(value)}" for name, value in values.items() if value is not None]
    command = [sys.executable, sys.argv[0], *arguments]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if finished.returncode != 0:
        raise OtoscopeError(f"measuring the memory of {side} failed: {' '.join(command)}")
    result: dict[str, float] = json.loads(finished.stdout)
    return result


def _resident_mb(field: Literal["VmRSS", "VmHWM"]) -> float:
    """Return the memory of this process; on other systems than Linux its peak so far, for either field."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, because a new process inherits the peak of the process that started it.
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, other systems kilobytes.
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def _argument(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
