"""Throughput and memory of `otoscope explain` on many short files, with one process and with several.

    python benchmarks/many_files.py --out benchmarks/results/many_files.json
    python benchmarks/many_files.py --files 40 --broken 2        # only a test that it runs
    python benchmarks/many_files.py --backend ray --shards       # actors of a Ray cluster of this machine

Files are clips of ESC-10, cut to a few seconds, in turns; some are broken and must be listed. The real command line
is measured, in a new process for each number of workers, and the memory of its processes and of theirs is sampled.
The results of all runs are compared; with `--backend ray` also with those of one process without Ray.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from otoscope.recordings import read_manifest


def main() -> None:
    """Run the benchmark."""
    options = _parser().parse_args()
    result: dict[str, Any] = {"conditions": _conditions(options), "runs": {}}
    with tempfile.TemporaryDirectory() as folder:
        hours = _make_files(options, Path(folder) / "in")
        runs = [(options.backend, workers) for workers in options.workers]
        if options.backend != "local":
            runs.append(("local", 1))
        outputs = []
        for backend, workers in runs:
            name = str(workers) if backend == options.backend else backend
            print(f"many_files: {backend}, {workers} workers", file=sys.stderr, flush=True)
            outputs.append(Path(folder) / f"out-{name}")
            result["runs"][name] = _run(options, outputs[-1], backend, workers, hours)
        contents = [_contents(output) for output in outputs]
        result["files_compared"] = len(contents[0])
        result["equal_results"] = all(content == contents[0] for content in contents)
    first, *others = [result["runs"][str(workers)] for workers in options.workers]
    result["speed_up"] = [round(first["wall_s"] / other["wall_s"], 3) for other in others]
    result["conditions"]["load_average_at_end"] = [round(load, 2) for load in os.getloadavg()]
    text = json.dumps(result, indent=2)
    print(text)
    if options.out is not None:
        Path(options.out).write_text(text + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    data_folder = os.environ.get("OTOSCOPE_ESC10") or Path(__file__).parents[2] / "shared" / "esc10"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_folder", default=data_folder, help="ESC-50, or a part of it in the same layout.")
    parser.add_argument("--files", type=int, default=1000, help="Number of files.")
    parser.add_argument("--broken", type=int, default=50, help="Number of those that are no sound.")
    parser.add_argument("--seconds", type=float, default=2.0, help="Length of each file.")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="Numbers of processes.")
    parser.add_argument("--backend", choices=["local", "ray"], default="local", help="Processes, or Ray's actors.")
    parser.add_argument("--method", default="saliency", help="Method of explanation.")
    parser.add_argument("--batch_size", type=int, default=4, help="Recordings that are explained at once.")
    parser.add_argument("--threads", type=int, default=1, help="Threads of PyTorch where one process runs.")
    parser.add_argument("--shards", action="store_true", help="Write shards instead of folders.")
    parser.add_argument("--out", default=None, help="JSON file to write in addition to the standard output.")
    return parser


def _make_files(options: argparse.Namespace, folder: Path) -> float:
    """Write the files and return the hours of sound in them."""
    folder.mkdir()
    sources = sorted(path for path in (Path(options.data_folder) / "audio").iterdir() if path.is_file())
    every = options.files // options.broken if options.broken else options.files + 1
    seconds = 0.0
    for index in range(options.files):
        path = folder / f"{index:05d}.wav"
        if index % every == every - 1 and index // every < options.broken:
            path.write_bytes(b"no sound")
            continue
        samples, rate_hz = soundfile.read(sources[index % len(sources)])
        samples = samples[: int(options.seconds * rate_hz)]
        soundfile.write(path, samples, rate_hz)
        seconds += len(samples) / rate_hz
    return seconds / 3600


def _run(options: argparse.Namespace, out: Path, backend: str, workers: int, hours: float) -> dict[str, Any]:
    """Run the command once, and return its time, its memory and the counts of its manifest."""
    command = [sys.executable, "-m", "otoscope", "explain", str(out.parent / "in"), "--out", str(out)]
    command += ["--method", options.method, "--batch_size", str(options.batch_size), "--workers", str(workers)]
    command += ["--shards"] if options.shards else []
    command += ["--backend", backend]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    # Ray starts its workers with a low priority, which other processes would make a low throughput.
    environment.setdefault("RAY_worker_niceness", "0")
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    peaks: dict[str, dict[int, float]] = {"resident": {}, "proportional": {}}
    times: list[tuple[float, int]] = []
    sampler = threading.Thread(target=_sample, args=(process, peaks, out / "manifest.jsonl", times))
    sampler.start()
    _, messages = process.communicate()
    wall_s = time.perf_counter() - start
    sampler.join()
    if process.returncode not in (0, 1):
        raise SystemExit(f"many_files: the command failed: {messages}")
    lines = read_manifest(out / "manifest.jsonl")
    statuses = [line["status"] for line in lines]
    return {
        "wall_s": round(wall_s, 2),
        "files_per_s": round(options.files / wall_s, 3),
        "times_real_time": round(3600 * hours / wall_s, 2),
        "hours_of_audio": round(hours, 4),
        # Without the start of Python, of the model and, with Ray, of the cluster, which take seconds.
        "files_per_s_after_the_first": _rate(times),
        "explained": statuses.count("explained"),
        "failed": statuses.count("failed"),
        "peak_resident_mb_by_process": sorted(peaks["resident"].values(), reverse=True),
        # Memory that several processes share counts in equal parts.
        "peak_proportional_mb_by_process": sorted(peaks["proportional"].values(), reverse=True),
    }


def _contents(folder: Path) -> dict[str, Any]:
    """Return what the files of results hold: sounds and arrays without the times at which they were written."""
    contents: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                contents[name] = {key: arrays[key].tobytes() for key in arrays.files}
        elif path.suffix == ".wav":
            contents[name] = soundfile.read(path, dtype="int32")[0].tobytes()
        elif path.is_file() and not name.startswith("manifest"):
            contents[name] = path.read_bytes()
    return contents


def _rate(times: list[tuple[float, int]]) -> float | None:
    """Return the files per second between the first result and the last."""
    finished = [(time_s, lines) for time_s, lines in times if lines]
    if not finished:
        return None
    (begin_s, first), (_, last) = finished[0], finished[-1]
    end_s = next(time_s for time_s, lines in finished if lines == last)
    return round((last - first) / (end_s - begin_s), 3) if end_s > begin_s else None


def _sample(
    process: subprocess.Popen[str],
    peaks: dict[str, dict[int, float]],
    manifest: Path,
    times: list[tuple[float, int]],
) -> None:
    """Record the peak memory of a process and of all below it, and its results, until it ends (Linux)."""
    names = {"resident": "Rss:", "proportional": "Pss:"}
    while process.poll() is None:
        times.append((time.perf_counter(), manifest.read_bytes().count(b"\n") if manifest.exists() else 0))
        for number in [process.pid, *_children(process.pid)]:
            try:
                rows = Path(f"/proc/{number}/smaps_rollup").read_text(encoding="ascii").splitlines()
            except OSError:
                continue
            for kind, name in names.items():
                megabytes = next((int(row.split()[1]) / 1024 for row in rows if row.startswith(name)), 0.0)
                peaks[kind][number] = round(max(peaks[kind].get(number, 0.0), megabytes), 1)
        time.sleep(0.5)


def _children(number: int) -> list[int]:
    try:
        text = Path(f"/proc/{number}/task/{number}/children").read_text(encoding="ascii")
    except OSError:
        return []
    children = [int(child) for child in text.split()]
    return children + [number for child in children for number in _children(child)]


def _conditions(options: argparse.Namespace) -> dict[str, Any]:
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        **{name: value for name, value in vars(options).items() if name not in ("out", "data_folder")},
        "cores": os.cpu_count(),
        "usable_cores": affinity,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "load_average_at_start": [round(load, 2) for load in os.getloadavg()],
    }


if __name__ == "__main__":
    main()
