"""Training of a classifier."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
from typing_extensions import override

from otoscope.audio import Frontend, peak_normalize
from otoscope.classifiers import Classifier, save_classifier
from otoscope.classifiers.base import CLIP_S
from otoscope.data import Batch, SoundData
from otoscope.errors import CheckpointError, ConfigurationError, DownloadError, TrainingError
from otoscope.loading import load_start, without_head
from otoscope.nn.ranks import is_distributed
from otoscope.plots import confusion_picture, save_picture
from otoscope.training.augmentation import (
    add_silence,
    change_speed,
    drop_bands,
    mix_up,
    shift_in_time,
    sounds_of_no_class,
)
from otoscope.training.baseline import baseline_accuracy
from otoscope.training.task import Schedule, TrainingTask

_RANDOM_START = "--model.start null trains from random weights"


class _Inputs(NamedTuple):
    """Augmented clips of a batch, and sounds of no class behind them.

    Attributes:
        waveform: Waveforms, shape (clips + sounds, samples).
        frames: Valid frames of each, where a batch was padded. Shape (clips + sounds,).
        partner: Index of the clip that each clip is mixed with. Shape (clips,).
        share: Share of each clip in its mixture. Shape (clips,).
    """

    waveform: Tensor
    frames: Tensor | None
    partner: Tensor | None
    share: Tensor | None


class ClassifierTraining(TrainingTask):
    """Training of a classifier; the best checkpoint has the highest validation accuracy.

    Args:
        classifier: Function that makes the classifier from the labels of the data set.
        frequency_drops: Number of frequency bands that are silenced in each clip; 0 for none.
        widest_frequency_drop: Width of the widest band, as a share of all frequencies.
        chunk_drops: Number of chunks of time that are silenced in each clip; 0 for none.
        widest_chunk_drop: Length of the longest chunk, as a share of the clip.
        time_shift: Whether to rotate each clip by a random time.
        speed_change: Largest relative change of the speed, and so of the pitch, of each clip, in [0, 1).
        silence_s: Longest silence that is added before and after each clip, in seconds; 0 for none.
        mixup_alpha: Parameter of the beta distribution of the shares with which clips of a batch are mixed; 0 for
            no mixing.
        mixup_probability: Share of the batches that are mixed.
        label_smoothing: Share of the target that is spread over all classes.
        outliers: Number of generated sounds of no class (coloured noise and tones) that are added to each batch
            with all classes as equal targets, so that the classifier is uncertain about such sounds: outlier
            exposure (Hendrycks et al. 2019, arXiv 1812.04606).
        layer_decay: Ratio of the learning rates of a layer and of the next one towards the output, in (0, 1];
            below 1, pretrained layers near the input change less. See `Classifier.layers`.
        head_epochs: Number of epochs at the start in which only the last layer is trained.
        start: Source of the weights that all layers but the head start from: a classifier of the same class and
            sizes, or SpeechBrain's ``embedding_model`` (default: random weights). Of a list of sources, the first
            that exists is taken; null at its end stands for random weights, if that one cannot be fetched or does
            not fit.
        linear_baseline: Whether to train a logistic regression on log-mel statistics too, which takes seconds, and
            to report its accuracy beside that of the classifier.
        checkpoint: Checkpoint that becomes the model: the ``best`` by validation accuracy, or the ``last``, for a
            fixed schedule and few validation clips.
        schedule: Schedule of the learning rate.
        **training: See `TrainingTask`.
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
        speed_change: float = 0.0,
        silence_s: float = 0.0,
        mixup_alpha: float = 0.0,
        mixup_probability: float = 0.5,
        label_smoothing: float = 0.0,
        outliers: int = 0,
        layer_decay: float = 1.0,
        head_epochs: int = 0,
        start: list[str | None] | str | None = None,
        linear_baseline: bool = True,
        checkpoint: Literal["best", "last"] = "best",
        schedule: Schedule = "cyclic",
        **training: Any,
    ) -> None:
        super().__init__(schedule=schedule, **training)
        if not 0 < layer_decay <= 1 or head_epochs < 0:
            raise ConfigurationError(
                "classifier training: layer_decay must lie in (0, 1], head_epochs must not be negative"
            )
        if min(frequency_drops, chunk_drops, mixup_alpha, outliers) < 0 or not 0 <= label_smoothing < 1:
            raise ConfigurationError(
                "classifier training: frequency_drops, chunk_drops, mixup_alpha and outliers must not be negative, "
                "label_smoothing must lie in [0, 1)"
            )
        self.make_classifier = classifier
        self.drops = (frequency_drops, widest_frequency_drop, chunk_drops, widest_chunk_drop)
        if not 0 <= speed_change < 1 or silence_s < 0:
            raise ConfigurationError(
                f"classifier training: speed_change ({speed_change}) must lie in [0, 1), silence_s ({silence_s}) "
                "must not be negative"
            )
        self.time_shift = time_shift
        self.speed_change = speed_change
        self.silence_s = silence_s
        self.linear_baseline = linear_baseline
        self.mixup_alpha = mixup_alpha
        self.mixup_probability = mixup_probability
        self.label_smoothing = label_smoothing
        self.outliers = outliers
        self.layer_decay = layer_decay
        self.head_epochs = head_epochs
        self.start = start
        self._start_weights: dict[str, Tensor] = {}
        self._tested_samples: list[int] = []
        self.checkpoint = checkpoint
        self.classifier: Classifier

    @property
    @override
    def frontend(self) -> Frontend:
        return self.classifier.frontend

    @property
    @override
    def expected_rate_hz(self) -> int:
        return self._copy().frontend.sample_rate_hz

    def adapt_to(self, labels: Sequence[str]) -> None:
        """Make the classifier for the labels of the data set."""
        self.labels = list(labels)
        self.classifier = self.make_classifier(self.labels)
        # Layers that the classifier itself froze stay frozen when the head epochs end.
        self._trainable = [parameter for parameter in self.classifier.parameters() if parameter.requires_grad]
        self._resting: list[torch.nn.Parameter] = []
        # The multi-class metrics of torchmetrics need at least two classes.
        count = max(len(self.labels), 2)
        self.accuracy = torch.nn.ModuleDict(
            {stage: MulticlassAccuracy(count, average="micro") for stage in ("fit", "valid", "test")}
        )
        self.confusion = MulticlassConfusionMatrix(count)

    @override
    def choose_start(self) -> None:
        """Read the weights to start from.

        Raises:
            CheckpointError: They cannot be read or do not fit.
            DownloadError: They cannot be downloaded.
        """
        if self.start is None:
            return
        # Only the head depends on the labels, and the head is not loaded.
        copy = self._copy()
        try:
            loaded = load_start(copy, self.start)
        except DownloadError as error:
            raise DownloadError(f"{error}; {_RANDOM_START}", error.cause) from error
        except CheckpointError as error:
            raise CheckpointError(f"{error}; {_RANDOM_START}") from error
        self._start_weights = without_head(copy.state_dict()) if loaded else {}

    def _copy(self) -> Classifier:
        """Return a classifier of the same kind before the labels are known, with two of its own."""
        # The random numbers of this copy must not change those of the training.
        with torch.random.fork_rng(devices=[]):
            return self.make_classifier(["first", "second"])

    @override
    def initialise(self) -> None:
        self.classifier.load_state_dict({**self.classifier.state_dict(), **self._start_weights})
        self._start_weights = {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group per layer, with its learning rate; see ``layer_decay``."""
        layers = self.classifier.layers()
        # Rates fall from the head to the input by a constant factor. An optimiser takes a parameter only once: one
        # that two layers share is trained at the rate of the layer nearer to the head.
        remaining = dict.fromkeys(self.classifier.parameters())
        groups: list[dict[str, Any]] = []
        for layers_above, layer in enumerate(reversed(layers)):
            parameters = [parameter for parameter in layer.parameters() if parameter in remaining]
            for parameter in parameters:
                del remaining[parameter]
            groups.append({"params": parameters, "lr": self.learning_rate * self.layer_decay**layers_above})
        # Parameters that belong to no layer are trained at the rate of the head.
        groups[0]["params"] = [*groups[0]["params"], *remaining]
        return [group for group in groups if group["params"]]

    def on_train_epoch_start(self) -> None:
        """Freeze all but the last layer during the first ``head_epochs``."""
        super().on_train_epoch_start()
        head = set(self.classifier.layers()[-1].parameters())
        head_only = self.current_epoch < self.head_epochs
        self._resting = [parameter for parameter in self._trainable if head_only and parameter not in head]
        resting = set(self._resting)
        for parameter in self._trainable:
            # Processes that train together wait for the gradient of every parameter that had one at the start, so
            # there it is computed and dropped.
            parameter.requires_grad_(is_distributed() or parameter not in resting)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Drop the gradients of frozen layers, before gradients are clipped."""
        for parameter in self._resting:
            parameter.grad = None

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Augment and classify a batch, and return its cross-entropy."""
        if len(batch) == 1:
            raise TrainingError(
                "data: batch normalisation cannot be trained on one clip; set batch_size to 2 or more"
            )
        inputs = self._augmented(batch)
        log_magnitude = self._with_drops(self.classifier.frontend.log_magnitude(inputs.waveform))
        outputs = self.classifier(log_magnitude, inputs.frames).logits
        logits, of_outliers = outputs.split([len(batch), self.outliers])
        losses = self._cross_entropies(logits, batch.target, inputs.partner, inputs.share)
        # the target of a sound of no class is the uniform distribution
        loss = torch.cat([losses, -of_outliers.log_softmax(-1).mean(-1)]).mean()
        self._log_accuracy("fit", logits, batch.target)
        return self.total({"cross_entropy": loss}, "train", len(batch))

    def _augmented(self, batch: Batch) -> _Inputs:
        """Change, rotate and mix the clips of a batch, and add the sounds of no class."""
        waveform, lengths, partner, share = batch.waveform, batch.lengths, None, None
        padded = batch.padded
        if self.speed_change:
            waveform, lengths = change_speed(waveform, lengths, self.speed_change)
            padded = True
        if silence := round(self.silence_s * self.frontend.sample_rate_hz):
            waveform, lengths = add_silence(waveform, lengths, silence)
            padded = True
        if self.time_shift:
            waveform = shift_in_time(waveform, lengths if padded else None)
        if self.mixup_alpha > 0 and bool(torch.rand(()) < self.mixup_probability):
            mixed, partner, share = mix_up(waveform, self.mixup_alpha)
            # The peak of a mixture differs from the peak of 1 that the clips of validation have.
            waveform = peak_normalize(mixed)
            # a mixture lasts as long as the longer of its two clips
            lengths = torch.maximum(lengths, lengths[partner])
        samples = waveform.shape[-1]
        if self.outliers:
            added = sounds_of_no_class(self.outliers, samples, self.frontend.sample_rate_hz)
            waveform = torch.cat([waveform, added.to(waveform)])
            lengths = torch.cat([lengths, lengths.new_full((self.outliers,), samples)])
        frames = self.classifier.frontend.frames(lengths) if padded else None
        return _Inputs(waveform, frames, partner, share)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Log loss and accuracy."""
        logits = self._logits(batch)
        self.total({"cross_entropy": F.cross_entropy(logits, batch.target)}, "valid", len(batch))
        self._log_accuracy("valid", logits, batch.target)

    def test_step(self, batch: Batch, index: int) -> None:
        """Log the accuracy, count confusions, and note the lengths of the clips."""
        logits = self._logits(batch)
        self._tested_samples += batch.lengths.tolist()
        self._log_accuracy("test", logits, batch.target)
        self.confusion.update(logits.argmax(-1), batch.target)

    def report(self, folder: Path) -> dict[str, Any]:
        """Return the accuracy over all clips and per class, and write ``confusion.png``."""
        count = len(self.labels)
        matrix = self.confusion.compute().cpu()[:count, :count]
        clips = matrix.sum(1)
        save_picture(confusion_picture(matrix.numpy(), self.labels), folder / "confusion.png")
        result = {
            "accuracy": float(matrix.diag().sum() / matrix.sum()),
            "clips": int(matrix.sum()),
            "accuracy_per_class": {
                label: float(matrix[i, i] / clips[i]) if clips[i] else None for i, label in enumerate(self.labels)
            },
            "confusion": matrix.tolist(),
        }
        data = getattr(self._trainer, "datamodule", None)
        if self.linear_baseline and isinstance(data, SoundData):
            result["linear_baseline"] = baseline_accuracy(data, self.frontend)
        return result

    @override
    def export(self, folder: Path, **extra: Any) -> Path:
        if self._tested_samples:
            # The test clips stand for those of the training, which come from the same data.
            seconds = statistics.median(self._tested_samples) / self.frontend.sample_rate_hz
            extra = {CLIP_S: round(seconds, 3), **extra}
        return save_classifier(self.classifier, folder, **extra)

    def _with_drops(self, log_magnitude: Tensor) -> Tensor:
        bands, widest_band, chunks, widest_chunk = self.drops
        if bands:
            log_magnitude = drop_bands(log_magnitude, bands, widest_band, dim=1)
        if chunks:
            log_magnitude = drop_bands(log_magnitude, chunks, widest_chunk, dim=2)
        return log_magnitude

    def _frames(self, batch: Batch) -> Tensor | None:
        frames: Tensor | None = self.classifier.frontend.frames(batch.lengths) if batch.padded else None
        return frames

    def _logits(self, batch: Batch) -> Tensor:
        log_magnitude = self.classifier.frontend.log_magnitude(batch.waveform)
        logits: Tensor = self.classifier(log_magnitude, self._frames(batch)).logits
        return logits

    def _cross_entropies(
        self, logits: Tensor, target: Tensor, partner: Tensor | None, share: Tensor | None
    ) -> Tensor:
        losses = F.cross_entropy(logits, target, reduction="none", label_smoothing=self.label_smoothing)
        if partner is None or share is None:
            return losses
        # Cross-entropy is linear in the target, so this equals the loss for a target of both classes by share.
        partner_losses = F.cross_entropy(
            logits, target[partner], reduction="none", label_smoothing=self.label_smoothing
        )
        return share * losses + (1 - share) * partner_losses

    def _log_accuracy(self, stage: str, logits: Tensor, target: Tensor) -> None:
        metric: Any = self.accuracy[stage]
        metric.update(logits.argmax(-1), target)
        # A module cannot be named "train" in a ModuleDict: nn.Module has a method of that name.
        name = {"fit": "train_accuracy"}.get(stage, f"{stage}_accuracy")
        self.log(name, metric, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(target))
