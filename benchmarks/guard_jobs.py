"""One job of the guard, in a fresh process: prints its wall and processor seconds as JSON.

    python benchmarks/guard_jobs.py explain_warm --method saliency

The package is the one that is imported, so that `benchmarks.guard` runs the same job with two commits. Jobs use
nothing but public names, which earlier commits have too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

import otoscope
from otoscope.audio import load_audio
from otoscope.classifiers import Conv2dClassifier
from otoscope.data import Synthetic
from otoscope.evaluation import Conditions, Settings, run_evaluation
from otoscope.interpreters import PIQInterpreter
from otoscope.models import sample_recordings
from otoscope.recordings import explain_long

_REPEATS = 5
_LONG_S = 300
_METHODS = ("saliency", "input_x_gradient", "integrated_gradients", "smoothgrad", "agreement", "grad_cam")


def explain_warm(method: str, folder: Path) -> Callable[[], object]:
    """Explain the sample recordings again and again, with all scores, without writing anything."""
    explainer = otoscope.load(method=method)
    sounds = [load_audio(sample.path, explainer.sample_rate_hz) for sample in sample_recordings()]
    explainer.explain(sounds[0])
    return lambda: [explainer.explain(sound) for _ in range(_REPEATS) for sound in sounds]


def piq_step(method: str, folder: Path) -> Callable[[], object]:
    """Train PIQ on the bundled classifier: steps of one batch, without data and trainer."""
    explainer = otoscope.load(method=method)
    data = Synthetic(clips_per_class=2, batch_size=8)
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    classifier = explainer.classifier
    interpreter = PIQInterpreter(classifier)
    optimizer = torch.optim.Adam(interpreter.parameters(), lr=1e-3)

    def steps() -> None:
        for _ in range(_REPEATS):
            spectrogram = classifier.hear(batch.waveform)
            with torch.no_grad():
                prediction = classifier.predict(spectrogram)
            losses = interpreter.loss(interpreter.decode(spectrogram, prediction), spectrogram, prediction)
            optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    steps()
    return steps


def evaluate(method: str, folder: Path) -> Callable[[], object]:
    """Evaluate two methods on a few synthetic clips and random weights, with curves and without checks."""
    data = Synthetic(classes=("dog", "siren"), clips_per_class=16, duration_s=2.0)
    data.prepare_data()
    data.setup("test")
    torch.manual_seed(0)
    classifier = Conv2dClassifier(data.labels, width=16)
    settings = Settings(clips=4, sanity=False, randomisation=False, stability=False)
    conditions = Conditions(wham=None, white_noise=False, mixture=False, speech=None)
    methods = {"saliency": "saliency", "input x gradient": "input_x_gradient"}
    return lambda: run_evaluation(classifier, methods, data, folder, conditions, settings, progress=False)


def evaluate_table(method: str, folder: Path) -> Callable[[], object]:
    """Evaluate six methods in three conditions on a few synthetic clips by the bundled classifier, with curves."""
    classifier = otoscope.load(method=method).classifier
    data = Synthetic(classes=("dog", "rooster"), clips_per_class=16, duration_s=5.0)
    data.prepare_data()
    data.setup("test")
    options: dict[str, Any] = {"clips": 4, "workers": _cores()}
    options |= {"sanity": False, "randomisation": False, "stability": False}
    names = {field.name for field in fields(Settings)}  # earlier commits have no workers
    settings = Settings(**{name: value for name, value in options.items() if name in names})
    conditions = Conditions(wham=None, speech=None)
    methods = {name: name for name in _METHODS}
    return lambda: run_evaluation(classifier, methods, data, folder, conditions, settings, progress=False)


def long_recording(method: str, folder: Path) -> Callable[[], object]:
    """Predict the windows of five minutes of the sample recordings, and explain the ten most confident ones."""
    explainer = otoscope.load(method=method)
    sounds = [load_audio(sample.path, 16_000).numpy() for sample in sample_recordings()]
    joined = np.concatenate(sounds)
    soundfile.write(folder / "long.wav", np.resize(joined, 16_000 * _LONG_S), 16_000)
    return lambda: explain_long(explainer, folder / "long.wav", folder / "results", top_k=3, pages=0)


JOBS: dict[str, Callable[[str, Path], Callable[[], object]]] = {
    "explain_warm": explain_warm,
    "piq_step": piq_step,
    "evaluate": evaluate,
    "evaluate_table": evaluate_table,
    "long_recording": long_recording,
}
"""Jobs by name: each prepares what is not timed, and returns what is."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor_seconds() -> float:
    """Return the processor time of this process, and of those that it has started and waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    """Run a job."""
    parser = argparse.ArgumentParser(description="One job of the guard.")
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--method", default="saliency")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        job = JOBS[options.job](options.method, Path(name))
        wall, processor = time.perf_counter(), _processor_seconds()
        job()
        seconds = {"seconds": time.perf_counter() - wall, "processor_seconds": _processor_seconds() - processor}
    print(json.dumps({**seconds, "package": str(Path(otoscope.__file__).parent)}))


if __name__ == "__main__":
    main()
