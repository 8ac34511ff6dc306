"""What `otoscope evaluate --precision bfloat16` saves and what it changes, beside float32, as JSON.

Clips of ESC-50 are explained by each method in both precisions in turn, which gives pairs of processor times and of
maps. Then the table of all methods is made in either precision. All clips of the fold are classified in both, to
count decisions that change.

Usage: ``python -m benchmarks.precision --model runs/conv2d/model --data_folder ESC-50-master [--fold 4]``
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import jsonargparse
import torch
from benchmarks.machine import commit, cpu_name
from benchmarks.timing import rounded

from otoscope import load, load_classifier
from otoscope.allocator import keep_freed_memory
from otoscope.classifiers import Classifier
from otoscope.classifiers.precision import Precision
from otoscope.data import ESC50
from otoscope.evaluation import Conditions, Settings, run_evaluation
from otoscope.evaluation.run import select_clips
from otoscope.evaluation.sanity import rank_correlation
from otoscope.interpreters import make_untrained

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass
class Options:
    """Compare evaluations in bfloat16 and in float32.

    Args:
        data_folder: Clips in the layout of ESC-50.
        model: Model folder of the classifier (default: the bundled one).
        fold: Fold of the clips.
        clips: Number of clips, spread over the classes.
        methods: Methods that need no training.
        threads: Number of threads of PyTorch.
        out: JSON file to write in addition to the standard output.
    """

    data_folder: str = field(default_factory=lambda: os.environ.get("OTOSCOPE_ESC10", "ESC-50-master"))
    model: str | None = None
    fold: int = 4
    clips: int = 8
    methods: tuple[str, ...] = (
        "saliency",
        "input_x_gradient",
        "integrated_gradients",
        "occlusion",
        "rise",
        "slime",
        "refined",
    )
    threads: int = 1
    out: Path | None = None


def compare_method(name: str, classifier: Classifier, clips: list[Any]) -> dict[str, Any]:
    """Return paired processor times of a method, and the rank correlations of its maps in both precisions.

    Args:
        name: Name of the method.
        classifier: Frozen classifier.
        clips: Clips.
    """
    interpreter = make_untrained(name, classifier, area=0.2)
    seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    correlations = []
    for turn, clip in enumerate([clips[0], *clips]):  # the first clip once more, to warm up
        maps = {}
        # Either precision is first in every second pair.
        for precision in PRECISIONS if turn % 2 else PRECISIONS[::-1]:
            with classifier.in_precision(precision), torch.no_grad():
                spectrogram = classifier.hear(clip.waveform[None])
                prediction = classifier.predict(spectrogram)
                start = time.process_time()
                maps[precision] = interpreter.output(interpreter.decode(spectrogram, prediction), spectrogram)[0]
                seconds[precision].append(time.process_time() - start)
        correlations.append(rank_correlation(*(maps[precision] for precision in PRECISIONS)))
    pairs = list(zip(seconds["float32"][1:], seconds["bfloat16"][1:], strict=True))
    ratios = [low / full for full, low in pairs]
    return {
        "seconds_per_clip": _rounded({side: statistics.median(values[1:]) for side, values in seconds.items()}),
        "ratio": rounded(statistics.median(ratios)),
        "ratios_of_pairs": rounded([min(ratios), max(ratios)]),
        "rank_correlation": _rounded({"mean": statistics.mean(correlations[1:]), "least": min(correlations[1:])}),
    }


def compare_tables(classifier: Classifier, data: ESC50, options: Options) -> dict[str, Any]:
    """Return the processor times of a table in both precisions, and the differences of its means."""
    seconds: dict[str, float] = {}
    results: dict[str, Any] = {}
    conditions = Conditions(wham=None, white_noise=False, mixture=False, speech=None)
    for precision in PRECISIONS:
        settings = Settings(
            clips=options.clips, sanity=False, randomisation=False, stability=False, precision=precision
        )
        methods = {name: name for name in options.methods}
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            report = run_evaluation(classifier, methods, data, folder, conditions, settings, progress=False)
            seconds[precision] = time.process_time() - start
        results[precision] = report.results
    full, low = (dict(_means(results[precision]["scores"])) for precision in PRECISIONS)
    differences: dict[str, list[tuple[float, float]]] = {}
    for place, (mean, half) in full.items():
        if place[-2] in options.methods:
            differences.setdefault(place[-1], []).append((abs(mean - low[place][0]), half))
    return {
        "processor_seconds": _rounded(seconds),
        "ratio": rounded(seconds["bfloat16"] / seconds["float32"]),
        "differences_of_means": {score: _summary(values) for score, values in differences.items()},
        "best_methods_that_change": _changed_leaders(*(results[name]["leaders"] for name in PRECISIONS)),
    }


def _means(content: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], tuple[float, float]]]:
    """Yield place, mean and half of the interval of every cell that is defined."""
    if "mean" in content:
        if content["mean"] is not None and content["mean"] == content["mean"]:
            yield place, (content["mean"], (content["high"] - content["low"]) / 2)
        return
    for name, part in content.items():
        yield from _means(part, (*place, name))


def _summary(values: list[tuple[float, float]]) -> dict[str, Any]:
    """Return the largest and mean difference, and the largest in halves of the interval of its mean."""
    parts = [difference for difference, _ in values]
    relative = [difference / half for difference, half in values if half > 0]
    summary = {"largest": max(parts), "mean": statistics.mean(parts)}
    summary |= {"largest_in_half_intervals": max(relative)} if relative else {}
    return {**_rounded(summary), "means": len(parts)}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: rounded(value) for name, value in values.items()}


def _changed_leaders(full: Any, low: Any) -> dict[str, int]:
    """Return in how many columns of the tables another method is the best, and the number of columns."""
    pairs = [(full["best"], low["best"])] if "best" in full else []
    changed, columns = sum(first != second for first, second in pairs), len(pairs)
    if not pairs:
        for name, part in full.items():
            inner = _changed_leaders(part, low[name])
            changed, columns = changed + inner["changed"], columns + inner["columns"]
    return {"changed": changed, "columns": columns}


@torch.no_grad()
def compare_decisions(classifier: Classifier, clips: list[Any]) -> dict[str, Any]:
    """Return how many decisions change, and the largest difference of a probability."""
    changed, largest = 0, 0.0
    for clip in clips:
        spectrogram = classifier.hear(clip.waveform[None])
        answers = []
        for precision in PRECISIONS:
            with classifier.in_precision(precision):
                answers.append(classifier.probabilities(spectrogram)[0])
        changed += int(answers[0].argmax() != answers[1].argmax())
        largest = max(largest, float((answers[0] - answers[1]).abs().max()))
    return {"clips": len(clips), "changed": changed, "largest_difference_of_probability": rounded(largest)}


def main() -> int:
    """Run the benchmark."""
    options = jsonargparse.auto_cli(Options, as_positional=False)
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as on the command line
    classifier = load(method="saliency").classifier if options.model is None else load_classifier(options.model)
    classifier.freeze()
    with tempfile.TemporaryDirectory() as cache:
        folds = [fold for fold in range(1, 6) if fold != options.fold]
        data = ESC50(options.data_folder, folds[:1], folds[1:2], (options.fold,), cache_folder=cache)
        data.prepare_data()
        data.setup("test")
        load_average = rounded(list(os.getloadavg()))
        clips = [data.test_set[index] for index in select_clips(data.test_set, options.clips)]
        methods = {name: compare_method(name, classifier, clips) for name in options.methods}
        count = len(data.test_set)  # type: ignore[arg-type]
        report = {
            "benchmark": "precision",
            "conditions": {
                "cpu": cpu_name(),
                "cpu_capability": torch.backends.cpu.get_cpu_capability(),
                "cores": os.cpu_count(),
                "threads": options.threads,
                "load_average": load_average,
                "torch": torch.__version__,
                "classifier": {"class": type(classifier).__name__, **classifier.config},
                "clips": options.clips,
                "fold": options.fold,
                "condition": "clean",
                "commit": commit(),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            "methods": methods,
            "table": compare_tables(classifier, data, options),
            "decisions": compare_decisions(classifier, [data.test_set[index] for index in range(count)]),
        }
    text = json.dumps(report, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
