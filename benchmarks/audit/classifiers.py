"""Small classifiers of ESC-10 for the benchmark, with a planted cue or without one, trained in about a minute."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.audit.cases import Case
from torch.utils.data import ConcatDataset, Dataset
from typing_extensions import override

from otoscope.audit.statistics import FEWEST_RECORDINGS
from otoscope.classifiers import Classifier, Conv2dClassifier
from otoscope.data import ESC50, Clip, PlantedCues, SoundData
from otoscope.data.planted import plant
from otoscope.data.planted.dataset import PlantedClips
from otoscope.loading import load_classifier
from otoscope.training import ClassifierTraining, run_training

RELABELLED = 0.3
"""Share of the other training clips that carry the cue and the label of its class, so that the cue decides."""


class _PlantedOnce(PlantedCues):
    """Planted clips that are kept in memory, because planting takes as long as a step of so small a network."""

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        if not hasattr(self, "_kept"):
            sets: list[Any] = [self.train_set, self.valid_set]
            self._kept: list[Any] = [[clips[index] for index in range(len(clips))] for clips in sets]
        self.train_set, self.valid_set = self._kept


def make_source(data_folder: Path) -> ESC50:
    """Return the clips without cues: folds 1 and 2 for training, 3 for the checkpoint, 3 and 4 for the audit."""
    return ESC50(data_folder, [1, 2], [3], [4], batch_size=16, download=False)


def labels_to_plant(source: ESC50) -> list[str]:
    """Return the classes with enough recordings in the clips of the audit, so that each half of them can test.

    A class of fewer recordings may well be learnt by a shortcut. But the audit can only call it one there if both
    halves suggest it; the measurement is of what it finds where the data suffice.
    """
    recordings: dict[int, set[str]] = defaultdict(set)
    sets: tuple[Any, Any] = (source.valid_set, source.test_set)
    for clips in sets:
        for file in clips.files:
            recordings[file.target].add(file.recording or str(file.path))
    return [label for index, label in enumerate(source.labels) if len(recordings[index]) >= 2 * FEWEST_RECORDINGS]


def make_data(case: Case, data_folder: Path) -> SoundData:
    """Return the data that a classifier is trained on."""
    if case.cue is None or case.label is None:
        return make_source(data_folder)
    folds = {"train_folds": [1, 2], "valid_folds": [3], "test_folds": [4], "download": False}
    return _PlantedOnce(
        {case.label: case.cue}, data_folder, of_options=folds, relabelled=RELABELLED, batch_size=16, seed=case.seed
    )


def audit_clips(case: Case, source: ESC50) -> Dataset[Clip]:
    """Return the clips of the audit, none of which was trained on; those of the case's class carry its cue."""
    cues = {source.labels.index(case.label): case.cue} if case.cue is not None and case.label is not None else {}
    sets = (source.valid_set, source.test_set)
    return ConcatDataset(
        [PlantedClips(clips, cues, source.sample_rate_hz, case.seed, certain=True) for clips in sets]
    )


def trained(case: Case, folder: Path, data_folder: Path, width: int, epochs: int) -> Classifier:
    """Return the classifier of a case, which is trained unless the folder holds it."""
    if not (folder / "model" / "config.json").is_file():
        training: dict[str, Any] = {
            "optimizer": "adamw",
            "learning_rate": 0.004,
            "weight_decay": 0.01,
            "schedule": "one_cycle",
            "seed": case.seed,
        }
        # mixing and shifting would hide a quiet cue; clean classifiers are trained alike
        plain: dict[str, Any] = {"time_shift": False, "mixup_alpha": 0.0, "label_smoothing": 0.0}
        task = ClassifierTraining(partial(Conv2dClassifier, width=width, scale=20.0), **training, **plain)
        options = {"accelerator": "cpu", "max_epochs": epochs, "enable_progress_bar": False}
        run_training(task, make_data(case, data_folder), folder, options)
    return load_classifier(folder / "model").freeze()


@torch.no_grad()
def use_of_cue(case: Case, classifier: Classifier, source: ESC50) -> dict[str, float]:
    """Return how far the classifier uses its cue, by planting it: the truth that the audit is compared with.

    The clips are those of the audit: if its decisions on them do not depend on the cue, nothing can be found there.

    Returns:
        ``with_cue``: accuracy on the class with the cue; ``without_cue``: the same without it; ``turned``: share of
        the clips of other classes that become the class with the cue.
    """
    if case.cue is None or case.label is None:
        return {}
    target, rate_hz = classifier.labels.index(case.label), source.sample_rate_hz
    decisions: dict[str, list[bool]] = {"with_cue": [], "without_cue": [], "turned": []}
    sets: tuple[Any, Any] = (source.valid_set, source.test_set)
    for clip in (clips[index] for clips in sets for index in range(len(clips))):
        planted = plant(clip.waveform, case.cue, rate_hz, clip.name, case.seed)
        sounds = torch.stack([planted.waveform, clip.waveform])
        taken = (classifier.logits(classifier.hear(sounds, with_phase=False)).argmax(1) == target).tolist()
        if clip.target == target:
            decisions["with_cue"].append(taken[0])
            decisions["without_cue"].append(taken[1])
        elif not taken[1]:
            decisions["turned"].append(taken[0])
    return {name: round(float(np.mean(values)), 3) for name, values in decisions.items() if values}
