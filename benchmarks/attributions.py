"""Time attributions of one clip of 5 s: ours, and captum or a plain loop called by hand with the same samples.

    python benchmarks/attributions.py --network conv2d --repeats 3 --out benchmarks/results/attributions-conv2d.json

Both sides ask the same frozen classifier about the same clip, with the same points, noise or masks, one after the
other in one process, every second pair in the opposite order. ``same batch``: the other side gets inputs in batches
of 16, our largest; ``as called``: captum's defaults, all points at once for gradients and one patch at a time for
occlusion. A ratio is their time over ours; above 1, ours is faster.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parents[1]))

import jsonargparse
import torch
from benchmarks.attributions_by_hand import SIDES, Case
from benchmarks.machine import commit, cpu_name
from benchmarks.timing import rounded, time_in_turns
from torch import Tensor

import otoscope
from otoscope.allocator import keep_freed_memory
from otoscope.audio import load_audio
from otoscope.classifiers import Classifier, Conv2dClassifier
from otoscope.interpreters import AttributionInterpreter, make_untrained
from otoscope.models import sample_recordings

_CLIP_SAMPLES = 80_000
_GRAD_CAM = "grad_cam"
"""Method whose map is compared on the Conv2d only, where rows of its coarse map are evenly spaced."""
# Fewer masks than the defaults: each takes the same time.
_OPTIONS: dict[str, dict[str, Any]] = {
    "rise": {"masks": 96},
    "slime": {"samples": 96},
    "occlusion": {"patch_s": 0.8, "patch_hz": 2000.0},
}


@dataclass
class Options:
    """Time attributions, ours and by hand in turns.

    Args:
        network: ``bundled``: the CNN14 that comes with the package; ``conv2d``: a Conv2d with random weights.
        width: Width of the Conv2d.
        methods: Methods to measure (default: all).
        repeats: Number of timed runs of each side.
        threads: Number of threads of PyTorch.
        allocator: ``default``: that of the C library, as in Python; ``keep``: as on the command line.
        out: JSON file to write in addition to the standard output.
    """

    network: Literal["bundled", "conv2d"] = "bundled"
    width: int = 64
    methods: tuple[str, ...] = ()
    repeats: int = 3
    threads: int = 1
    allocator: Literal["default", "keep"] = "default"
    out: Path | None = None


def measure(method: str, classifier: Classifier, waveform: Tensor, repeats: int) -> dict[str, Any]:
    """Return times, ratios and differences of one method.

    Args:
        method: Name of the method.
        classifier: Frozen classifier.
        waveform: Clip, shape (1, samples).
        repeats: Number of timed runs of each side.
    """
    interpreter = make_untrained(method, classifier, area=0.2, **_OPTIONS.get(method, {}))
    assert isinstance(interpreter, AttributionInterpreter)
    with torch.no_grad():
        spectrogram = classifier.hear(waveform)
        prediction = classifier.predict(spectrogram)
    case = Case(classifier, interpreter, spectrogram, prediction.predicted)
    sides: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: interpreter.decode(spectrogram, prediction),
        **{name: side(case) for name, side in SIDES[method].items()},
    }
    maps = {name: side().detach() for name, side in sides.items()}  # also warms up
    samples = time_in_turns({name: _ignoring_turn(side) for name, side in sides.items()}, repeats)
    if method == _GRAD_CAM:  # the other side returns no negative values, scaled to [0, 1]
        positive = maps["ours"].clamp(min=0) - maps["ours"].clamp(min=0).min()
        maps["ours"] = positive / positive.max()
    largest = float(maps["ours"].abs().max())
    result: dict[str, Any] = {"options": _OPTIONS.get(method, {})}
    for name, runs in samples.items():
        ratios = [
            theirs.core_seconds / ours.core_seconds for theirs, ours in zip(runs, samples["ours"], strict=True)
        ]
        result[name] = {
            "processor_seconds": rounded([run.core_seconds for run in runs]),
            "seconds": rounded([run.seconds for run in runs]),
        }
        if name != "ours":
            result[name]["ratio_of_medians"] = rounded(_median(runs) / _median(samples["ours"]))
            result[name]["ratios_of_pairs"] = rounded([min(ratios), max(ratios)])
            difference = float((maps[name] - maps["ours"]).abs().max()) / largest
            result[name]["largest_difference_of_largest_value"] = rounded(difference)
    return result


def _median(runs: Any) -> float:
    return float(statistics.median(run.core_seconds for run in runs))


def _ignoring_turn(side: Callable[[], Tensor]) -> Callable[[int], Tensor]:
    return lambda turn: side()


def main() -> int:
    """Run the benchmark."""
    options = jsonargparse.auto_cli(Options, as_positional=False)
    torch.set_num_threads(options.threads)
    if options.allocator == "keep":
        keep_freed_memory()
    classifier: Classifier = otoscope.load(method="saliency").classifier
    if options.network == "conv2d":
        torch.manual_seed(0)
        classifier = Conv2dClassifier(classifier.labels, width=options.width).freeze()
    waveform = load_audio(sample_recordings()[0].path, 16_000)[None, :_CLIP_SAMPLES]
    load = rounded(list(os.getloadavg()))
    methods = options.methods or [name for name in SIDES if name != _GRAD_CAM or options.network == "conv2d"]
    results = {}
    for name in methods:
        if name == _GRAD_CAM and importlib.util.find_spec("pytorch_grad_cam") is None:
            print("attributions: grad_cam is left out, because pytorch-grad-cam is not installed", file=sys.stderr)
            continue
        results[name] = measure(name, classifier, waveform, options.repeats)
    report = {
        "benchmark": "attributions",
        "conditions": {
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "threads": options.threads,
            "load_average": load,
            "torch": torch.__version__,
            "captum": importlib.metadata.version("captum"),
            "pytorch_grad_cam": importlib.util.find_spec("pytorch_grad_cam") is not None,
            "allocator": options.allocator,
            "network": options.network + (f" of width {options.width}" if options.network == "conv2d" else ""),
            "clip_s": _CLIP_SAMPLES / 16_000,
            "repeats": options.repeats,
            "commit": commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "methods": results,
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
