"""A training from data to model folder: fit, keep the best checkpoint, test it, and save model and results."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import LayerSync

from otoscope.data import SoundData
from otoscope.errors import CheckpointError, ConfigurationError, OtoscopeError, TrainingError
from otoscope.files.atomic import remove_stale_below
from otoscope.files.json import json_values, write_json
from otoscope.training.batch_norm import SharedBatchNorms
from otoscope.training.callbacks import SaveInterpretations
from otoscope.training.checkpoints import (
    BEST_NAME,
    AtomicCheckpointIO,
    Resumption,
    find_resumption,
    load_tested,
)
from otoscope.training.metrics_table import MetricsTable, WriteMetrics
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
    best = checkpoints / BEST_NAME
    remove_stale_below(output_folder)
    trains = task.trains
    if test_only and trains and not best.is_file():
        if not task.open_published(best):
            raise CheckpointError(f"{best}: no such checkpoint to test; train first, without --test_only")
        trains = False
    fits = trains and not test_only
    resumption = find_resumption(checkpoints) if fits else None
    if fits and resumption is None:
        task.choose_start()
    lightning.seed_everything(task.seed, verbose=False)
    _prepare(task, data)
    callbacks: list[lightning.Callback] = _checkpoint_callbacks(task, checkpoints) if trains else []
    log = TrainLog(output_folder / "train_log.txt")
    callbacks += [log, *(callback for callback in (interpretations, overlap) if callback is not None)]
    last_epoch = None if not fits else -1 if resumption is None else resumption.epoch
    options = _with_files(dict(trainer_options or {}), MetricsTable(output_folder, last_epoch), resumption)
    trainer = _trainer(output_folder, callbacks, options)
    try:
        if trainer.is_global_zero and not test_only:
            write_label_encoder(output_folder / "label_encoder.txt", task.labels)
        epoch = 0
        if trains:
            if fits:
                _fit(trainer, task, data, resumption)
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
    # At the end of an epoch, also where validation is rarer or more frequent: a run resumes between two epochs.
    common: dict[str, Any] = {"enable_version_counter": False, "save_on_train_epoch_end": True}
    best = ModelCheckpoint(folder, filename="best", monitor=monitor, mode=task.monitor_mode, **common)
    # The option `save_last` of the first callback would write the last checkpoint only when there is a new best,
    # and a resumed run would repeat the epochs since then. So a second callback saves it after every validation.
    last = ModelCheckpoint(folder, filename="last", **common)
    return [best, last]


def _with_files(options: dict[str, Any], table: MetricsTable, resumption: Resumption | None) -> dict[str, Any]:
    """Return the options of the trainer with the writers of ``metrics.csv`` and of the checkpoints."""
    if options.get("logger") in (None, True):
        options["logger"] = table
        options["callbacks"] = [*(options.get("callbacks") or []), WriteMetrics()]
    plugins = options.get("plugins") or []
    plugins = list(plugins) if isinstance(plugins, list | tuple) else [plugins]
    # These strategies write checkpoints of several files by themselves.
    own_files = str(options.get("strategy", "")).startswith(("fsdp", "deepspeed"))
    if not own_files and not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        lost = resumption is not None and resumption.best_is_lost
        plugins = [*plugins, AtomicCheckpointIO(forgets_best=lost)]
    # PyTorch's own way of sharing the statistics, which `sync_batchnorm` chooses, works on GPUs only.
    if not options.get("sync_batchnorm") and not any(isinstance(plugin, LayerSync) for plugin in plugins):
        plugins = [*plugins, SharedBatchNorms()]
    return {**options, "plugins": plugins}


def _trainer(folder: Path, callbacks: Sequence[lightning.Callback], options: dict[str, Any]) -> lightning.Trainer:
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


def _fit(trainer: lightning.Trainer, task: TrainingTask, data: SoundData, resumption: Resumption | None) -> None:
    if resumption is None:
        task.initialise()
    elif trainer.is_global_zero:
        print(f"Resuming from {resumption.path}")
    resume = None if resumption is None else resumption.path
    try:
        with _ignored_warnings():
            trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=resume is not None)
    except SystemExit:
        # Lightning answers Ctrl-C by an exit; it becomes an error below.
        if not trainer.interrupted:
            raise
    except (RuntimeError, KeyError, ValueError) as error:
        if resume is not None and (explained := _resume_error(resume, error)):
            raise explained from error
        raise
    if trainer.interrupted:
        raise TrainingError("stopped by the keyboard; the same command resumes from the last checkpoint")


def _resume_error(checkpoint: Path, error: Exception) -> OtoscopeError | None:
    """Return an error that explains why a run could not resume; None if the checkpoint is not the reason."""
    message = str(error)
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
    """Load the weights of the checkpoint that becomes the model, and return the number of its epoch, from 1."""

    def use(checkpoint: dict[str, Any]) -> None:
        task.on_load_checkpoint(checkpoint)
        task.load_state_dict(checkpoint["state_dict"])

    return load_tested(best, use)


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
            # before the first validation, where it does not follow every epoch
            ".*could not find the monitored key.*",
        ):
            warnings.filterwarnings("ignore", pattern)
        return result
