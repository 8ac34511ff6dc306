"""Seconds per clip of each method on the narrow classifiers, as JSON.

    python -m benchmarks.trust.seconds --folder runs/trust --data_folder ESC-50-master
        [--classifiers conv2d cnn14] [--methods saliency heard_agreement] [--clips 5] [--threads 2]

The time is that of the map of a clip of five seconds, from its spectrogram, which all methods share; mask, sounds
and scores come after it. Methods take turns on each clip, after a first clip that is not counted. A folder of a
trained interpreter can be given as a method.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from benchmarks.trust.classifiers import CLASSIFIERS, make_data, trained

from otoscope.allocator import keep_freed_memory
from otoscope.classifiers import Classifier
from otoscope.data import collate
from otoscope.evaluation.batch import classify_batch
from otoscope.evaluation.mask_scores import decode
from otoscope.evaluation.methods import build_methods
from otoscope.evaluation.run import select_clips
from otoscope.files.json import json_text
from otoscope.methods import METHODS, UNTRAINED


def measure(
    classifier: Classifier, methods: Mapping[str, Any], data_folder: Path, clips: int
) -> dict[str, dict[str, float]]:
    """Return seconds and processor seconds per clip of each method: the median, and the range of the seconds.

    Args:
        classifier: Frozen classifier.
        methods: Methods by display name.
        data_folder: Folder of ESC-50.
        clips: Number of clips that count.
    """
    data = make_data("esc10", data_folder)
    data.prepare_data()
    data.setup("test")
    ready = build_methods(methods, classifier)
    for name, reason in ready.skipped.items():
        print(f"seconds: {name} is left out: {reason}", file=sys.stderr)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ready.ready}
    for turn, index in enumerate(select_clips(data.test_set, clips + 1)):
        batch = classify_batch(classifier, collate([data.test_set[index]]), 1234, torch.device("cpu"))
        for name, method in ready.ready.items():
            start, processor = time.perf_counter(), time.process_time()
            decode(method.interpreter, batch)
            if turn:
                times[name].append((time.perf_counter() - start, time.process_time() - processor))
    return {name: _summary(of_name) for name, of_name in times.items()}


def _summary(times: Sequence[tuple[float, float]]) -> dict[str, float]:
    seconds, processor = zip(*times, strict=True)
    return {
        "seconds": round(statistics.median(seconds), 4),
        "least": round(min(seconds), 4),
        "most": round(max(seconds), 4),
        "processor_seconds": round(statistics.median(processor), 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write JSON, and print it."""
    parser = argparse.ArgumentParser(description="Seconds per clip of each method.")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the classifiers")
    parser.add_argument("--data_folder", type=Path, required=True, help="ESC-50, or clips of it in the same layout")
    parser.add_argument("--classifiers", nargs="+", choices=CLASSIFIERS, default=["conv2d", "cnn14", "vit"])
    parser.add_argument("--methods", nargs="+", default=list(UNTRAINED), help="names, or model folders")
    parser.add_argument("--clips", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    parser.add_argument("--out", type=Path, help="file of the JSON")
    options = parser.parse_args(arguments)
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(options.threads)
    methods = {METHODS[method].title if method in METHODS else method: method for method in options.methods}
    load = [round(value, 2) for value in os.getloadavg()]
    results = {
        name: measure(
            trained(name, "esc10", options.folder, options.data_folder), methods, options.data_folder, options.clips
        )
        for name in options.classifiers
    }
    conditions = {
        "clips": options.clips,
        "threads": options.threads,
        "cores": os.cpu_count(),
        "load_at_start": load,
    }
    conditions |= {"cpu_capability": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__}
    conditions |= {"date": datetime.now(UTC).isoformat(timespec="seconds"), "seconds_per_clip_of_sound": 5}
    text = json.dumps(json.loads(json_text({"conditions": conditions, "results": results})), indent=1) + "\n"
    if options.out is not None:
        options.out.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
