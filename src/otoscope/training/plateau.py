"""Halving the learning rate when validation stalls."""

from __future__ import annotations

from typing import Any, Literal

import lightning
import torch


class HalveOnPlateau(lightning.Callback):
    """Halves the learning rate when the monitored value has not improved for some validations.

    A callback rather than a scheduler, because Lightning steps schedulers that watch a metric after the
    checkpoint of the epoch is written, so that a resumed run would miss a step.

    Args:
        monitor: Name of the watched validation metric.
        mode: ``min`` or ``max``.
        patience: Validations without improvement that are tolerated.
        from_epoch: Nothing is halved, or held against the run, before this epoch.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"], patience: int, from_epoch: int) -> None:
        self.monitor = monitor
        self.sign = 1.0 if mode == "min" else -1.0
        self.patience = patience
        self.from_epoch = from_epoch
        self.best = float("inf")
        self.stalled = 0

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Compares, and halves if it is time."""
        if not trainer.training or trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        value = self.sign * float(trainer.callback_metrics[self.monitor])
        improved = value < self.best
        self.best = min(self.best, value)
        early = trainer.current_epoch + 1 <= self.from_epoch
        self.stalled = 0 if improved or early else self.stalled + 1
        if self.stalled > self.patience:
            self.stalled = 0
            for optimizer in trainer.optimizers:
                _halve(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"best": self.best, "stalled": self.stalled}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `state_dict`."""
        self.best, self.stalled = state_dict["best"], state_dict["stalled"]


def _halve(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= 0.5
