"""A training from data to model folder: fit, keep the best, test it, write down what came out."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from otoscope.data import SoundData
from otoscope.errors import CheckpointError, ConfigurationError, TrainingError
from otoscope.files.json import json_values, write_json
from otoscope.training.callbacks import SaveInterpretations
from otoscope.training.overlap import OverlapTest
from otoscope.training.task import TrainingTask

_QUIETER = {"num_sanity_val_steps": 0, "log_every_n_steps": 1, "enable_model_summary": False}


def run_training(
    task: TrainingTask,
    data: SoundData,
    output_folder: str | Path,
    trainer_options: dict[str, Any] | None = None,
    test_only: bool = False,
    interpretations: SaveInterpretations | None = None,
    overlap: OverlapTest | None = None,
) -> dict[str, Any]:
    """Trains, keeps the best and the last checkpoint, tests the best, and exports it.

    A run that was stopped goes on from its last checkpoint when it is started again. Written to
    ``output_folder``: ``checkpoints/best.ckpt last.ckpt``, ``model/`` (for `otoscope.load`),
    ``metrics.csv``, ``test.json``, and what the task and the callbacks add.

    Args:
        task: What to train.
        data: What to train it on.
        output_folder: Where results go.
        trainer_options: Arguments of `lightning.Trainer`.
        test_only: Evaluate the best checkpoint of an earlier run and do nothing else.
        interpretations: Saves interpretations while training and at test.
        overlap: Explains mixtures of test clips.

    Returns:
        What ``test.json`` holds.

    Raises:
        TrainingError: The loss is not finite, or the disk refuses a checkpoint.
        CheckpointError: There is nothing to test, or the checkpoint is of another model.
    """
    output_folder = Path(output_folder)
    checkpoints = output_folder / "checkpoints"
    best, last = checkpoints / "best.ckpt", checkpoints / "last.ckpt"
    if test_only and task.trains and not best.is_file():
        raise CheckpointError(f"{best}: no such checkpoint to test; train first, without --test_only")
    lightning.seed_everything(task.seed, verbose=False)
    data.prepare_data()
    data.setup("fit")
    task.adapt_to(data.labels)
    if task.frontend.sample_rate_hz != data.sample_rate_hz:
        raise ConfigurationError(
            f"data.sample_rate_hz: the clips come at {data.sample_rate_hz} Hz, the model's front-end takes "
            f"{task.frontend.sample_rate_hz} Hz; set both to the same rate"
        )
    keeper = ModelCheckpoint(
        checkpoints,
        filename="best",
        monitor=task.monitor,
        mode=task.monitor_mode,
        enable_version_counter=False,
    )
    # its own `save_last` would only follow when the best is saved, and a resumed run lose the epochs since then
    latest = ModelCheckpoint(checkpoints, filename="last", enable_version_counter=False)
    callbacks: list[lightning.Callback] = [keeper, latest] if task.trains else []
    callbacks += [one for one in (interpretations, overlap) if one is not None]
    trainer = _trainer(output_folder, callbacks, dict(trainer_options or {}))
    try:
        if task.trains:
            if not test_only:
                _fit(trainer, task, data, last if last.is_file() else None)
            _restore(task, best)
        with _known_warnings():
            trainer.test(task, datamodule=data, verbose=False)
        results = {**task.report(output_folder), "labels": list(data.labels)}
        if trainer.is_global_zero:
            task.export(output_folder / "model", metrics=json_values(results))
            write_json(output_folder / "test.json", results)
    except OSError as error:
        raise TrainingError(
            f"{output_folder}: cannot be written ({error}); free some space or choose another output_folder: "
            "the run goes on from its last checkpoint"
        ) from error
    return results


def _trainer(folder: Path, callbacks: Sequence[lightning.Callback], options: dict[str, Any]) -> lightning.Trainer:
    if options.get("logger") in (None, True):
        options["logger"] = _History(folder, name="", version="", flush_logs_every_n_steps=1)
    options["callbacks"] = [*(options.get("callbacks") or []), *callbacks]
    for name, value in _QUIETER.items():
        if options.get(name) is None:
            options[name] = value
    options["inference_mode"] = False  # no_grad instead: some methods ask the classifier for gradients at test
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        with _known_warnings():
            return lightning.Trainer(default_root_dir=folder, **options)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"trainer: {error}") from error


def _fit(trainer: lightning.Trainer, task: TrainingTask, data: SoundData, resume: Path | None) -> None:
    if resume is not None:
        print(f"Going on from {resume}")
    try:
        with _known_warnings():
            trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=resume is not None)
    except SystemExit:
        if not trainer.interrupted:  # how Lightning answers Ctrl-C
            raise
    except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        damaged = isinstance(error, EOFError | pickle.UnpicklingError) or "PytorchStreamReader" in str(error)
        if resume is not None and damaged:
            raise CheckpointError(f"{resume}: is damaged; delete it to begin again") from error
        if resume is not None and "Tried to step" in str(error):
            raise ConfigurationError(
                f"trainer.max_epochs: {resume} was made by a one_cycle schedule for fewer epochs, which cannot be "
                "lengthened; choose another --output_folder"
            ) from error
        if resume is not None and "state_dict" in str(error):
            raise CheckpointError(
                f"{resume}: belongs to a model with other options; choose another --output_folder"
            ) from error
        raise
    if trainer.interrupted:
        raise TrainingError("stopped by the keyboard; the same command goes on from the last checkpoint")


def _restore(task: TrainingTask, best: Path) -> None:
    if not best.is_file():
        raise CheckpointError(f"{best}: training has kept no checkpoint; is max_epochs at least 1?")
    try:
        state = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
        task.load_state_dict(state)
    except (RuntimeError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{best}: does not fit this model ({str(error).splitlines()[0]})") from error


class _History(CSVLogger):
    """Goes on with the ``metrics.csv`` of an earlier part of the run, which Lightning's own would delete."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        path = Path(self.log_dir) / "metrics.csv"
        former = path.read_text() if self._experiment is None and path.is_file() else ""
        experiment = super().experiment
        if former:
            path.write_text(former)
            experiment.metrics_keys = former.splitlines()[0].split(",")
        return experiment


class _known_warnings(warnings.catch_warnings):  # noqa: N801, a context manager in lower case reads better
    """Silences what Lightning says of choices that are meant: no worker processes, small data sets."""

    def __enter__(self) -> Any:
        result = super().__enter__()
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="lightning")
        warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")
        for pattern in (
            ".*does not have many workers.*",
            ".*number of training batches.*",
            ".*exists and is not empty.*",
        ):
            warnings.filterwarnings("ignore", pattern)
        return result
