"""A training from data to model folder: fit, keep the best checkpoint, test it, and save model and results."""

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
from otoscope.errors import CheckpointError, ConfigurationError, OtoscopeError, TrainingError
from otoscope.files.json import json_values, write_json
from otoscope.training.callbacks import SaveInterpretations
from otoscope.training.overlap import OverlapTest
from otoscope.training.record import TrainLog, statistics_of_test, write_label_encoder
from otoscope.training.task import TrainingTask

_TRAINER_DEFAULTS = {"num_sanity_val_steps": 0, "log_every_n_steps": 1, "enable_model_summary": False}


def run_training(
    task: TrainingTask,
    data: SoundData,
    output_folder: str | Path,
    trainer_options: dict[str, Any] | None = None,
    test_only: bool = False,
    interpretations: SaveInterpretations | None = None,
    overlap: OverlapTest | None = None,
) -> dict[str, Any]:
    """Train, test the best checkpoint, and export its model.

    A run that was stopped resumes from its last checkpoint when it is started again. These files are written to
    ``output_folder``: ``checkpoints/best.ckpt last.ckpt``, ``model/`` (for `otoscope.load`), ``metrics.csv``,
    ``test.json``, ``train_log.txt``, ``label_encoder.txt``, and the files of the task and of the callbacks.

    Args:
        task: Training task with the model.
        data: Data to train and test on.
        output_folder: Folder of the results.
        trainer_options: Arguments of `lightning.Trainer`.
        test_only: Whether to do nothing but test the best checkpoint of an earlier run, or without one, the
            published model of the task.
        interpretations: Callback that saves interpretations during training and at test.
        overlap: Callback that explains mixtures of test clips.

    Returns:
        Content of ``test.json``.

    Raises:
        TrainingError: The loss is not finite, the disk is full, or the keyboard stopped the run.
        CheckpointError: There is no checkpoint to test, or it is damaged or belongs to another model.
        ConfigurationError: The data or the trainer's options do not suit the model.
    """
    output_folder = Path(output_folder)
    checkpoints = output_folder / "checkpoints"
    best, last = checkpoints / "best.ckpt", checkpoints / "last.ckpt"
    trains = task.trains
    if test_only and trains and not best.is_file():
        if not task.open_published(best):
            raise CheckpointError(f"{best}: no such checkpoint to test; train first, without --test_only")
        trains = False
    if trains and not test_only and not last.is_file():
        task.choose_start()
    lightning.seed_everything(task.seed, verbose=False)
    _prepare(task, data)
    callbacks: list[lightning.Callback] = _checkpoint_callbacks(task, checkpoints) if trains else []
    log = TrainLog(output_folder / "train_log.txt")
    callbacks += [log, *(callback for callback in (interpretations, overlap) if callback is not None)]
    trainer = _trainer(output_folder, callbacks, dict(trainer_options or {}))
    try:
        if trainer.is_global_zero and not test_only:
            write_label_encoder(output_folder / "label_encoder.txt", task.labels)
        epoch = 0
        if trains:
            if not test_only:
                _fit(trainer, task, data, last if last.is_file() else None)
            epoch = _restore(task, best)
        with _ignored_warnings():
            trainer.test(task, datamodule=data, verbose=False)
        results = {**task.report(output_folder), "labels": list(data.labels)}
        if trainer.is_global_zero:
            task.export(output_folder / "model", metrics=json_values(results))
            write_json(output_folder / "test.json", results)
            log.write_test(epoch, statistics_of_test(results, trainer.callback_metrics))
    except OSError as error:
        raise TrainingError(
            f"{output_folder}: cannot be written ({error}); free some space and start the run again, which resumes "
            "from its last checkpoint, or choose another output_folder"
        ) from error
    return results


def _prepare(task: TrainingTask, data: SoundData) -> None:
    """Load the data at the sample rate of the model, and adapt the task to its labels."""
    # before anything is decoded, which can take long
    data.take_rate(task.expected_rate_hz)
    data.prepare_data()
    data.setup("fit")
    task.adapt_to(data.labels)
    if task.frontend.sample_rate_hz != data.sample_rate_hz:
        raise ConfigurationError(
            f"data.sample_rate_hz: the clips come at {data.sample_rate_hz} Hz, but the model's front-end takes "
            f"{task.frontend.sample_rate_hz} Hz; set both to the same rate"
        )


