"""What the faster layers gain for a user's job: the same job with and without each, in turns, as JSON.

``composed`` is `otoscope.nn.transposed.composed` in L-MAC's published decoder; ``product`` is the matrix product of
`otoscope.nn.convolution.Convolution2d` in CNN14.

Usage: ``python benchmarks/shortcuts.py [--repeats 7] [--threads 1] [--jobs interpret_published ...]``
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from benchmarks.clips import SAMPLES
from benchmarks.timing import time_in_turns
from torch import Tensor, nn

from otoscope.classifiers import Cnn14Classifier
from otoscope.interpreters import LMACInterpreter
from otoscope.nn.convolution import Convolution2d
from otoscope.nn.decoders import pyramid

Job = Callable[[], object]
LABELS = [f"class {i}" for i in range(50)]


def one_after_the_other(hidden: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    """Apply two layers in sequence, as `composed` does at once."""
    output: Tensor = second(first(hidden))[:, 0]
    return output


SHORTCUTS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "composed": lambda: patch.object(pyramid, "composed", one_after_the_other),
    "product": lambda: patch.object(Convolution2d, "_is_product", lambda layer, hidden: False),
}
"""Context manager that takes each shortcut away."""


def classify() -> Job:
    """Classify one clip."""
    classifier = Cnn14Classifier(LABELS).freeze()
    waveform = 0.1 * torch.randn(1, SAMPLES)
    return torch.no_grad()(lambda: classifier.predict(classifier.frontend(waveform)))


def interpret(decoder: str) -> Job:
    """Explain one clip by L-MAC: the evidence as sound."""
    classifier = Cnn14Classifier(LABELS).freeze()
    interpreter = LMACInterpreter(classifier, decoder=decoder).eval()  # type: ignore[arg-type]
    waveform = 0.1 * torch.randn(1, SAMPLES)

    @torch.no_grad()
    def job() -> Tensor:
        spectrogram = classifier.frontend(waveform)
        mask = interpreter(spectrogram, classifier.predict(spectrogram))
        sound: Tensor = classifier.frontend.inverse(spectrogram.masked(mask))
        return sound

    return job


def train(decoder: str, clips: int = 2) -> Job:
    """Make one training step of L-MAC."""
    classifier = Cnn14Classifier(LABELS).freeze()
    interpreter = LMACInterpreter(classifier, decoder=decoder).train()  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(interpreter.parameters(), lr=1e-4)
    waveform = 0.1 * torch.randn(clips, SAMPLES)

    def job() -> None:
        spectrogram = classifier.frontend(waveform, with_phase=False)
        with torch.no_grad():
            prediction = classifier.predict(spectrogram)
        terms = interpreter.loss(interpreter.decode(spectrogram, prediction), spectrogram, prediction)
        optimizer.zero_grad()
        loss: Any = torch.stack(list(terms.values())).sum()
        loss.backward()
        optimizer.step()

    return job


JOBS: dict[str, tuple[str, Callable[[], Job]]] = {
    "interpret_published": ("composed", lambda: interpret("published")),
    "train_published": ("composed", lambda: train("published")),
    "classify": ("product", classify),
    "interpret_light": ("product", lambda: interpret("light")),
    "train_light": ("product", lambda: train("light")),
}
"""Shortcut that a job uses, and the function that prepares the job."""


def gain(job_name: str, repeats: int) -> dict[str, object]:
    """Return the processor time of a job with and without its shortcut, and their ratio, pair by pair."""
    shortcut, prepare = JOBS[job_name]
    torch.manual_seed(0)
    job = prepare()

    def without(repeat: int) -> object:
        with SHORTCUTS[shortcut]():
            return job()

    steps = {"with": lambda repeat: job(), "without": without}
    time_in_turns(steps, 1)  # the first run allocates memory
    samples = time_in_turns(steps, repeats)
    seconds = {side: [sample.core_seconds for sample in samples[side]] for side in steps}
    ratios = [slow / fast for fast, slow in zip(seconds["with"], seconds["without"], strict=True)]
    return {
        "shortcut": shortcut,
        **{f"core_seconds_{side}": round(statistics.median(values), 3) for side, values in seconds.items()},
        "ratio": [round(value, 3) for value in (statistics.median(ratios), min(ratios), max(ratios))],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the jobs and print the numbers with their conditions."""
    parser = argparse.ArgumentParser(description="Gain of the faster layers for whole jobs.")
    parser.add_argument("--repeats", type=int, default=7, help="number of pairs")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS), help="jobs to measure")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    jobs = {name: gain(name, options.repeats) for name in options.jobs}
    machine = {"torch": torch.__version__, "cores": os.cpu_count(), "load_average": os.getloadavg()[0]}
    print(json.dumps({"conditions": {**vars(options), **machine}, "jobs": jobs}, indent=1))


if __name__ == "__main__":
    main()
