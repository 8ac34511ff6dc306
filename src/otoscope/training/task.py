"""Base of all trainings: optimiser, schedule, random state, and the check that the loss is finite."""

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
from typing_extensions import override

from otoscope.audio import Frontend
from otoscope.errors import ConfigurationError, TrainingError
from otoscope.training.plateau import HalveOnPlateau

Schedule = Literal["constant", "one_cycle", "cyclic", "plateau"]
OptimizerName = Literal["adam", "adamw"]
_SEEDS_OF_RANK = 1_000_003
"""Distance between the seeds of two processes, far above the number of epochs."""


class TrainingTask(lightning.LightningModule):
    """Base class of all trainings.

    Args:
        learning_rate: Learning rate of the optimiser; the highest rate where the schedule varies it.
        weight_decay: Weight decay of the optimiser.
        optimizer: ``adam`` (published) or ``adamw``.
        schedule: ``constant``, ``one_cycle`` (over the whole training), ``cyclic`` (published for
            classifiers: triangles between a tenth of the rate and the rate), or ``plateau`` (published for
            PIQ: the rate is halved when the monitored value stalls).
        plateau_patience: Number of validations in a row without improvement that ``plateau`` tolerates; the next
            one halves the rate.
        plateau_from_epoch: Number of epochs at the start in which ``plateau`` halves nothing.
        warmup: Share of the steps in which ``one_cycle`` rises to the rate, in [0, 1).
        seed: Seed of all random numbers of the training.

    Raises:
        ConfigurationError: ``warmup`` is out of range.
    """

    trains: bool = True
    """Whether there is anything to train; if not, a run only evaluates."""
    monitor: str = "valid_loss"
    """Name of the validation metric that chooses the best checkpoint."""
    monitor_mode: Literal["min", "max"] = "min"
    """Whether the lowest or the highest value of the metric is the best."""
    checkpoint: Literal["best", "last"] = "best"
    """Which checkpoint becomes the model: the best by the monitored metric, or the last, whatever its value."""
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
        if not 0 <= warmup < 1:
            raise ConfigurationError(f"warmup: {warmup} must lie in [0, 1)")
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
        """Front-end that computes the spectrograms; the data must have its sample rate."""

    @property
    def expected_rate_hz(self) -> int:
        """Sample rate of the front-end, also before the labels of the data are known."""
        return self.frontend.sample_rate_hz

    @abstractmethod
    def adapt_to(self, labels: Sequence[str]) -> None:
        """Prepare for the labels of the data set, before training or evaluation."""

    @abstractmethod
    def export(self, folder: Path, **extra: Any) -> Path:
        """Save the model in its present state as a model folder."""

    @abstractmethod
    def report(self, folder: Path) -> dict[str, Any]:
        """Write the results of the last test run to a folder, and return them as JSON values."""

    def choose_start(self) -> None:
        """Choose the weights that training starts from, before the data are prepared, which can take long.

        It is not called when a run resumes from a checkpoint.
        """

    def initialise(self) -> None:
        """Set the weights that training starts from; not called when a run resumes from a checkpoint."""

    def open_published(self, checkpoint: Path) -> bool:
        """Replace the model by a published one, to test it without training.

        Args:
            checkpoint: Checkpoint that would be tested and does not exist.

        Returns:
            Whether there is a published model.

        Raises:
            DownloadError: It cannot be downloaded.
        """
        return False

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters for the optimiser, each group with its rate where it is not ``learning_rate``."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    @override
    def configure_optimizers(self) -> Any:
        optimizer_class = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.optimizer_name]
        groups = self.parameter_groups()
        rate, decay = self.learning_rate, self.weight_decay
        optimizer = optimizer_class(groups, lr=rate, weight_decay=decay, fused=self._fuses(groups))
        rates = [group.get("lr", self.learning_rate) for group in groups]
        scheduler: LRScheduler
        # `plateau` is the callback of `configure_callbacks`
        if self.schedule in ("constant", "plateau"):
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        if self.schedule == "one_cycle":
            scheduler = OneCycleLR(optimizer, rates, total_steps=steps, pct_start=self.warmup)
        else:
            # three triangles: a rise and a fall of a sixth of all steps each
            half = max(1, steps // 6)
            low = [rate / 10 for rate in rates]
            scheduler = CyclicLR(optimizer, low, rates, half, cycle_momentum=False)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _fuses(self, groups: list[dict[str, Any]]) -> bool | None:
        """Return True if the optimiser should make its step in one pass over memory, None for PyTorch's choice."""
        # On a CPU a fused step is several times faster. With mixed precision, however, Lightning refuses to clip
        # the gradients of a fused optimiser.
        parameters = [parameter for group in groups for parameter in group["params"]]
        on_cpu = all(parameter.device.type == "cpu" and parameter.is_floating_point() for parameter in parameters)
        mixed = isinstance(getattr(self._trainer, "precision_plugin", None), MixedPrecision)
        return True if parameters and on_cpu and not mixed else None

    def configure_callbacks(self) -> Any:
        """Return the callback of the ``plateau`` schedule, if it is chosen."""
        if self.schedule != "plateau":
            return []
        return [HalveOnPlateau(self.monitor, self.monitor_mode, self.plateau_patience, self.plateau_from_epoch)]

    def on_train_epoch_start(self) -> None:
        """Seed the random numbers of the epoch."""
        # A resumed run must equal an uninterrupted one. Checkpoints hold no random state, so the state of each
        # epoch depends on nothing but the seed and the number of the epoch.
        lightning.seed_everything(self._seed_of_epoch(), verbose=False)

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """Seed the random numbers of the epoch again, before its first step."""
        # The loader of an epoch draws a random number after `on_train_epoch_start`, but before it in the first
        # epoch after resuming. Without this second seed the steps of the two would differ.
        if index == 0:
            lightning.seed_everything(self._seed_of_epoch(), verbose=False)

    def _seed_of_epoch(self) -> int:
        # Processes that train together augment different clips, so they must not draw the same numbers. What they
        # share is drawn by the first one; see `otoscope.nn.ranks`.
        return (self.seed + self.current_epoch + _SEEDS_OF_RANK * self.global_rank) % 2**32

    def total(self, terms: Mapping[str, Tensor], stage: str, batch_size: int) -> Tensor:
        """Return the sum of the terms of a loss, and log each.

        Args:
            terms: Scalar terms by name.
            stage: ``train``, ``valid`` or ``test``; prefix of the names in the log.
            batch_size: Number of clips; weight of the batch in the mean of the epoch.

        Raises:
            TrainingError: The sum is not finite in training or validation. It is raised before a checkpoint is
                written.
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
