"""Files of a run that users of SpeechBrain's recipes look for: ``train_log.txt`` and ``label_encoder.txt``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning

from otoscope.files.atomic import replace_text

_NUMBER = re.compile(r"(?:epoch|Epoch loaded): (\d+)")
_REFERENCE_NAMES = {"accuracy": "acc"}
"""Names in the log by our own, where the two differ."""
_SEPARATOR = "================"


class TrainLog(lightning.Callback):
    """Callback that writes a line per epoch to ``train_log.txt``, and one per test.

    A resumed run replaces the lines of the epochs that it repeats; a test replaces the line of an earlier test of
    the same epoch.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rate: float | None = None
        self._validated = False

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note the learning rate, which a schedule may change before the end of the epoch."""
        self._rate = trainer.optimizers[0].param_groups[0].get("lr")
        self._validated = False

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note that the epoch has values of validation; without it those of an earlier epoch would be repeated."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the line of the epoch."""
        # Lightning saves checkpoints after this hook. A run that stops between the two repeats the epoch, and
        # replaces its line.
        if not trainer.is_global_zero:
            return
        number = trainer.current_epoch + 1
        line = f"epoch: {number}" + ("" if self._rate is None else f", lr: {self._rate:.2e}")
        for stage in ("train", "valid") if self._validated else ("train",):
            prefix = f"{stage}_"
            values = {
                name.removeprefix(prefix): float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith(prefix)
            }
            # A run that resumes at the end of an epoch has no values of it; the line of the epoch stands already.
            if stage == "train" and not values:
                return
            line += f" - {_listed(stage, values)}"
        self._write(number, line, lambda former, _: former < number)

    def write_test(self, epoch: int, statistics: Mapping[str, float]) -> None:
        """Write the line of a test.

        Args:
            epoch: Number of the tested epoch, from 1; 0 if nothing was trained.
            statistics: Results of the test by name.
        """
        line = f"Epoch loaded: {epoch} - {_listed('test', statistics)}"
        self._write(epoch, line, lambda former, is_test: not (is_test and former == epoch))

    def _write(self, number: int, line: str, stays: Any) -> None:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        numbers = [_NUMBER.match(former) for former in lines]
        remaining = [
            former
            for former, match in zip(lines, numbers, strict=True)
            if match is not None and stays(int(match[1]), former.startswith("Epoch loaded"))
        ]
        replace_text(self.path, "\n".join([*remaining, line]) + "\n")


def statistics_of_test(results: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, float]:
    """Select the numbers of a test that belong into ``train_log.txt``.

    Args:
        results: Content of ``test.json``.
        metrics: Metrics that Lightning collected.
    """
    values = {"loss": metrics["test_loss"]} if "test_loss" in metrics else {}
    values |= {name: value for name, value in results.items() if isinstance(value, int | float) and name != "clips"}
    # the first row is the method, the others are its controls
    values |= next(iter(results.get("scores", {}).values()), {}) | results.get("nmf", {})
    return {name: float(value) for name, value in values.items()}


def write_label_encoder(path: Path, labels: Sequence[str]) -> None:
    """Write the labels in the order of the logits, in the format of SpeechBrain's label encoder."""
    lines = [f"{label!r} => {index}" for index, label in enumerate(labels)]
    replace_text(path, "\n".join([*lines, _SEPARATOR, "'starting_index' => 0"]) + "\n")


def _listed(stage: str, values: Mapping[str, float]) -> str:
    """Return values as in ``train loss: 0.52, train acc: 0.8``, the loss first."""
    named = {_REFERENCE_NAMES.get(name, name): value for name, value in values.items()}
    order = sorted(named, key=lambda name: (name != "loss", name != "acc"))
    return ", ".join(f"{stage} {name}: {_rounded(named[name])}" for name in order)


def _rounded(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "nan"
