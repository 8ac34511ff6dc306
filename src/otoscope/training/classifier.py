"""Training of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from otoscope.audio import Frontend, peak_normalize
from otoscope.classifiers import Classifier, save_classifier
from otoscope.data import Batch
from otoscope.errors import ConfigurationError, TrainingError
from otoscope.plots import confusion_picture
from otoscope.training.augmentation import drop_bands, mix_up, shift_in_time
from otoscope.training.task import OptimizerName, Schedule, TrainingTask


class ClassifierTraining(TrainingTask):
    """Trains a classifier; the best checkpoint is the one with the highest validation accuracy.

    Args:
        classifier: Makes the classifier from the labels of the data set.
        frequency_drops: Bands of frequency silenced in each clip; 0 for none.
        widest_frequency_drop: Widest band, as a share of all frequencies.
        chunk_drops: Chunks of time silenced in each clip; 0 for none.
        widest_chunk_drop: Longest chunk, as a share of the clip.
        time_shift: Rotate each clip by a random time.
        mixup_alpha: Mix the clips of a batch, with shares from this beta distribution; 0 for never.
        mixup_probability: Share of the batches that are mixed.
        label_smoothing: Share of the target spread over all classes.
        layer_decay: The rate of each layer is so much times that of the next one; below 1 it spares pretrained
            layers. See `Classifier.layers`.
        head_epochs: In the first so many epochs only the last layer is trained.
        warmup: Share of the steps in which ``one_cycle`` rises to the rate.
        learning_rate: Highest rate of the optimiser.
        weight_decay: Of the optimiser.
        optimizer: ``adam`` or ``adamw``.
        schedule: Of the learning rate.
        seed: Of everything random while training.
    """

    monitor = "valid_accuracy"
    monitor_mode = "max"

    def __init__(
        self,
        classifier: Callable[[Sequence[str]], Classifier],
        frequency_drops: int = 2,
        widest_frequency_drop: float = 0.1,
        chunk_drops: int = 2,
        widest_chunk_drop: float = 0.1,
        time_shift: bool = False,
        mixup_alpha: float = 0.0,
        mixup_probability: float = 0.5,
        label_smoothing: float = 0.0,
        layer_decay: float = 1.0,
        head_epochs: int = 0,
        warmup: float = 0.2,
        learning_rate: float = 2e-4,
        weight_decay: float = 2e-6,
        optimizer: OptimizerName = "adam",
        schedule: Schedule = "cyclic",
        seed: int = 1234,
    ) -> None:
        super().__init__(learning_rate, weight_decay, optimizer, schedule, warmup=warmup, seed=seed)
        if not 0 < layer_decay <= 1 or head_epochs < 0 or not 0 <= warmup < 1:
            raise ConfigurationError(
                "classifier training: layer_decay must lie in (0, 1], warmup in [0, 1), head_epochs must not be "
                "negative"
            )
        if min(frequency_drops, chunk_drops, mixup_alpha) < 0 or not 0 <= label_smoothing < 1:
            raise ConfigurationError(
                "classifier training: frequency_drops, chunk_drops and mixup_alpha must not be negative, "
                "label_smoothing must lie in [0, 1)"
            )
        self.make_classifier = classifier
        self.drops = (frequency_drops, widest_frequency_drop, chunk_drops, widest_chunk_drop)
        self.time_shift = time_shift
        self.mixup_alpha = mixup_alpha
        self.mixup_probability = mixup_probability
        self.label_smoothing = label_smoothing
        self.layer_decay = layer_decay
        self.head_epochs = head_epochs
        self.classifier: Classifier

    @property
    def frontend(self) -> Frontend:
        """See `TrainingTask.frontend`."""
        return self.classifier.frontend

    def adapt_to(self, labels: Sequence[str]) -> None:
        """Makes the classifier for the labels of the data set."""
        self.labels = list(labels)
        self.classifier = self.make_classifier(self.labels)
        self._trainable = [parameter for parameter in self.classifier.parameters() if parameter.requires_grad]
        count = len(self.labels)
        # torchmetrics wants two classes at least
        self.accuracy = torch.nn.ModuleDict(
            {stage: MulticlassAccuracy(max(count, 2), average="micro") for stage in ("fit", "valid", "test")}
        )
        self.confusion = MulticlassConfusionMatrix(max(count, 2))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """A group for each layer; see ``layer_decay``."""
        layers = self.classifier.layers()
        left = dict.fromkeys(self.classifier.parameters())
        groups: list[dict[str, Any]] = []
        for above, layer in enumerate(reversed(layers)):
            own = [parameter for parameter in layer.parameters() if parameter in left]
            for parameter in own:
                del left[parameter]
            groups.append({"params": own, "lr": self.learning_rate * self.layer_decay**above})
        if left:  # what belongs to no layer goes with the last
            groups[0]["params"] = [*groups[0]["params"], *left]
        return [group for group in groups if group["params"]]

    def on_train_epoch_start(self) -> None:
        """Freezes all but the last layer for as long as is asked; what the classifier froze itself stays frozen."""
        super().on_train_epoch_start()
        head_first = self.current_epoch < self.head_epochs
        last = set(self.classifier.layers()[-1].parameters())
        for parameter in self._trainable:
            parameter.requires_grad_(not head_first or parameter in last)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Augments, classifies, and returns the cross-entropy."""
        if len(batch) == 1:
            raise TrainingError(
                "data: batch normalisation cannot be trained on one clip; set batch_size to 2 or more"
            )
        waveform, partner, share = batch.waveform, None, None
        if self.time_shift:
            waveform = shift_in_time(waveform)
        mixing = self.mixup_alpha > 0 and bool(torch.rand(()) < self.mixup_probability)
        if mixing:
            mixed, partner, share = mix_up(waveform, self.mixup_alpha)
            waveform = peak_normalize(mixed)
        log_magnitude = self.classifier.frontend.log_magnitude(waveform)
        bands, widest_band, chunks, widest_chunk = self.drops
        if bands:
            log_magnitude = drop_bands(log_magnitude, bands, widest_band, dim=1)
        if chunks:
            log_magnitude = drop_bands(log_magnitude, chunks, widest_chunk, dim=2)
        # rotating or mixing fills the padding of shorter clips, so that it is no padding any more
        filled = self.time_shift or mixing
        logits = self.classifier(log_magnitude, None if filled else self._frames(batch)).logits
        loss = self._cross_entropy(logits, batch.target, partner, share)
        self._log_accuracy("fit", logits, batch.target)
        return self.total({"cross_entropy": loss}, "train", len(batch))

    def validation_step(self, batch: Batch, index: int) -> None:
        """Loss and accuracy."""
        logits = self._logits(batch)
        self.total({"cross_entropy": F.cross_entropy(logits, batch.target)}, "valid", len(batch))
        self._log_accuracy("valid", logits, batch.target)

    def test_step(self, batch: Batch, index: int) -> None:
        """Accuracy and confusions."""
        logits = self._logits(batch)
        self._log_accuracy("test", logits, batch.target)
        self.confusion.update(logits.argmax(-1), batch.target)

    def report(self, folder: Path) -> dict[str, Any]:
        """Accuracy in all and per class, and ``confusion.png``."""
        matrix = self.confusion.compute().cpu()[: len(self.labels), : len(self.labels)]
        clips = matrix.sum(1)
        confusion_picture(matrix.numpy(), self.labels, folder / "confusion.png")
        return {
            "accuracy": float(matrix.diag().sum() / matrix.sum()),
            "clips": int(matrix.sum()),
            "accuracy_per_class": {
                label: float(matrix[i, i] / clips[i]) if clips[i] else None for i, label in enumerate(self.labels)
            },
            "confusion": matrix.tolist(),
        }

    def export(self, folder: Path, **extra: Any) -> Path:
        """See `TrainingTask.export`."""
        return save_classifier(self.classifier, folder, **extra)

    def _frames(self, batch: Batch) -> Tensor | None:
        frames: Tensor | None = self.classifier.frontend.frames(batch.lengths) if batch.padded else None
        return frames

    def _logits(self, batch: Batch) -> Tensor:
        log_magnitude = self.classifier.frontend.log_magnitude(batch.waveform)
        logits: Tensor = self.classifier(log_magnitude, self._frames(batch)).logits
        return logits

    def _cross_entropy(
        self, logits: Tensor, target: Tensor, partner: Tensor | None, share: Tensor | None
    ) -> Tensor:
        each = F.cross_entropy(logits, target, reduction="none", label_smoothing=self.label_smoothing)
        if partner is None or share is None:
            return each.mean()
        other = F.cross_entropy(logits, target[partner], reduction="none", label_smoothing=self.label_smoothing)
        return (share * each + (1 - share) * other).mean()

    def _log_accuracy(self, stage: str, logits: Tensor, target: Tensor) -> None:
        metric: Any = self.accuracy[stage]
        metric.update(logits.argmax(-1), target)
        name = {"fit": "train_accuracy"}.get(stage, f"{stage}_accuracy")
        self.log(name, metric, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(target))
