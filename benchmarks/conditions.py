"""Conditions of a measurement: machine, versions, commit and options."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from benchmarks.clips import SAMPLES
from benchmarks.command import Options
from benchmarks.machine import commit, cpu_name
from benchmarks.timing import rounded


def conditions(options: Options, **more: object) -> dict[str, Any]:
    """Return everything that the numbers depend on.

    Args:
        options: Options of the run.
        **more: Further entries.
    """
    ignored = ("only", "out", "data_folder")
    return {
        "cpu": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "load_average": rounded(list(os.getloadavg())),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "speechbrain": _version("speechbrain"),
        "quantus": _version("quantus"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "dtype": "float32",
        "device": "cpu",
        **{name: value for name, value in asdict(options).items() if name not in ignored},
        "seconds_per_recording": SAMPLES / 16_000,
        **more,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
