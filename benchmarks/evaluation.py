"""Compare the time of an evaluation with that of an earlier commit: ``python -m benchmarks.evaluation``.

    python -m benchmarks.evaluation --base f2a62bd --data_folder ESC-50 --weights model.safetensors --clips 8

Thirteen methods without training explain clips of ESC-50 in three conditions (clean, white noise, mixture), with
curves and without checks. Each commit runs in a fresh process, with the threads of PyTorch's default, or with one
thread where ``--base_threads 1`` says so; commits that have workers use two. The results are compared as well:
numbers are those of the table, and the difference is relative to the larger of the number and 1. Scores in percent
count as shares. Methods that descend in steps are listed apart, as they enlarge rounding.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.guard import git
from benchmarks.machine import ROOT, cpu_name

_DESCENTS = ("refined", "optimised_mask")
_IN_PERCENT = ("AI", "AD", "AG")


def run(folder: Path, arguments: list[str], threads: int | None) -> dict[str, float]:
    """Evaluate with the package of a checkout, and return the times.

    Args:
        folder: Checkout.
        arguments: Options of the job.
        threads: Number of threads (default: PyTorch's).
    """
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    job = [sys.executable, str(ROOT / "benchmarks/evaluation_job.py"), *arguments]
    finished = subprocess.run(job, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"evaluation: the package of {folder} failed:\n{finished.stderr[-2000:]}")
    printed = json.loads(finished.stdout.splitlines()[-1])
    if Path(printed.pop("package")) != folder / "src/otoscope":
        raise SystemExit(f"evaluation: another package than that of {folder} was imported")
    return {clock: round(value, 2) for clock, value in printed.items()}


def means(results: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield each mean of a table: what it is, the method, and the value as a share where it is in percent."""
    for condition, masks in results["scores"].items():
        for mask, domains in masks.items():
            for domain, methods in domains.items():
                for method, scores in methods.items():
                    for score, estimate in scores.items():
                        percent = score.partition("_")[0] in _IN_PERCENT
                        value = estimate["mean"] / (100 if percent else 1)
                        yield f"{condition}, {mask}, {domain}, {score}", method, value


def differences(base: Path, head: Path) -> dict[str, Any]:
    """Return the largest differences of two tables."""
    former, present = (
        {
            (place, method): value
            for place, method, value in means(json.loads((folder / "results.json").read_text()))
        }
        for folder in (base, head)
    )
    largest: dict[str, tuple[float, str]] = {"all other methods": (0.0, ""), **dict.fromkeys(_DESCENTS, (0.0, ""))}
    shared = [key for key in former if key in present and math.isfinite(former[key])]
    for place, method in shared:
        before, after = former[place, method], present[place, method]
        difference = abs(after - before) / max(1.0, abs(before))
        group = next((name for name in _DESCENTS if name in method), "all other methods")
        largest[group] = max(largest[group], (difference, f"{place}, {method}"))
    return {
        "numbers": len(shared),
        "largest": {
            group: {"difference": float(f"{value:.2g}"), "of": of} for group, (value, of) in largest.items()
        },
    }


def main() -> None:
    """Check out both commits, compare them, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="f2a62bd")
    parser.add_argument("--head", default="HEAD")
    parser.add_argument("--data_folder", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument(
        "--base_threads", type=int, nargs="+", default=[2, 1], help="Threads of the base, a run each."
    )
    parser.add_argument("--out", type=Path, help="File of the JSON.")
    options = parser.parse_args()
    arguments = ["--data_folder", str(options.data_folder.resolve()), "--clips", str(options.clips)]
    arguments += ["--width", str(options.width)]
    if options.weights is not None:
        arguments += ["--weights", str(options.weights.resolve())]
    commits = {side: git("rev-parse", "--short", getattr(options, side)) for side in ("base", "head")}
    with tempfile.TemporaryDirectory() as name:
        folders = {side: Path(name).resolve() / side for side in commits}
        try:
            for side, commit in commits.items():
                git("worktree", "add", "--detach", str(folders[side]), commit)
            results = {side: Path(name).resolve() / f"results-{side}" for side in commits}
            head = run(folders["head"], [*arguments, "--out", str(results["head"])], None)
            bases = {}
            for threads in options.base_threads:
                out = f"{results['base']}-{threads}"
                bases[f"{threads} threads"] = run(folders["base"], [*arguments, "--out", out], threads)
            equal = differences(Path(f"{results['base']}-{options.base_threads[0]}"), results["head"])
        finally:
            for folder in folders.values():
                if folder.exists():
                    git("worktree", "remove", "--force", str(folder))
    content = {
        "conditions": {
            **commits,
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "clips": options.clips,
            "width": options.width,
            "weights": "random" if options.weights is None else "trained",
            "load_average": [round(load, 2) for load in os.getloadavg()],
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "head": head,
        "base": bases,
        "times_as_fast": {
            threads: {clock: round(times[clock] / head[clock], 2) for clock in head}
            for threads, times in bases.items()
        },
        "results": equal,
    }
    text = json.dumps(content, indent=1)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
