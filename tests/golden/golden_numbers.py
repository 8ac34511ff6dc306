"""Compute and record the golden numbers; see README.md beside this file.

The file is not called ``numbers.py``: run as a script, it would hide that module of the standard library.
"""

import argparse
import json
import math
import platform
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent
MODELS = FOLDER / "models"
GOLDEN = FOLDER / "golden.json"
CLASSES = ["siren", "rooster", "clock_tick"]
CLASSIFIERS = ("conv2d", "cnn14", "focalnet")
TRAINED = ("piq", "l2i", "lmac")
# Few samples and steps: the numbers only have to change when the code computes something else.
CHEAP: dict[str, dict[str, Any]] = {
    "expected_gradients": {"samples": 2, "baselines": str(FOLDER / "clips")},
    "gradient_shap": {"samples": 2},
    "integrated_gradients": {"steps": 4},
    "occlusion": {"patch_hz": 2000.0, "patch_s": 0.3},
    "optimised_mask": {"steps": 3},
    "agreement": {"steps": 4},
    "heard_agreement": {"steps": 4, "passes": 20, "refinements": 2},
    "refined": {"steps": 4, "refinements": 2},
    "rise": {"masks": 12, "cell_s": 0.2},
    "segment_regression": {"passes": 12},
    "slime": {"samples": 12, "segment_s": 0.2},
    "smoothgrad": {"samples": 2},
}
# Activation maps: only FocalNet and ViT. Guided backpropagation: only networks with ReLUs.
MISFITS = {"amt": ("conv2d", "cnn14"), "guided_backprop": ("focalnet",), "guided_grad_cam": ("focalnet",)}
TRAINER = {"accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False}


def compute() -> dict[str, Any]:
    """Compute every number, as a nested mapping, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        parts = {"explain": explanations, "train": trainings, "evaluate": evaluation}
        numbers = {}
        for name, part in parts.items():
            torch.manual_seed(0)
            numbers[name] = part()
        return numbers
    finally:
        torch.set_num_threads(threads)


@cache
def model_folder(name: str) -> Path:
    """Return a model folder of `models/`; one that is kept as an archive is unpacked first."""
    if (MODELS / name).is_dir():
        return MODELS / name
    folder = Path(_unpacked().name) / name
    shutil.unpack_archive(MODELS / f"{name}.zip", folder)
    return folder


@cache
def _unpacked() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(ignore_cleanup_errors=True)


def model_names() -> list[str]:
    """Return the names of all model folders."""
    return sorted(path.stem for path in MODELS.iterdir())


def explanations() -> dict[str, Any]:
    """Explain three clips of different lengths in one batch, by every method on every classifier that it fits."""
    import otoscope
    from otoscope.methods import UNTRAINED

    clips = [otoscope.load_audio(path) for path in sorted((FOLDER / "clips").glob("*.wav"))]
    numbers: dict[str, Any] = {}
    for model in CLASSIFIERS:
        numbers[model] = {}
        for method in sorted(UNTRAINED):
            if model in MISFITS.get(method, ()):
                continue
            # the area of the first record, when it was the default
            area = {} if method == "amt" else {"area": 0.2}
            explainer = otoscope.load(MODELS / model, method=method, **area, **CHEAP.get(method, {}))
            numbers[model][method] = _explain(explainer, clips)
    for model in TRAINED:
        numbers[model] = _explain(otoscope.load(model_folder(model)), clips)
    return numbers


def _explain(explainer: Any, clips: list[Tensor]) -> dict[str, Any]:
    torch.manual_seed(0)
    # Controls and sufficient shares take most of the time and are not recorded: all areas here are given.
    with (
        patch("otoscope.explain.scored.control_masks", return_value={}),
        patch("otoscope.explain.explainer.find_sufficient", return_value=None),
    ):
        explained = explainer.explain_batch(clips)
    return {f"clip{position}": _of_explanation(explanation) for position, explanation in enumerate(explained)}


def _of_explanation(explanation: Any) -> dict[str, Any]:
    mask = explanation.mask.double()
    rows = torch.linspace(0.03, 0.8, 16).mul(mask.shape[0]).long()
    columns = torch.arange(16).mul(7).remainder(mask.shape[1])
    return {
        "probabilities": dict(explanation.probabilities),
        "mask_mean": float(mask.mean()),
        "mask_checksum": _checksum(mask),
        "mask_bins": {
            f"{row},{column}": float(mask[row, column]) for row, column in zip(rows, columns, strict=True)
        },
        "evidence_rms": float(explanation.evidence.double().square().mean().sqrt()),
        "evidence_checksum": _checksum(explanation.evidence.double()),
        # those of the masked spectrogram, as in the first record; method-specific ones stand among the heard
        "scores": {**explanation.scores, **explanation.mask_scores},
    }


def _checksum(values: Tensor) -> float:
    """Mean of the values times weights that differ from place to place, so that a permutation changes it."""
    flat = values.flatten()
    return float((flat * torch.arange(len(flat), dtype=torch.double).mul(0.7).cos()).mean())


def trainings() -> dict[str, Any]:
    """Train one epoch of each kind on tiny data."""
    from otoscope.classifiers import Conv2dClassifier
    from otoscope.training import L2I, LMAC, PIQ, ClassifierTraining

    make_classifier = partial(Conv2dClassifier, width=6, head_width=8)
    tasks = {
        "classifier": lambda: ClassifierTraining(make_classifier, schedule="constant", learning_rate=5e-3),
        "piq": lambda: PIQ(MODELS / "conv2d", codes=12, schedule="constant", learning_rate=3e-3),
        "l2i": lambda: L2I(MODELS / "cnn14", MODELS / "nmf", schedule="constant", learning_rate=3e-3),
        "lmac": lambda: LMAC(MODELS / "cnn14", l_out=0.02, schedule="constant", learning_rate=3e-3),
    }
    return {name: _train(make) for name, make in tasks.items()}


def _train(make: Any) -> dict[str, Any]:
    from otoscope.data import Synthetic
    from otoscope.training import run_training

    torch.manual_seed(0)
    task = make()
    data = Synthetic(clips_per_class=4, classes=CLASSES, duration_s=0.5, batch_size=6, snr_db=(10, 20))
    with tempfile.TemporaryDirectory() as folder:
        results = run_training(task, data, Path(folder) / "run", dict(TRAINER))
    if "scores" not in results:
        return {"accuracy": results["accuracy"], "weights": _of_weights(task.classifier)}
    method, control = list(results["scores"])[:2]
    assert control == "all-pass"
    scores = {"method": results["scores"][method], "all-pass": results["scores"][control]}
    return {**scores, "weights": _of_weights(task.interpreter)}


def _of_weights(module: nn.Module) -> dict[str, float]:
    """Sums over all weights that do not depend on their names and order, which may change."""
    tensors = [value.detach().double() for value in module.state_dict().values() if value.is_floating_point()]
    return {
        "count": float(sum(value.numel() for value in tensors)),
        "sum": math.fsum(float(value.sum()) for value in tensors),
        "absolute": math.fsum(float(value.abs().sum()) for value in tensors),
        "squares": math.fsum(float(value.square().sum()) for value in tensors),
    }


def evaluation() -> dict[str, Any]:
    """Compare three methods on four clips in two conditions."""
    import otoscope
    from otoscope.data import Synthetic
    from otoscope.evaluation import Conditions, Settings, run_evaluation

    data = Synthetic(clips_per_class=12, classes=CLASSES, duration_s=0.5, batch_size=6, snr_db=(0, 10))
    methods = {
        "PIQ": str(model_folder("piq")),
        "refined": {"name": "refined", **CHEAP["refined"]},
        "integrated gradients": {"name": "integrated_gradients", **CHEAP["integrated_gradients"]},
    }
    with tempfile.TemporaryDirectory() as folder:
        results = run_evaluation(
            otoscope.load_classifier(MODELS / "conv2d"),
            methods,
            data,
            Path(folder) / "evaluation",
            Conditions(clean=True, wham=None, white_noise=True, mixture=False, speech=None),
            Settings(
                areas=(0.1, 0.3),
                clips=4,
                batch_size=4,
                bootstrap=100,
                sanity_clips=2,
                randomisation=False,
                stability=False,
            ),
            progress=False,
        ).results
    ranks = {method: checked["rank_correlation"] for method, checked in results["sanity"].items()}
    return {"scores": _means(results["scores"]), "sanity": _means(ranks)}


def _means(content: Mapping[str, Any]) -> Any:
    """Replace every estimate of a nested mapping by its mean."""
    if "mean" in content:
        return content["mean"]
    return {name: _means(part) for name, part in content.items()}


def flatten(content: Any, path: str = "") -> dict[str, float]:
    """Flatten a nested mapping; keys are the paths, and a value that is not defined is NaN."""
    if not isinstance(content, Mapping):
        return {path: math.nan if content is None else float(content)}
    flat: dict[str, float] = {}
    for name, part in content.items():
        flat |= flatten(part, f"{path}/{name}")
    return flat


def conditions() -> dict[str, str]:
    """Return what the last digits depend on."""
    return {
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "maker": _maker(),
    }


def _maker() -> str:
    """Return the maker of the processor, for which libraries round in their own way; empty: unknown."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


def _rounded(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {name: _rounded(part) for name, part in content.items()}
    if content is None or not math.isfinite(content):
        return None
    return float(f"{content:.9g}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compute the golden numbers.")
    parser.add_argument("--write", action="store_true", help="record them in golden.json")
    if parser.parse_args().write:
        content = {"conditions": conditions(), "numbers": _rounded(compute())}
        GOLDEN.write_text(json.dumps(content, indent=1) + "\n")
    else:
        print(json.dumps(_rounded(compute()), indent=1))
