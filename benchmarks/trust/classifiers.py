"""The narrow classifiers of the table and the interpreters of them, trained where they are not there yet."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from benchmarks.waveform_network import train_waveform_classifier

from otoscope.classifiers import Classifier, save_classifier
from otoscope.data import ESC50, PlantedCues, SoundData, Synthetic
from otoscope.loading import load_classifier
from otoscope.training import L2I, LMAC, PIQ, ClassifierTraining, HeardLMAC, NMFTraining, run_training

CLASSIFIERS = ("conv2d", "cnn14", "vit", "focalnet", "waveform")
KINDS = ("esc10", "synthetic", "planted")
_RECIPES = Path(__file__).parents[2] / "recipes/ESC50/classification/hparams"
_EPOCHS = {
    "conv2d:synthetic": 15,
    "cnn14:synthetic": 15,
    "vit:synthetic": 60,
    "waveform:esc10": 40,
    "waveform:planted": 40,
}
"""Epochs where those of the recipe are more than needed, or where there is no recipe."""
_USUAL_EPOCHS = 50
_DICTIONARY_EPOCHS = 20
_SHORT: dict[str, Any] = {"optimizer": "adamw", "schedule": "one_cycle"}
_CACHED: dict[str, Any] = {"learning_rate": 1e-3, "cache_representations": True, **_SHORT}


@dataclass(frozen=True)
class Variant:
    """A training of an interpreter.

    Attributes:
        title: Name in the tables.
        make: Makes the training of a classifier; that of L2I also takes a dictionary.
        epochs: Number of epochs.
        batch_size: Clips of a batch.
        needs_dictionary: Whether the training takes a dictionary.
    """

    title: str
    make: Callable[..., Any]
    epochs: int
    batch_size: int = 16
    needs_dictionary: bool = False


INTERPRETERS = {
    "lmac": Variant("L-MAC", partial(LMAC, **_CACHED), 25),
    "heard_lmac": Variant("heard L-MAC", partial(HeardLMAC, learning_rate=4e-3, crop_s=2.0, **_SHORT), 28, 4),
    "piq": Variant("PIQ", partial(PIQ, **_CACHED), 25),
    "piq_few_codes": Variant("PIQ, 128 codes", partial(PIQ, codes=128, **_CACHED), 25),
    "piq_fine": Variant("PIQ, finer codes", partial(PIQ, code_stride=1, **_CACHED), 25),
    "piq_fine_few_codes": Variant("PIQ, 128 finer codes", partial(PIQ, code_stride=1, codes=128, **_CACHED), 25),
    "piq_plain": Variant("PIQ without codes", partial(PIQ, use_vq=False, **_CACHED), 25),
    "piq_quieter": Variant(
        "PIQ, finer codes, quieter bins", partial(PIQ, code_stride=1, mask_threshold=0.2, **_CACHED), 25
    ),
    "piq_published": Variant("PIQ, published decoder", partial(PIQ, decoder="published", **_CACHED), 8),
    "l2i": Variant("L2I", partial(L2I, **_CACHED), 25, needs_dictionary=True),
}
"""Trainings of interpreters by name: those of `METHODS`, and variants of PIQ."""


def make_data(kind: str, data_folder: Path | None, test_fold: int = 4) -> SoundData:
    """Return data of a kind.

    Args:
        kind: One of `KINDS`.
        data_folder: Folder of ESC-50; synthetic data needs none.
        test_fold: Fold of the tests; with 3, clips of the validation are explained, to choose settings.
    """
    if kind == "synthetic":
        return Synthetic(batch_size=16)
    folds: dict[str, Any] = {"train_folds": [1, 2], "valid_folds": [7 - test_fold], "test_folds": [test_fold]}
    if kind == "esc10":
        return ESC50(str(data_folder), **folds, batch_size=16)
    options = dict(_recipe("conv2d_planted")["data"]["init_args"])
    return PlantedCues(options.pop("cues"), data_folder, of_options=folds, batch_size=16, **options)


def make_training(name: str, kind: str) -> tuple[ClassifierTraining, int]:
    """Return the training of a narrow classifier as its hyperparameter file describes it, and its epochs."""
    content = _recipe(f"{name}_narrow")
    options = dict(content["model"]["init_args"])
    described = options.pop("classifier")
    module, _, class_name = described["class_path"].rpartition(".")
    make: Any = partial(getattr(importlib.import_module(module), class_name), **described.get("init_args", {}))
    if kind == "planted":
        # mixing and shifting would hide a quiet cue
        options |= {"time_shift": False, "mixup_alpha": 0.0, "label_smoothing": 0.0}
    return ClassifierTraining(make, **options), _EPOCHS.get(f"{name}:{kind}", int(content["trainer"]["max_epochs"]))


def _recipe(name: str) -> dict[str, Any]:
    """Return the content of a hyperparameter file of a classifier."""
    content: dict[str, Any] = yaml.safe_load((_RECIPES / f"{name}.yaml").read_text())
    return content


def trained(name: str, kind: str, folder: Path, data_folder: Path | None) -> Classifier:
    """Return the classifier of a kind of data, which is trained unless the folder holds it."""
    place = folder / f"{name}_{kind}"
    if not (place / "model" / "config.json").is_file() and name == "waveform":
        data = make_data(kind, data_folder)
        epochs = _EPOCHS.get(f"{name}:{kind}", _USUAL_EPOCHS)
        save_classifier(train_waveform_classifier(data, epochs, shift=kind != "planted"), place / "model")
    elif not (place / "model" / "config.json").is_file():
        task, epochs = make_training(name, kind)
        options = {"accelerator": "cpu", "max_epochs": epochs, "enable_progress_bar": False}
        run_training(task, make_data(kind, data_folder), place, options)
    return load_classifier(place / "model").freeze()


def trained_interpreter(method: str, name: str, kind: str, folder: Path, data_folder: Path | None) -> Path:
    """Return the model folder of an interpreter on a kind of data, which is trained unless the folder holds it.

    Args:
        method: One of `INTERPRETERS`, or a method whose folder is there already.
        name: One of `CLASSIFIERS`.
        kind: One of `KINDS`.
        folder: Folder of the classifiers and interpreters.
        data_folder: Folder of ESC-50; synthetic data needs none.
    """
    place = folder / f"{method}_{name}_{kind}"
    if not (place / "model" / "config.json").is_file() and method in INTERPRETERS:
        trained(name, kind, folder, data_folder)
        variant = INTERPRETERS[method]
        data = make_data(kind, data_folder)
        data.batch_size = variant.batch_size
        of = [folder / f"{name}_{kind}" / "model"]
        if variant.needs_dictionary:
            of.append(_dictionary(kind, folder, data_folder))
        run_training(variant.make(*of), data, place, _trainer(variant.epochs))
    return place / "model"


def _dictionary(kind: str, folder: Path, data_folder: Path | None) -> Path:
    """Return the dictionary of a kind of data, which is trained unless the folder holds it."""
    place = folder / f"nmf_{kind}"
    if not (place / "model" / "config.json").is_file():
        run_training(NMFTraining(), make_data(kind, data_folder), place, _trainer(_DICTIONARY_EPOCHS))
    return place / "model"


def _trainer(epochs: int) -> dict[str, Any]:
    """Return options of a trainer that validates once, at the end."""
    options: dict[str, Any] = {"accelerator": "cpu", "max_epochs": epochs, "enable_progress_bar": False}
    return options | {"check_val_every_n_epoch": epochs}
