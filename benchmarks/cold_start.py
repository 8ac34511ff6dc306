"""Compare the cold start of ``otoscope explain`` with PyTorch alone: ``python -m benchmarks.cold_start``.

The command explains a sample recording with the bundled model and its default method. PyTorch alone is a process
that imports it and runs one convolution over a spectrogram of the same size. Both take turns in fresh processes,
every second pair in the opposite order. The times end at the first printed text, which is the answer that people
wait for, and again at the end of the process: pictures and the end of Python come between the two. Processor time
depends less on other processes than elapsed time.
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
from datetime import UTC, datetime
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_SAMPLE = _ROOT / "src/otoscope/models/samples/rooster.ogg"
_BARE = """
import torch
with torch.no_grad():
    torch.nn.Conv2d(1, 16, 3)(torch.rand(1, 1, 513, 431))
print("done", flush=True)
"""
_CLOCKS = ("seconds", "processor_seconds")
Times = dict[str, float]


def run_once(arguments: list[str]) -> Times:
    """Run Python with arguments; return the times up to its first printed text, and up to its end.

    Raises:
        SystemExit: The process fails.
    """
    environment = os.environ | {"PYTHONPATH": str(_ROOT / "src")}
    start, before = time.perf_counter(), _of_children()
    with subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        answered, processor = time.perf_counter() - start, _of_process(process.pid)
        process.stdout.read()
    if process.returncode:
        raise SystemExit(f"cold_start: {' '.join(arguments)} ended with exit code {process.returncode}")
    times = {
        "seconds": answered,
        "processor_seconds": processor,
        "seconds_to_end": time.perf_counter() - start,
        "processor_seconds_to_end": _of_children() - before,
    }
    return {name: round(value, 3) for name, value in times.items()}


def _of_process(pid: int) -> float:
    """Return the processor time of a running process."""
    # Behind the name of the program, which may hold spaces: user and system time are the 12th and 13th field.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(pairs: int, options: list[str]) -> dict[str, object]:
    """Return the times of both sides, and the medians of their differences.

    Args:
        pairs: Number of pairs, after one that does not count.
        options: Further options of the command.
    """
    times: dict[str, list[Times]] = {"bare": [], "command": []}
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "bare": ["-c", _BARE],
            "command": ["-m", "otoscope", "explain", str(_SAMPLE), "-o", folder, *options],
        }
        for turn in range(pairs + 1):
            for side in list(commands) if turn % 2 == 0 else reversed(list(commands)):
                measured = run_once(commands[side])
                if turn:  # the first one compiles the modules
                    times[side].append(measured)
    pairs_of_times = list(zip(times["bare"], times["command"], strict=True))
    return times | {
        f"{clock}_more_than_bare": round(
            statistics.median(after[clock] - bare[clock] for bare, after in pairs_of_times), 3
        )
        for clock in _CLOCKS
    }


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="Further options of the command.")
    parser.add_argument("--out", type=Path, help="File of the JSON.")
    options = parser.parse_args()
    content = measure(options.pairs, options.options) | {
        "conditions": {
            "pairs": options.pairs,
            "options": options.options,
            "cores": os.cpu_count(),
            "load_average": [round(load, 2) for load in os.getloadavg()],
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    }
    text = json.dumps(content, indent=1)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
