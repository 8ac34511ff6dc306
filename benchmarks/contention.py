"""Time of the command line beside other busy processes, in proportion to its time without them.

    python benchmarks/contention.py --repeats 3 --out benchmarks/results/contention.json

`explain` of sample recordings and a short training run in turns alone and beside processes that keep a core busy.
The variables that set threads are removed from the environment, so that the defaults of the command line hold. Load
that others put on the machine is in the output: the load average, and the share of the cores that was busy before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_THREAD_VARIABLES = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_")
_BUSY = "while True: pass"
_STEPS = 12
LIBRARY_DEFAULTS = {"GOMP_SPINCOUNT": "300000", "OMP_NUM_THREADS": str(os.cpu_count())}
"""Variables with the effect that OpenMP has without any: the number of spins of libgomp where no policy is set."""


def measure(repeats: int, busy: int, library_defaults: bool) -> dict[str, Any]:
    """Run the commands in turns alone and beside busy processes.

    Args:
        repeats: Number of pairs of runs of each command.
        busy: Number of busy processes.
        library_defaults: Whether to undo the settings of the command line.

    Returns:
        Conditions, and for each command seconds, processor seconds and the quotients of the pairs.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_THREAD_VARIABLES)}
    environment |= {"PYTHONPATH": str(_ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    environment |= LIBRARY_DEFAULTS if library_defaults else {}
    conditions = _conditions() | {"busy_processes": busy, "repeats": repeats, "library_defaults": library_defaults}
    runs: dict[str, dict[str, list[tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder))
        for repeat in range(repeats):
            for name, command in commands.items():
                # Every second pair in the opposite order, so that a drift of the machine affects both alike.
                for state in ("alone", "beside")[:: 1 if repeat % 2 == 0 else -1]:
                    with _busy_processes(busy if state == "beside" else 0):
                        sample = _timed(command, environment)
                    runs.setdefault(name, {}).setdefault(state, []).append(sample)
                    print(f"contention: {name} {state}: {sample[0]:.1f} s, CPU {sample[1]:.1f} s", file=sys.stderr)
    conditions["load_average_at_end"] = [round(load, 2) for load in os.getloadavg()]
    return {"conditions": conditions, **{name: _summary(states) for name, states in runs.items()}}


def _commands(folder: Path) -> dict[str, list[str]]:
    samples = sorted((_ROOT / "src" / "otoscope" / "models" / "samples").glob("*.ogg"))[:2]
    command = [sys.executable, "-W", "ignore", "-m", "otoscope"]
    training = ["train", "--model=otoscope.training.ClassifierTraining"]
    training += ["--model.classifier=otoscope.Conv2dClassifier", "--model.classifier.width=24"]
    training += ["--data=otoscope.data.Synthetic", "--data.clips_per_class=24", "--data.duration_s=2"]
    training += ["--trainer.max_epochs=1", f"--trainer.limit_train_batches={_STEPS}", "--trainer.logger=false"]
    training += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    code = (
        "import shutil, sys; from otoscope.cli.main import main; folder = sys.argv.pop(1); "
        "shutil.rmtree(folder, ignore_errors=True); sys.exit(main([*sys.argv[1:], f'--output_folder={folder}']))"
    )
    return {
        "explain": [*command, "explain", *map(str, samples), f"--out={folder / 'explained'}"],
        # A new folder for each run, since a finished training would only be tested again.
        "train": [sys.executable, "-W", "ignore", "-c", code, str(folder / "trained"), *training],
    }


@contextlib.contextmanager
def _busy_processes(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return elapsed seconds and processor seconds of a command."""
    start = time.monotonic()
    # Not a pipe, which nobody would read meanwhile.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        # Waited for by itself: the times of all children together would contain the busy processes.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        elapsed_s = time.monotonic() - start
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"contention: {' '.join(command[:6])} failed: {output.read().decode()[-500:]}")
    return elapsed_s, usage.ru_utime + usage.ru_stime


def _summary(states: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    seconds = {state: [round(sample[0], 2) for sample in samples] for state, samples in states.items()}
    processor = {state: [round(sample[1], 2) for sample in samples] for state, samples in states.items()}
    # within each pair, because runs that follow each other share the state of the machine
    quotients = [beside / alone for alone, beside in zip(seconds["alone"], seconds["beside"], strict=True)]
    return {
        "seconds": seconds,
        "processor_seconds": processor,
        "times_as_long": {"median": round(statistics.median(quotients), 2), "max": round(max(quotients), 2)},
    }


def _conditions() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = [round(value, 2) for value in os.getloadavg()]
    return {
        "cores": cores,
        "load_average": load,
        "busy_share_before": _busy_share(),
        "platform": platform.platform(),
    }


def _busy_share(seconds: float = 2.0) -> float | None:
    """Return the share of the time of all cores that processes used during a short wait; None if unknown."""

    def times() -> tuple[int, int]:
        values = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        return sum(values), values[3] + values[4]  # idle, and waiting for a disk

    with contextlib.suppress(OSError, ValueError, IndexError):
        total, idle = times()
        time.sleep(seconds)
        later, later_idle = times()
        return round(1 - (later_idle - idle) / (later - total), 2)
    return None


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3, help="Number of pairs of runs.")
    parser.add_argument("--busy", type=int, default=2, help="Number of busy processes.")
    parser.add_argument("--library_defaults", action="store_true", help="Undo the settings, for comparison.")
    parser.add_argument("--out", type=Path, help="JSON file to write in addition to the standard output.")
    options = parser.parse_args()
    text = json.dumps(measure(options.repeats, options.busy, options.library_defaults), indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
