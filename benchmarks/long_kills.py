"""Kill -9 of the explanation of a long recording, after which the result must be that of a run without kills."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from otoscope.errors import OtoscopeError

_MOST_RUNS = 4
"""Runs for each kill that is asked for; some runs end before they are killed."""


def kill_again_and_again(
    recording: Path, folder: Path, options: Sequence[str], kills: int, seed: int
) -> dict[str, Any]:
    """Kill ``otoscope explain`` at random moments, and let the last run finish.

    Args:
        recording: Long recording.
        folder: Folder of the results.
        options: Further options of the command.
        kills: Number of kills.
        seed: Seed of their moments.

    Returns:
        Number of ``kills``, of ``runs_that_ended`` before their kill, whether the results are ``equal`` to those of
        a run without kills, the names of the files that ``differ``, and whether hidden files ``remain``.
    """
    whole, killed = folder / "whole", folder / "killed"
    duration_s = _run(recording, whole, options)
    expected, rng = contents(whole), random.Random(seed)
    counts = {"kills": 0, "runs_that_ended": 0}
    for _ in range(_MOST_RUNS * kills):
        if counts["kills"] == kills:
            break
        if _killed(recording, killed, options, rng.uniform(0.2, 0.95) * duration_s):
            counts["kills"] += 1
        else:
            counts["runs_that_ended"] += 1
            shutil.rmtree(killed)
    _run(recording, killed, options)
    result = contents(killed)
    names = sorted(name for name in expected.keys() | result.keys() if expected.get(name) != result.get(name))
    remaining = [path for path in folder.rglob(".*") if path.name != ".gitignore"]
    return {**counts, "equal": not names, "differ": names, "remain": bool(remaining)}


def contents(folder: Path) -> dict[str, str]:
    """Return a hash of each file of a result by name; arrays by their values, without the times of archives."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == "manifest.jsonl":
            continue
        digest = hashlib.sha256()
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                for name in sorted(arrays.files):
                    digest.update(name.encode() + arrays[name].tobytes())
        else:
            # The folder of the results is named in some files.
            digest.update(path.read_bytes().replace(str(folder).encode(), b""))
        hashes[str(path.relative_to(folder))] = digest.hexdigest()
    return hashes


def _command(recording: Path, folder: Path, options: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "otoscope", "explain", str(recording), "--out", str(folder), *options]


def _run(recording: Path, folder: Path, options: Sequence[str]) -> float:
    begin = time.perf_counter()
    finished = subprocess.run(_command(recording, folder, options), capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise OtoscopeError(f"{recording}: could not be explained ({finished.stderr.strip()})")
    return time.perf_counter() - begin


def _killed(recording: Path, folder: Path, options: Sequence[str], after_s: float) -> bool:
    """Start a run and kill it; return whether it was still running."""
    command = _command(recording, folder, options)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            return True
        return False
