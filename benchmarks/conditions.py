"""Conditions of a measurement: machine, versions, commit and options."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from benchmarks.clips import SAMPLES
from benchmarks.command import ROOT, Options
from benchmarks.timing import rounded


def conditions(options: Options, **more: object) -> dict[str, Any]:
    """Return everything that the numbers depend on.

    Args:
        options: Options of the run.
        **more: Further entries.
    """
    ignored = ("only", "out", "data_folder")
    return {
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "load_average": rounded(list(os.getloadavg())),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "speechbrain": _version("speechbrain"),
        "quantus": _version("quantus"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "dtype": "float32",
        "device": "cpu",
        **{name: value for name, value in asdict(options).items() if name not in ignored},
        "seconds_per_recording": SAMPLES / 16_000,
        **more,
    }


def _cpu() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the checkout, with ``+`` if files differ from it; None outside a checkout."""
    git = ["git", "--no-optional-locks", "-C", str(ROOT)]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        head, changes = (
            subprocess.run([*git, *arguments], capture_output=True, text=True, check=True).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
        return head + ("+" if changes else "")
    return None
