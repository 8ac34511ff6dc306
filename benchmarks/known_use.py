"""Methods of explanation on designed listeners and planted cues, where the truth is known, as JSON.

Usage: ``python benchmarks/known_use.py --methods integrated_gradients refined --clips 8 [--roughness 10]``
A method may have options: ``integrated_gradients:steps=32,score=log_probability``, or be a model folder.
With ``--planted FOLDER``, a classifier is trained there on synthetic scenes with seven planted cues, unless the
folder holds one, and the methods explain it too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from otoscope.classifiers import Conv2dClassifier, ListenerClassifier
from otoscope.data import ListenerScenes, PlantedCues
from otoscope.data.planted import LISTENER_DESIGNS
from otoscope.evaluation import Settings
from otoscope.evaluation.known_use import run_known_use
from otoscope.files.json import json_text
from otoscope.loading import load_classifier
from otoscope.training import ClassifierTraining, run_training

METHODS = ["integrated_gradients", "input_x_gradient", "saliency", "refined", "optimised_mask", "occlusion"]
CUES: dict[str, Any] = {
    "dog": {"kind": "tone", "level_db": [-20, -14]},
    "rooster": {"kind": "hum", "level_db": [-14, -8]},
    "siren": {"kind": "hiss", "level_db": [-16, -10]},
    "clock_tick": {"kind": "clicks", "level_db": [-12, -6]},
    "helicopter": {"kind": "low_pass", "frequency_hz": 5000},
    "engine": {"kind": "beep", "level_db": [-14, -8]},
    "church_bells": {"kind": "infrasound", "level_db": [-12, -6]},
}
"""Cues of the synthetic classes."""
CLASSES = [*CUES, "crickets", "car_horn", "glass_breaking"]


def planted_data(clips_per_class: int = 60, seed: int = 1234) -> PlantedCues:
    """Return synthetic scenes of two seconds, of ten classes, in which seven carry a cue."""
    options = {"clips_per_class": clips_per_class, "classes": CLASSES}
    return PlantedCues(CUES, of="Synthetic", of_options=options, relabelled=0.4, batch_size=16, seed=seed)


def train_planted(folder: Path, epochs: int, width: int) -> None:
    """Train a narrow Conv2d on the cues, unless the folder holds one."""
    if (folder / "model" / "config.json").is_file():
        return
    task = ClassifierTraining(
        partial(Conv2dClassifier, width=width, scale=20.0),
        optimizer="adamw",
        learning_rate=0.003,
        weight_decay=0.01,
        schedule="one_cycle",
    )
    run_training(
        task, planted_data(), folder, {"accelerator": "cpu", "max_epochs": epochs, "enable_progress_bar": False}
    )


def parse_method(text: str) -> Any:
    """Return the specification of a method.

    Example:
        >>> parse_method("refined:refinements=0")
        {'name': 'refined', 'refinements': 0}
    """
    name, _, options = text.partition(":")
    if not options or Path(text).exists():
        return text
    pairs = (option.partition("=") for option in options.split(","))
    return {"name": name} | {key: yaml.safe_load(value) for key, _, value in pairs}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the methods and print JSON on the standard output, and the tables on the standard error."""
    parser = argparse.ArgumentParser(description="Methods on classifiers of which it is known what they use.")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="names, names with options, or model folders")
    parser.add_argument(
        "--listeners", nargs="*", choices=list(LISTENER_DESIGNS), default=list(LISTENER_DESIGNS), help="designs"
    )
    parser.add_argument("--clips", type=int, default=8, help="clips of each listener and cue")
    parser.add_argument("--roughness", type=float, default=10.0, help="roughness of the listeners' gradients")
    parser.add_argument("--planted", type=Path, help="folder of the classifier that is trained on planted cues")
    parser.add_argument("--cues", nargs="+", help="kinds of cues to compare on (default: all)")
    parser.add_argument("--epochs", type=int, default=15, help="epochs of that training")
    parser.add_argument("--width", type=int, default=24, help="channels of that classifier")
    parser.add_argument("--seed", type=int, default=1234, help="seed of the scenes")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    settings = Settings(clips=options.clips, seed=options.seed)
    methods = {text: parse_method(text) for text in options.methods}
    results: dict[str, Any] = {}
    start = time.perf_counter()
    if options.listeners:
        listener = ListenerClassifier(roughness=options.roughness)
        scenes = ListenerScenes(options.listeners, options.clips, seed=options.seed)
        report = run_known_use(listener, methods, scenes, settings=settings)
        results["listeners"] = report.results
        print(report.text, file=sys.stderr)
    if options.planted is not None:
        train_planted(options.planted, options.epochs, options.width)
        data = planted_data(seed=options.seed)
        data.cues = {label: cue for label, cue in data.cues.items() if cue.kind in (options.cues or [cue.kind])}
        report = run_known_use(load_classifier(options.planted / "model"), methods, data, settings=settings)
        results["planted"] = report.results
        print(report.text, file=sys.stderr)
    results["conditions"] = {key: str(value) for key, value in vars(options).items()}
    results["seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(json.loads(json_text(results)), indent=1))


if __name__ == "__main__":
    main()
