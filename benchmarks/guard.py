"""Compare the speed of two commits on the five jobs that people wait for: ``make bench-guard BASE=main~3``.

    python benchmarks/guard.py --base main~3 [--head HEAD] [--jobs explain_cold piq_step] [--pairs 5]

Each commit is checked out into a temporary folder, and each job runs in a fresh process that imports the package
from there; the jobs themselves are those of this checkout. The commits take turns, every second pair in the
opposite order. A ratio below 1 means that the head is faster. Elapsed time depends on other processes, processor
time less so.

| Job | Content |
|---|---|
| `explain_cold` | `otoscope explain` of a sample recording, from shell to exit |
| `explain_warm` | the four sample recordings five times, in one process |
| `piq_step` | five training steps of PIQ |
| `evaluate` | two methods on four clips |
| `evaluate_table` | six methods on four clips in three conditions; takes long, so only if it is named |
| `long_recording` | predictions of five minutes, and explanations of the most confident windows |
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_COLD = "explain_cold"
_DEFAULT_JOBS = (_COLD, "explain_warm", "piq_step", "evaluate", "long_recording")
_JOBS = (*_DEFAULT_JOBS, "evaluate_table")
_CLOCKS = ("seconds", "processor_seconds")
Times = dict[str, float]


def compare(folders: Mapping[str, Path], jobs: Sequence[str], pairs: int, method: str) -> dict[str, Any]:
    """Return times and ratios of each job.

    Args:
        folders: Checkouts of ``base`` and ``head``.
        jobs: Names of the jobs.
        pairs: Number of runs of each job with each commit, after one that does not count.
        method: Method of explanation of the jobs that explain.

    Returns:
        For each job the times of both commits, the median ratio of the pairs, and their range.
    """
    results: dict[str, Any] = {}
    for job in jobs:
        times: dict[str, list[Times]] = {side: [] for side in folders}
        for turn in range(pairs + 1):
            for side in list(folders) if turn % 2 == 0 else reversed(list(folders)):
                measured = run_job(job, folders[side], method)
                if turn:  # the first one compiles the modules of the checkout
                    times[side].append(measured)
        of_job = ratios(times)
        results[job] = {**times, **of_job}
        print(f"guard: {job}: {of_job['ratio_of_processor_seconds']['median']}", file=sys.stderr)
    return results


def ratios(times: Mapping[str, Sequence[Times]]) -> dict[str, dict[str, float]]:
    """Return the ratios of head to base: the median of the pairs, the least and the largest.

    Example:
        >>> times = {"base": [{"seconds": 2.0, "processor_seconds": 4.0}],
        ...          "head": [{"seconds": 1.0, "processor_seconds": 4.0}]}
        >>> ratios(times)["ratio_of_seconds"]["median"], ratios(times)["ratio_of_processor_seconds"]["median"]
        (0.5, 1.0)
    """
    summary = {}
    for clock in _CLOCKS:
        of_pairs = [
            after[clock] / before[clock] for before, after in zip(times["base"], times["head"], strict=True)
        ]
        values = {"median": statistics.median(of_pairs), "least": min(of_pairs), "largest": max(of_pairs)}
        summary[f"ratio_of_{clock}"] = {name: round(value, 3) for name, value in values.items()}
    return summary


def run_job(job: str, folder: Path, method: str) -> Times:
    """Run a job with the package of a checkout, and return its times.

    Args:
        job: Name of the job.
        folder: Checkout.
        method: Method of explanation.
    """
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    with tempfile.TemporaryDirectory() as scratch:
        if job == _COLD:
            sample = folder / "src/otoscope/models/samples/rooster.ogg"
            arguments = ["-m", "otoscope", "explain", str(sample), "--method", method, "-o", scratch]
        else:
            arguments = [str(_ROOT / "benchmarks/guard_jobs.py"), job, "--method", method]
        wall, processor = time.perf_counter(), _processor_seconds()
        finished = subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=scratch, capture_output=True, text=True, check=False
        )
        seconds = {"seconds": time.perf_counter() - wall, "processor_seconds": _processor_seconds() - processor}
    if finished.returncode:
        raise SystemExit(f"guard: {job} failed with the package of {folder}:\n{finished.stderr[-2000:]}")
    if job != _COLD:
        printed = json.loads(finished.stdout.splitlines()[-1])
        if Path(printed["package"]) != folder / "src/otoscope":
            raise SystemExit(f"guard: {job} imported {printed['package']}, not the package of {folder}")
        seconds = {clock: printed[clock] for clock in _CLOCKS}
    return {clock: round(value, 4) for clock, value in seconds.items()}


def _processor_seconds() -> float:
    """Return the processor time of all processes that have been waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def git(*arguments: str) -> str:
    """Run a command of git in this checkout, and return what it prints."""
    return subprocess.run(
        ["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    """Check out both commits, compare them, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="HEAD~1", help="Commit to compare with.")
    parser.add_argument("--head", default="HEAD", help="Commit that is judged; uncommitted changes do not count.")
    parser.add_argument("--jobs", nargs="+", choices=_JOBS, default=list(_DEFAULT_JOBS))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--method", default="integrated_gradients", help="Method of the jobs that explain.")
    parser.add_argument("--out", type=Path, help="File of the JSON.")
    options = parser.parse_args()
    commits = {side: git("rev-parse", "--short", getattr(options, side)) for side in ("base", "head")}
    with tempfile.TemporaryDirectory() as name:
        folders = {side: Path(name).resolve() / side for side in commits}
        try:
            for side, commit in commits.items():
                git("worktree", "add", "--detach", str(folders[side]), commit)
            results = compare(folders, options.jobs, options.pairs, options.method)
        finally:
            for folder in folders.values():
                if folder.exists():
                    git("worktree", "remove", "--force", str(folder))
    conditions = {
        **commits,
        "pairs": options.pairs,
        "method": options.method,
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps({"conditions": conditions, "jobs": results}, indent=1)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
