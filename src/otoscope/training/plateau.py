"""Halving of the learning rate when validation stalls."""

from __future__ import annotations

from typing import Any, Literal

import lightning
import torch
from typing_extensions import override


class HalveOnPlateau(lightning.Callback):
    """Callback that halves the learning rate when the monitored value has stopped improving.

    Args:
        monitor: Name of the monitored validation metric.
        mode: ``min`` or ``max``.
        patience: Number of validations in a row without improvement that are tolerated; the next one halves the
            rate.
        from_epoch: Number of epochs at the start in which nothing is halved and nothing counts as a stall.
    """

    # This is no scheduler, because Lightning steps schedulers that monitor a metric only after it has written the
    # checkpoint of the epoch. A resumed run would miss that step.

    def __init__(self, monitor: str, mode: Literal["min", "max"], patience: int, from_epoch: int) -> None:
        self.monitor = monitor
        self.sign = 1.0 if mode == "min" else -1.0
        self.patience = patience
        self.from_epoch = from_epoch
        self.best = float("inf")
        self.stalled = 0

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Compare the monitored value with the best so far, and halve the rate after a plateau."""
        if not trainer.training or trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        value = self.sign * float(trainer.callback_metrics[self.monitor])
        improved = value < self.best
        # The best value is tracked from the first epoch on, as PyTorch's scheduler would; only stalls count later.
        self.best = min(self.best, value)
        early = trainer.current_epoch + 1 <= self.from_epoch
        self.stalled = 0 if improved or early else self.stalled + 1
        if self.stalled > self.patience:
            self.stalled = 0
            for optimizer in trainer.optimizers:
                _halve(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs; the rate itself is part of the optimiser's state."""
        return {"best": self.best, "stalled": self.stalled}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.stalled = state_dict["best"], state_dict["stalled"]


def _halve(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= 0.5
