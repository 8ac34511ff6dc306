"""Measure how a training step grows with batch, length of clips, width and threads, and its memory with the length;
and how an evaluation grows with the clips.

    python benchmarks/scaling.py --out benchmarks/results/scaling.json --figure docs/images/scaling.svg

The step is one of PIQ on a Conv2d with random weights, as `otoscope train` runs it without data and trainer:
spectrogram, frozen classifier, interpreter, loss, backward pass and Adam. All points of a curve are measured in
turns. ``exponent`` is the slope of a line through the curve in logarithms: 1 where time is proportional, below 1
where twice the work takes less than twice the time. It is fitted to the larger half of the points, as fixed costs
dominate the smaller.
"""

from __future__ import annotations

import gc
import json
import math
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jsonargparse
import torch
from benchmarks.machine import commit, cpu_name
from benchmarks.memory import peak_memory
from benchmarks.timing import rounded

from otoscope.allocator import keep_freed_memory
from otoscope.classifiers import Conv2dClassifier
from otoscope.data import Synthetic
from otoscope.evaluation import Conditions, Settings, run_evaluation
from otoscope.interpreters import PIQInterpreter
from otoscope.plots import save_picture

_RATE_HZ = 16_000
_BATCHES = (1, 2, 4, 8, 16, 32)
_LENGTHS_S = (0.3, 1.0, 3.0, 10.0, 30.0, 60.0)
_WIDTHS = (8, 16, 32, 64, 128)
_CLIPS = (2, 4, 8, 16, 32)
_LABELS = {
    "batch": "Clips in a batch (1 s each)",
    "length": "Length of the clip in s (batch of 1)",
    "width": "Channels (batch of 4, 1 s each)",
    "clips": "Clips of 1 s in an evaluation of two methods",
}


@dataclass
class Options:
    """Measure curves of a training step.

    Args:
        width: Channels of classifier and interpreter, except in the curve over widths.
        repeats: Number of timed steps of each point.
        threads: Numbers of threads of the curve over threads; the other curves use one.
        out: JSON file to write in addition to the standard output.
        figure: Picture of the curves to write.
    """

    width: int = 16
    repeats: int = 3
    threads: tuple[int, ...] = (1, 2)
    out: Path | None = None
    figure: Path | None = None


def make_step(width: int, batch: int, length_s: float) -> Callable[[], None]:
    """Return a function that runs a training step on noise.

    Args:
        width: Channels.
        batch: Number of clips.
        length_s: Length of each clip.
    """
    torch.manual_seed(0)
    classifier = Conv2dClassifier([f"class {index}" for index in range(10)], width=width).freeze()
    interpreter = PIQInterpreter(classifier)
    optimizer = torch.optim.Adam(interpreter.parameters(), lr=1e-3)
    waveform = 0.1 * torch.randn(batch, int(length_s * _RATE_HZ))

    def step() -> None:
        with torch.no_grad():
            spectrogram = classifier.hear(waveform, with_phase=False)
            prediction = classifier.predict(spectrogram)
        losses = interpreter.loss(interpreter.decode(spectrogram, prediction), spectrogram, prediction)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def make_evaluation(clips: int, folder: Path) -> Callable[[], None]:
    """Return a function that evaluates two methods on synthetic clips, with curves and without checks.

    Args:
        clips: Number of clips.
        folder: Folder for the results; each run has one of its own in it.
    """
    data = Synthetic(classes=("dog", "siren"), clips_per_class=10 * max(_CLIPS), duration_s=1.0)
    data.prepare_data()
    data.setup("test")
    torch.manual_seed(0)
    classifier = Conv2dClassifier(data.labels, width=16)
    settings = Settings(clips=clips, sanity=False, randomisation=False, stability=False)
    conditions = Conditions(wham=None, white_noise=False, mixture=False, speech=None)
    methods = {"saliency": "saliency", "SmoothGrad": "smoothgrad"}
    runs = count()

    def evaluate() -> None:
        out = folder / f"{clips}-{next(runs)}"
        run_evaluation(classifier, methods, data, out, conditions, settings, progress=False)

    return evaluate


def time_points(
    steps: Mapping[float, Callable[[], None]], repeats: int, threads: bool = False
) -> list[dict[str, Any]]:
    """Time the points of a curve in turns, after one step that does not count.

    Args:
        steps: Step of each point, by its place on the axis.
        repeats: Number of timed steps.
        threads: Whether the places are numbers of threads.

    Returns:
        For each point its place ``x``, and medians of elapsed and processor seconds of a step.
    """
    times: dict[float, list[tuple[float, float]]] = {x: [] for x in steps}
    for repeat in range(repeats + 1):
        for x in list(steps) if repeat % 2 else reversed(list(steps)):
            torch.set_num_threads(int(x) if threads else 1)
            gc.collect()
            wall, processor = time.perf_counter(), time.process_time()
            steps[x]()
            if repeat:
                times[x].append((time.perf_counter() - wall, time.process_time() - processor))
    torch.set_num_threads(1)
    return [
        {
            "x": x,
            "seconds": rounded(statistics.median(wall for wall, _ in runs)),
            "processor_seconds": rounded(statistics.median(processor for _, processor in runs)),
        }
        for x, runs in times.items()
    ]


