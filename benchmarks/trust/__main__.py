"""Every method on several classifiers and kinds of data, as JSON and as the tables of docs/results/trust.md.

    python -m benchmarks.trust --folder runs/trust --data_folder ESC-50-master [--places conv2d:esc10 ...]
        [--methods integrated_gradients heard_agreement] [--trained lmac piq] [--clips 80]
        [--checked saliency heard_agreement]

A place is a classifier and a kind of data. Classifiers are trained where the folder does not hold them. All runs
resume, so that methods and clips can be added in several sittings. The maps of the methods after ``--checked`` are
also compared with those of the classifier with shuffled weights, and of sounds that were changed inaudibly.
Interpreters after ``--trained`` lie in ``FOLDER/<method>_<classifier>_<kind>``; L-MAC is trained if there is none.
With ``--test_fold 3``, clips of the validation are explained, to choose settings.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks.trust.classifiers import CLASSIFIERS, INTERPRETERS, KINDS, make_data, trained, trained_interpreter
from benchmarks.trust.summary import markdown, standing

from otoscope.allocator import keep_freed_memory
from otoscope.classifiers import ListenerClassifier
from otoscope.data import ListenerScenes, PlantedCues
from otoscope.evaluation import Conditions, Settings, run_evaluation, run_known_use
from otoscope.files.json import json_text
from otoscope.methods import METHODS, UNTRAINED

DESIGNED = "listener:designed"
PLACES = [*(f"{name}:{kind}" for kind in KINDS for name in CLASSIFIERS), DESIGNED]
"""All places; designed listeners are classifiers of their own."""
TRAINED = sorted({*INTERPRETERS, *(name for name in METHODS if name not in UNTRAINED)})
NEW = ["heard_agreement", "agreement"]
USUAL = [
    "integrated_gradients",
    "input_x_gradient",
    "gradient_shap",
    "grad_cam",
    "saliency",
    "smoothgrad",
    "refined",
]
_ROUGHNESS = 10.0


def compare(place: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the results of one classifier on one kind of data.

    Args:
        place: One of `PLACES`.
        options: Options of the command line.
    """
    name, _, kind = place.partition(":")
    folder = options.folder / "results" / f"{name}_{kind}_fold{options.test_fold}"
    methods: dict[str, Any] = {METHODS[method].title: method for method in options.methods}
    for method in options.trained:
        place_of = trained_interpreter(method, name, kind, options.folder, options.data_folder)
        title = INTERPRETERS[method].title if method in INTERPRETERS else METHODS[method].title
        methods[title] = str(place_of)
    if place == DESIGNED:
        settings = Settings(clips=options.known_use_clips)
        scenes = ListenerScenes(clips=options.known_use_clips)
        return run_known_use(ListenerClassifier(roughness=_ROUGHNESS), methods, scenes, folder, settings).results
    classifier = trained(name, kind, options.folder, options.data_folder)
    data = make_data(kind, options.data_folder, options.test_fold)
    if isinstance(data, PlantedCues):
        data.prepare_data()
        data.setup("test")
        settings = Settings(clips=options.known_use_clips)
        return run_known_use(classifier, methods, data, folder, settings).results
    conditions = Conditions(wham=None, white_noise=False, mixture=False, speech=None)
    unchecked = Settings(clips=options.clips, curves=False, sanity=False, randomisation=False, stability=False)
    results = run_evaluation(classifier, methods, data, folder, conditions, unchecked).results
    if checked := {METHODS[method].title: methods[METHODS[method].title] for method in options.checked}:
        few = options.check_clips
        settings = Settings(clips=options.clips, curves=False, sanity_clips=few, check_clips=few, noisy_inputs=0)
        of_checked = run_evaluation(classifier, checked, data, folder, conditions, settings).results
        results |= {check: of_checked[check] for check in ("sanity", "randomisation", "stability")}
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparisons, write JSON, and print the tables."""
    parser = argparse.ArgumentParser(description="The table of trust.")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the classifiers and of the results")
    parser.add_argument("--data_folder", type=Path, help="ESC-50, or clips of it in the same layout")
    parser.add_argument("--places", nargs="+", choices=PLACES, default=PLACES, metavar="CLASSIFIER:KIND")
    parser.add_argument("--methods", nargs="+", choices=UNTRAINED, default=[*NEW, *USUAL], metavar="METHOD")
    parser.add_argument("--trained", nargs="+", choices=TRAINED, default=[], metavar="METHOD")
    parser.add_argument("--clips", type=int, default=80, help="test clips of ESC-10 and synthetic scenes")
    parser.add_argument("--known_use_clips", type=int, default=8, help="clips of each listener and planted cue")
    parser.add_argument("--checked", nargs="+", choices=METHODS, default=[], metavar="METHOD")
    parser.add_argument("--check_clips", type=int, default=8, help="clips of these checks")
    parser.add_argument("--test_fold", type=int, choices=(3, 4), default=4)
    parser.add_argument("--out", type=Path, help="file of the JSON (default: trust.json in the folder)")
    options = parser.parse_args(arguments)
    keep_freed_memory()  # as the command line does
    start, results = time.perf_counter(), dict[str, Any]()
    for place in options.places:
        results[place] = compare(place, options)
        print(f"trust: {place}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    conditions: dict[str, Any] = {
        key: str(value) for key, value in vars(options).items() if key not in ("folder", "data_folder", "out")
    }
    conditions |= {"cores": os.cpu_count(), "machine": platform.machine(), "torch": torch.__version__}
    conditions |= {"threads": torch.get_num_threads(), "seconds": round(time.perf_counter() - start, 1)}
    summary = {"conditions": conditions, "standing": standing(results), "results": results}
    out = options.out or options.folder / "trust.json"
    out.write_text(json.dumps(json.loads(json_text(summary)), indent=1) + "\n")
    print(markdown(summary))


if __name__ == "__main__":
    main()
