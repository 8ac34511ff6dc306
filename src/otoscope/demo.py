"""The whole story on synthetic sounds: train, explain, score against the known truth."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

from otoscope.classifiers import Conv2dClassifier
from otoscope.data import Synthetic
from otoscope.explain import load
from otoscope.files.json import write_json
from otoscope.metrics import SCORES, scores_shown
from otoscope.scoring import format_table
from otoscope.training import PIQ, ClassifierTraining, run_training
from otoscope.training.callbacks import spread

COLUMNS = scores_shown("demo")
_QUIET: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_progress_bar": True}


def run_demo(folder: Path, seed: int = 0, clips: int = 8) -> dict[str, Any]:
    """Trains a small classifier and PIQ on synthetic scenes, explains held-out ones, prints the table.

    Args:
        folder: Gets ``classifier/``, ``piq/``, ``explanations/`` and ``summary.json``.
        seed: Makes the sounds and the training.
        clips: Held-out clips to explain.

    Returns:
        What ``summary.json`` holds.
    """
    start = time.monotonic()
    for part in ("classifier", "piq"):  # a demo begins anew, it does not go on with an earlier one
        shutil.rmtree(folder / part / "checkpoints", ignore_errors=True)
    data = Synthetic(clips_per_class=24, batch_size=16, seed=seed)
    print("1/4 Training a classifier of synthetic sounds (the event of each clip is known exactly) ...")
    accuracy = _train_classifier(data, folder / "classifier", seed)["accuracy"]
    print(f"    test accuracy {100 * accuracy:.0f} % on {len(data.labels)} classes")
    print("2/4 Training PIQ to explain it ...")
    scores = _train_piq(data, folder / "piq", folder / "classifier" / "model", seed)["scores"]
    print(f"3/4 Explaining {clips} held-out clips ...")
    _explain(data, folder, clips)
    print("4/4 Scores on all held-out clips; the rows below PIQ are controls that know nothing of the classifier\n")
    print(format_table(scores, COLUMNS))
    print(f"\n{_reading(scores)}\n")
    seconds = time.monotonic() - start
    print(f"Listen to {folder}/explanations/*/interpretation.wav beside original.wav, look at spectra.png;")
    print(f"all numbers: {folder}/summary.json. {seconds:.0f} s.")
    summary = {"accuracy": accuracy, "scores": scores, "seed": seed, "seconds": round(seconds, 1)}
    write_json(folder / "summary.json", summary)
    return summary


def _train_classifier(data: Synthetic, folder: Path, seed: int) -> dict[str, Any]:
    task = ClassifierTraining(
        partial(Conv2dClassifier, width=24, scale=20.0),
        learning_rate=3e-3,
        weight_decay=1e-2,
        optimizer="adamw",
        schedule="one_cycle",
        time_shift=True,
        seed=seed,
    )
    return run_training(task, data, folder, {**_QUIET, "max_epochs": 10})


def _train_piq(data: Synthetic, folder: Path, classifier: Path, seed: int) -> dict[str, Any]:
    # thresholded activations: they learn faster than masks, which stay timid for long
    task = PIQ(
        classifier,
        codes=256,
        use_mask_output=False,
        mask_threshold=0.5,
        learning_rate=3e-3,
        schedule="one_cycle",
        seed=seed,
    )
    return run_training(task, data, folder, {**_QUIET, "max_epochs": 15})


def _explain(data: Synthetic, folder: Path, clips: int) -> None:
    explainer = load(folder / "piq" / "model")
    for index in spread(len(data.test_set), clips):  # type: ignore[arg-type]
        clip = data.test_set[index]
        explanation = explainer.explain(clip.waveform, name=clip.name)
        explanation.save(folder / "explanations" / clip.name)
        print("    " + explanation.summary())


def _reading(scores: dict[str, dict[str, float]]) -> str:
    """Which of the method and each control of equal area is better, score by score."""
    lines = []
    for control in ("random", "loudest"):
        won = [name for name in COLUMNS if _better(name, scores["PIQ"], scores[control])]
        lost = [name for name in COLUMNS if _better(name, scores[control], scores["PIQ"])]
        lines.append(f"PIQ against {control}: better on {_list(won)}; worse on {_list(lost)}.")
    return "\n".join(lines)


def _better(name: str, one: dict[str, float], other: dict[str, float]) -> bool:
    direction = SCORES[name].better
    if direction == "neither" or name not in one or name not in other:
        return False
    return one[name] > other[name] if direction == "higher" else one[name] < other[name]


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"
