"""An evaluation by the package that is imported, in a fresh process: prints its times as JSON.

    python benchmarks/evaluation_job.py --data_folder ESC-50 --weights model.safetensors --clips 8 --out results

Uses nothing but names that commits since f2a62bd have.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import otoscope
from otoscope.classifiers import Conv2dClassifier
from otoscope.data import ESC50
from otoscope.evaluation import Conditions, Settings, run_evaluation

METHODS = (
    "saliency",
    "input_x_gradient",
    "guided_backprop",
    "grad_cam",
    "guided_grad_cam",
    "smoothgrad",
    "integrated_gradients",
    "gradient_shap",
    "occlusion",
    "rise",
    "slime",
    "refined",
    "optimised_mask",
)


def keep_freed_memory() -> None:
    """Set the allocator as the command line does; the function has moved since the first commits."""
    for module in ("otoscope.allocator", "otoscope.memory"):
        try:
            import_module(module).keep_freed_memory()
        except ModuleNotFoundError:
            continue
        return


def processor_seconds() -> float:
    """Return the processor time of this process, and of those that it has started and waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    """Evaluate, and print the times."""
    parser = argparse.ArgumentParser(description="An evaluation by the package that is imported.")
    parser.add_argument("--data_folder", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="Weights of a Conv2d classifier (default: random).")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    keep_freed_memory()
    data = ESC50(data_folder=str(options.data_folder), train_folds=[1, 2], valid_folds=[3], test_folds=[4])
    data.prepare_data()
    torch.manual_seed(0)
    classifier = Conv2dClassifier(data.labels, width=options.width, scale=20.0)
    if options.weights is not None:
        classifier.load_state_dict(load_file(options.weights))
    wanted: dict[str, Any] = {"clips": options.clips, "workers": options.workers}
    wanted |= {"sanity": False, "randomisation": False, "stability": False}
    known = {field.name for field in fields(Settings)}
    settings = Settings(**{name: value for name, value in wanted.items() if name in known})
    wall, processor = time.perf_counter(), processor_seconds()
    run_evaluation(
        classifier, {name: name for name in METHODS}, data, options.out, Conditions(), settings, progress=False
    )
    times = {"seconds": time.perf_counter() - wall, "processor_seconds": processor_seconds() - processor}
    print(json.dumps({**times, "package": str(Path(otoscope.__file__).parent)}))


if __name__ == "__main__":
    main()