def _checkpoint_callbacks(task: TrainingTask, folder: Path) -> list[lightning.Callback]:
    """Return the callbacks that save the best and the last checkpoint."""
    # without a monitored value, each checkpoint replaces the one before
    monitor = task.monitor if task.checkpoint == "best" else None
    best = ModelCheckpoint(
        folder, filename="best", monitor=monitor, mode=task.monitor_mode, enable_version_counter=False
    )
    # The option `save_last` of the first callback would write the last checkpoint only when there is a new best,
    # and a resumed run would repeat the epochs since then. So a second callback saves it after every validation.
    last = ModelCheckpoint(folder, filename="last", enable_version_counter=False)
    return [best, last]


def _trainer(folder: Path, callbacks: Sequence[lightning.Callback], options: dict[str, Any]) -> lightning.Trainer:
    if options.get("logger") in (None, True):
        options["logger"] = _ResumedCSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    options["callbacks"] = [*(options.get("callbacks") or []), *callbacks]
    for name, value in _TRAINER_DEFAULTS.items():
        if options.get(name) is None:
            options[name] = value
    # Some methods need gradients of the classifier at test. They can be enabled inside no_grad, but not inside
    # inference_mode.
    options["inference_mode"] = False
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        with _ignored_warnings():
            return lightning.Trainer(default_root_dir=folder, **options)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"trainer: {error}") from error


def _fit(trainer: lightning.Trainer, task: TrainingTask, data: SoundData, resume: Path | None) -> None:
    if resume is None:
        task.initialise()
    else:
        print(f"Resuming from {resume}")
    try:
        with _ignored_warnings():
            trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=resume is not None)
    except SystemExit:
        # Lightning answers Ctrl-C by an exit; it becomes an error below.
        if not trainer.interrupted:
            raise
    except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        if resume is not None and (explained := _resume_error(resume, error)):
            raise explained from error
        raise
    if trainer.interrupted:
        raise TrainingError("stopped by the keyboard; the same command resumes from the last checkpoint")


def _resume_error(checkpoint: Path, error: Exception) -> OtoscopeError | None:
    """Return an error that explains why a run could not resume; None if the checkpoint is not the reason."""
    message = str(error)
    if isinstance(error, EOFError | pickle.UnpicklingError) or "PytorchStreamReader" in message:
        return CheckpointError(f"{checkpoint}: is damaged; delete it to begin again")
    # OneCycleLR refuses more steps than it was made for.
    if "Tried to step" in message:
        return ConfigurationError(
            f"trainer.max_epochs: {checkpoint} was made by a one_cycle schedule for fewer epochs, which cannot be "
            "lengthened; choose another --output_folder"
        )
    if "state_dict" in message:
        return CheckpointError(
            f"{checkpoint}: belongs to a model with other options; choose another --output_folder"
        )
    return None


def _restore(task: TrainingTask, best: Path) -> int:
    """Load the weights of a checkpoint, and return the number of its epoch, from 1."""
    if not best.is_file():
        raise CheckpointError(f"{best}: training has saved no checkpoint; is max_epochs at least 1?")
    try:
        checkpoint = torch.load(best, map_location="cpu", weights_only=True)
        task.on_load_checkpoint(checkpoint)
        task.load_state_dict(checkpoint["state_dict"])
        return int(checkpoint["epoch"]) + 1
    except (RuntimeError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{best}: does not fit this model ({str(error).splitlines()[0]})") from error


class _ResumedCSVLogger(CSVLogger):
    """Logger that continues the ``metrics.csv`` of an earlier part of the run, which `CSVLogger` would delete."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        path = Path(self.log_dir) / "metrics.csv"
        # The file is deleted when the experiment is made, so its content is read before and written back after.
        former = path.read_text() if self._experiment is None and path.is_file() else ""
        experiment = super().experiment
        if former:
            path.write_text(former)
            experiment.metrics_keys = former.splitlines()[0].split(",")
        return experiment


class _ignored_warnings(warnings.catch_warnings):  # noqa: N801, a context manager in lower case reads better
    """Context in which Lightning does not warn about intended choices, such as no worker processes."""

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