def memory_of_step(width: int, length_s: float) -> float:
    """Return the megabytes that a training step of one clip adds to this process, after a step on a short clip.

    Args:
        width: Channels.
        length_s: Length of the clip.
    """
    torch.set_num_threads(1)
    make_step(width, 1, 0.1)()  # loads code and libraries
    return peak_memory(make_step(width, 1, length_s), times=1)["step"]


def exponent(points: Sequence[Mapping[str, Any]], value: str) -> float:
    """Return the slope of a straight line through the larger half of a curve, in logarithms.

    Example:
        >>> exponent([{"x": x, "seconds": 3 * x**2} for x in (1, 2, 4, 8)], "seconds")
        2.0
    """
    half = list(points)[len(points) // 2 - 1 :]
    x, y = ([math.log(point[name]) for point in half] for name in ("x", value))
    return float(rounded(statistics.linear_regression(x, y).slope))


def measure(options: Options) -> dict[str, Any]:
    """Return all curves."""
    curves: dict[str, Any] = {}
    axes: dict[str, dict[float, Callable[[], None]]] = {
        "batch": {batch: make_step(options.width, batch, 1.0) for batch in _BATCHES},
        "length": {length: make_step(options.width, 1, length) for length in _LENGTHS_S},
        "width": {width: make_step(width, 4, 1.0) for width in _WIDTHS},
    }
    for name, steps in axes.items():
        points = time_points(steps, options.repeats)
        curves[name] = {"points": points, "exponent": exponent(points, "processor_seconds")}
        print(f"scaling: {name}: {curves[name]['exponent']}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as name:
        evaluations: dict[float, Callable[[], None]] = {
            clips: make_evaluation(clips, Path(name)) for clips in _CLIPS
        }
        points = time_points(evaluations, options.repeats)
    curves["clips"] = {"points": points, "exponent": exponent(points, "processor_seconds")}
    step = make_step(options.width, 8, 1.0)
    curves["threads"] = {"points": time_points(dict.fromkeys(options.threads, step), options.repeats, threads=True)}
    # each in a process of its own, in which no other step has left memory behind
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        sizes = processes.map(memory_of_step, [options.width] * len(_LENGTHS_S), _LENGTHS_S)
        memory = [{"x": x, "megabytes": size} for x, size in zip(_LENGTHS_S, sizes, strict=True)]
    curves["memory"] = {"points": memory, "exponent": exponent(memory, "megabytes")}
    return curves


def draw(curves: Mapping[str, Any], path: Path) -> None:
    """Draw the curves beside a straight line of slope 1 through their largest point."""
    from matplotlib.figure import Figure

    panels = [(name, "processor_seconds", label) for name, label in _LABELS.items()]
    panels.append(("memory", "megabytes", _LABELS["length"]))
    figure = Figure(figsize=(13, 6), layout="constrained")
    places = figure.subplots(2, 3).flat
    places[5].remove()
    for axes, (name, value, label) in zip(places[:5], panels, strict=True):
        points = [point for point in curves[name]["points"] if point[value] > 0]
        x, y = [point["x"] for point in points], [point[value] for point in points]
        axes.loglog(x, y, "o-", label="measured")
        axes.loglog(x, [y[-1] * place / x[-1] for place in x], ":", color="gray", label="proportional")
        axes.set_xlabel(label)
        time_of = "an evaluation" if name == "clips" else "a step"
        axes.set_ylabel("Memory of a step in MB" if value == "megabytes" else f"Processor time of {time_of} in s")
        axes.set_xticks(x, [f"{place:g}" for place in x])
        axes.minorticks_off()
        axes.legend(frameon=False)
    save_picture(figure, path)


def main() -> int:
    """Run the benchmark."""
    options = jsonargparse.auto_cli(Options, as_positional=False)
    # as on the command line, where freed memory stays in the process
    keep_freed_memory()
    load = rounded(list(os.getloadavg()))
    curves = measure(options)
    used = resource.getrusage(resource.RUSAGE_SELF)
    report = {
        "benchmark": "scaling",
        "conditions": {
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "cores_of_process": len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count(),
            "load_average": load,
            "torch": torch.__version__,
            "width": options.width,
            "repeats": options.repeats,
            "processor_seconds_of_the_run": rounded(used.ru_utime + used.ru_stime),
            "commit": commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "curves": curves,
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    if options.figure is not None:
        draw(curves, options.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
