"""Run the measurements at full size on a CUDA device: ``make bench-gpu``.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json

For PIQ and L2I on Conv2d (256 channels), and L2I and L-MAC on CNN14, all as published, it times a training step in
float32, in bfloat16 (autocast), and compiled (`torch.compile`), and an explanation of one clip. A step is compared
with the time that its matrix products and convolutions take at the rate of a large matrix product in the same
precision. Clips are noise, as no time depends on their content. Without a CUDA device it ends with exit code 2.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jsonargparse
import torch
from benchmarks.command import MethodOptions
from benchmarks.machine import commit
from benchmarks.models import DecoderName, make_classifier, make_interpreter
from benchmarks.timing import count_flops, rounded

from otoscope.explain import Explainer

_CLIP_SAMPLES = 80_000
_CASES = {
    "piq-conv2d": {"method": "piq", "classifier": "conv2d"},
    "l2i-conv2d": {"method": "l2i", "classifier": "conv2d"},
    "l2i-cnn14": {"method": "l2i", "classifier": "cnn14"},
    "lmac-cnn14": {"method": "lmac", "classifier": "cnn14"},
}
_PRECISIONS = ("float32", "bfloat16", "float32 compiled", "bfloat16 compiled")


@dataclass
class Options:
    """Measure at full size on a CUDA device.

    Args:
        cases: Methods on classifiers to measure.
        batch: Number of clips of 5 s in a training step.
        repeats: Number of timed steps.
        decoder: Decoder of the interpreters.
        out: JSON file to write in addition to the standard output.
    """

    cases: tuple[str, ...] = tuple(_CASES)
    batch: int = 16
    repeats: int = 10
    decoder: DecoderName = "published"
    out: Path | None = None


def time_on_device(step: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a step by the clock of the device, after three steps that do not count."""
    for _ in range(3):
        step()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        step()
        end.record()
        torch.cuda.synchronize()
        times.append(float(begin.elapsed_time(end)) / 1000)
    return statistics.median(times)


def peak_flops(dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a large matrix product on the device."""
    size = 8192
    first, second = (torch.rand(size, size, device="cuda", dtype=dtype) for _ in range(2))
    return 2 * size**3 / time_on_device(lambda: first @ second, 10)


def make_step(sizes: MethodOptions, options: Options, kind: str, is_compiled: bool) -> Callable[[], None]:
    """Return a function that runs a training step on the device.

    Args:
        sizes: Method, classifier and their sizes.
        options: Options of the run.
        kind: ``float32`` or ``bfloat16``.
        is_compiled: Whether classifier and interpreter are compiled.
    """
    classifier = make_classifier(sizes).to("cuda")
    interpreter = make_interpreter(sizes, options.decoder, classifier).to("cuda").train()
    optimizer = torch.optim.Adam((values for values in interpreter.parameters() if values.requires_grad), lr=1e-4)
    waveform = 0.1 * torch.randn(options.batch, _CLIP_SAMPLES, device="cuda")
    decode: Callable[..., Any] = torch.compile(interpreter.decode) if is_compiled else interpreter.decode
    if is_compiled:
        classifier.compile()

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=kind == "bfloat16"):
            with torch.no_grad():
                spectrogram = classifier.hear(waveform, with_phase=interpreter.needs_phase)
                prediction = classifier.predict(spectrogram)
            losses = interpreter.loss(decode(spectrogram, prediction), spectrogram, prediction)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def measure(name: str, options: Options, peaks: dict[str, float]) -> dict[str, Any]:
    """Return the times of one method on one classifier.

    Args:
        name: Key of ``_CASES``.
        options: Options of the run.
        peaks: Rate of matrix products by precision.
    """
    sizes = MethodOptions(**_CASES[name])  # type: ignore[arg-type]
    result: dict[str, Any] = {}
    for precision in _PRECISIONS:
        kind = precision.split()[0]
        step = make_step(sizes, options, kind, precision.endswith("compiled"))
        torch.cuda.reset_peak_memory_stats()
        # operations inside compiled regions are not counted: those of the same step, not compiled
        flops = result[kind]["gflop"] * 1e9 if kind in result else count_flops(step)
        seconds = time_on_device(step, options.repeats)
        result[precision] = {
            "seconds_per_clip": rounded(seconds / options.batch),
            "gflop": rounded(flops / 1e9),
            "times_the_floor": rounded(seconds * peaks[kind] / flops),
            "peak_memory_mb": rounded(torch.cuda.max_memory_allocated() / 2**20),
        }
        print(f"gpu: {name}, {precision}: {result[precision]['seconds_per_clip']} s", file=sys.stderr, flush=True)
    classifier = make_classifier(sizes)
    explainer = Explainer(classifier, make_interpreter(sizes, options.decoder, classifier))
    explainer.to("cuda")
    clip = 0.1 * torch.randn(_CLIP_SAMPLES)
    seconds = time_on_device(lambda: explainer.explain(clip), options.repeats)
    return {"training_step": result, "explanation_seconds": rounded(seconds)}


def main() -> int:
    """Run the measurements."""
    options = jsonargparse.auto_cli(Options, as_positional=False)
    unknown = set(options.cases) - set(_CASES)
    if unknown:
        print(f"gpu: no {', '.join(sorted(unknown))}; choose from {', '.join(_CASES)}", file=sys.stderr)
        return 2
    if not torch.cuda.is_available():
        print(
            "gpu: no CUDA device here; run it on a machine with one and a PyTorch built for CUDA", file=sys.stderr
        )
        return 2
    peaks = {kind: peak_flops(getattr(torch, kind)) for kind in ("float32", "bfloat16")}
    report = {
        "benchmark": "gpu",
        "conditions": {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
            "matmul_tflop_per_second": {kind: rounded(peak / 1e12) for kind, peak in peaks.items()},
            "batch": options.batch,
            "decoder": options.decoder,
            "commit": commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "cases": {name: measure(name, options, peaks) for name in options.cases},
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
