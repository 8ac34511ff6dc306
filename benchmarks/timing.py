"""Time and floating-point operations of the sides of a benchmark."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from benchmarks.command import REFERENCE, progress
from torch.utils.flop_counter import FlopCounterMode

_MATRICES = (2048, 3072, 4096)


class Sample(NamedTuple):
    """One timed run.

    Attributes:
        seconds: Elapsed time.
        core_seconds: Processor time, summed over all cores.
    """

    seconds: float
    core_seconds: float


def time_in_turns(steps: Mapping[str, Callable[[int], object]], repeats: int) -> dict[str, list[Sample]]:
    """Time every side once per repeat, and return the samples of each side.

    Args:
        steps: Function to time for each side; receives the number of the repeat.
        repeats: Number of runs of each side.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in steps}
    for repeat in range(repeats):
        # Every second repeat runs in the opposite order, so that a drift of the machine affects all sides alike.
        for name in list(steps) if repeat % 2 == 0 else reversed(list(steps)):
            gc.collect()
            start, core_start = time.perf_counter(), time.process_time()
            steps[name](repeat)
            samples[name].append(Sample(time.perf_counter() - start, time.process_time() - core_start))
            progress(f"repeat {repeat + 1}/{repeats}, {name}: {samples[name][-1].seconds:.2f} s")
    return samples


def count_flops(step: Callable[[], object]) -> int:
    """Return the number of floating-point operations in the matrix products and convolutions that a step runs."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def matmul_peak() -> float:
    """Return the highest rate in GFLOP/s that this process reaches in a square float32 matrix product."""
    best = 0.0
    for size in _MATRICES:
        first, second = torch.rand(size, size), torch.rand(size, size)
        for _ in range(4):  # the first run is slower than the others and never the best
            start = time.perf_counter()
            first @ second
            best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best


def summarize(
    samples: Mapping[str, list[Sample]],
    flops: Mapping[str, int],
    memory: Mapping[str, Any],
    clips_per_step: int,
    peak_gflops: float,
) -> dict[str, Any]:
    """Return the reported numbers of each side.

    Args:
        samples: Samples of each side, in the order of the repeats.
        flops: Floating-point operations of one step, by side.
        memory: Result of `memory_of`, by side.
        clips_per_step: Number of clips in one step.
        peak_gflops: Result of `matmul_peak`.
    """
    result = {}
    for name, runs in samples.items():
        seconds = [run.seconds / clips_per_step for run in runs]
        # Quotients within each repeat, because runs that follow each other share the state of the machine.
        faster = [theirs.seconds / ours.seconds for theirs, ours in zip(samples[REFERENCE], runs, strict=True)]
        gflop = flops[name] / clips_per_step / 1e9
        rate = gflop / statistics.median(seconds)
        busy = statistics.median(run.core_seconds / run.seconds for run in runs)
        result[name] = {
            "seconds_per_clip": {"median": rounded(statistics.median(seconds)), "samples": rounded(seconds)},
            "times_as_fast_as_reference": {
                "median": rounded(statistics.median(faster)),
                "min": rounded(min(faster)),
                "max": rounded(max(faster)),
            },
            "peak_memory_mb": memory[name],
            "gflop_per_clip": rounded(gflop),
            "gflop_per_second": rounded(rate),
            "share_of_matmul_peak": rounded(rate / peak_gflops),
            "cores_busy": rounded(busy),
        }
    return result


def rounded(value: Any) -> Any:
    """Return a number, or each number of a list, with four significant digits."""
    return [rounded(item) for item in value] if isinstance(value, list) else float(f"{value:.4g}")
