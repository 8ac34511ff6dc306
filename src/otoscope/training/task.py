"""What the training of classifiers and of interpreters has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from otoscope.audio import Frontend
from otoscope.errors import TrainingError
from otoscope.training.plateau import HalveOnPlateau

Schedule = Literal["constant", "one_cycle", "cyclic", "plateau"]
OptimizerName = Literal["adam", "adamw"]


class TrainingTask(lightning.LightningModule):
    """Optimiser, schedule, random state and the guard against a loss that is not finite.

    Args:
        learning_rate: Of the optimiser; the highest one where the schedule varies it.
        weight_decay: Of the optimiser.
        optimizer: ``adam`` (published) or ``adamw``.
        schedule: ``constant``, ``one_cycle`` (over the whole training), ``cyclic`` (published for
            classifiers: triangles between a tenth and the whole rate), or ``plateau`` (published for
            PIQ: halve when the monitored value stalls).
        plateau_patience: Epochs without improvement before halving.
        plateau_from_epoch: No halving before.
        warmup: Share of the steps in which ``one_cycle`` rises to the rate.
        seed: Of everything random while training.
    """

    trains: bool = True
    """False: there is nothing to train, a run only evaluates."""
    monitor: str = "valid_loss"
    """The validation metric that chooses the best checkpoint."""
    monitor_mode: Literal["min", "max"] = "min"
    labels: list[str]

    def __init__(
        self,
        learning_rate: float = 2e-4,
        weight_decay: float = 2e-6,
        optimizer: OptimizerName = "adam",
        schedule: Schedule = "constant",
        plateau_patience: int = 3,
        plateau_from_epoch: int = 100,
        warmup: float = 0.2,
        seed: int = 1234,
    ) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimizer_name = optimizer
        self.schedule = schedule
        self.plateau_patience = plateau_patience
        self.plateau_from_epoch = plateau_from_epoch
        self.warmup = warmup
        self.seed = seed

    @property
    @abstractmethod
    def frontend(self) -> Frontend:
        """Makes the spectrograms; the data must have its sample rate."""

    @abstractmethod
    def adapt_to(self, labels: Sequence[str]) -> None:
        """Takes the labels of the data set, before training or evaluation."""

    @abstractmethod
    def export(self, folder: Path, **extra: Any) -> Path:
        """Saves the model, as it is now, as a model folder."""

    @abstractmethod
    def report(self, folder: Path) -> dict[str, Any]:
        """Writes what the last test run found, and returns it as JSON values."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser gets: parameters, and their rate where it is not `learning_rate`."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    def configure_optimizers(self) -> Any:
        """See the class."""
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.optimizer_name]
        groups = self.parameter_groups()
        rate, decay = self.learning_rate, self.weight_decay
        optimizer = kind(groups, lr=rate, weight_decay=decay, fused=self._fuses(groups))
        rates = [group.get("lr", self.learning_rate) for group in groups]
        scheduler: LRScheduler
        if self.schedule in ("constant", "plateau"):
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        if self.schedule == "one_cycle":
            scheduler = OneCycleLR(optimizer, rates, total_steps=steps, pct_start=self.warmup)
        else:
            half = max(1, steps // 6)
            low = [rate / 10 for rate in rates]
            scheduler = CyclicLR(optimizer, low, rates, half, cycle_momentum=False)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _fuses(self, groups: list[dict[str, Any]]) -> bool | None:
        """Whether the optimiser takes its step in one pass over memory, which on a CPU is several times faster.

        None leaves the choice to PyTorch. With mixed precision Lightning clips no gradients of such optimisers.
        """
        parameters = [parameter for group in groups for parameter in group["params"]]
        on_cpu = all(one.device.type == "cpu" and one.is_floating_point() for one in parameters)
        mixed = isinstance(getattr(self._trainer, "precision_plugin", None), MixedPrecision)
        return True if parameters and on_cpu and not mixed else None

    def configure_callbacks(self) -> Any:
        """The plateau schedule, where it is wanted."""
        if self.schedule != "plateau":
            return []
        return [HalveOnPlateau(self.monitor, self.monitor_mode, self.plateau_patience, self.plateau_from_epoch)]

    def on_train_epoch_start(self) -> None:
        """Starts each epoch from its own random state, so that a resumed run equals a whole one."""
        lightning.seed_everything(self.seed + self.current_epoch, verbose=False)

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """The same again: an epoch's loader draws a random number, but not in the first one after resuming."""
        if index == 0:
            lightning.seed_everything(self.seed + self.current_epoch, verbose=False)

    def total(self, terms: Mapping[str, Tensor], stage: str, batch_size: int) -> Tensor:
        """Sums and logs the terms of a loss.

        Raises:
            TrainingError: The sum is not finite while training or validating, before a checkpoint is written.
        """
        loss = torch.stack(list(terms.values())).sum()
        if stage != "test" and not torch.isfinite(loss):
            parts = ", ".join(f"{name} {value.item():.3g}" for name, value in terms.items())
            raise TrainingError(
                f"the loss is not finite in epoch {self.current_epoch}, step {self.global_step} ({parts}); the "
                "last good checkpoint is kept: lower learning_rate, or look for damaged clips"
            )
        values = {f"{stage}_loss": loss} | {f"{stage}_{name}": value for name, value in terms.items()}
        epochwise: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": batch_size}
        self.log_dict(values, sync_dist=True, **epochwise)
        return loss
