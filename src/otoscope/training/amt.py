"""Test of AMT: nothing is trained, and the test is the same as for every other method."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.data import Batch, batch_of
from otoscope.interpreters import AMTInterpreter
from otoscope.training.brain import ClassifierSource, Interpretation, InterpreterBrain
from otoscope.training.seam import stage_name


class AMTForward(NamedTuple):
    """Result of `InterpreterESC50Brain.compute_forward`.

    Attributes:
        interpretation: Masked log magnitude. Shape (batch, frequency, time).
        phase: Phase in radians. Same shape.
        predictions: Logits of the whole clips. Shape (batch, classes).
        original: Log magnitude of the clips. Shape (batch, frequency, time).
    """

    interpretation: Tensor
    phase: Tensor
    predictions: Tensor
    original: Tensor


class AMTClassifierForward(NamedTuple):
    """Result of `InterpreterESC50Brain.classifier_forward`, with the names of the reference.

    Attributes:
        xhat: Mask, 0 or 1. Shape (batch, frequency, time).
        predictions: Logits. Shape (batch, classes).
        class_pred: Predicted classes. Shape (batch,).
    """

    xhat: Tensor
    predictions: Tensor
    class_pred: Tensor


class InterpreterESC50Brain(InterpreterBrain):
    """Test of AMT, activation-map thresholding (arXiv 2402.02754), for a classifier with activation maps.

    Args:
        classifier: Classifier (FocalNet or ViT), or its source; see `InterpreterBrain`.
        quantile: The mask keeps bins at or above this quantile of the clip's map.
        activation_map: Stage or layer: ``stage1`` to ``stage4``, ``layer1`` and so on, or ``rollout`` (default: the
            last stage or layer).
        seed: Seed of the controls.
    """

    trains = False

    def __init__(
        self,
        classifier: ClassifierSource,
        quantile: float = 0.9,
        activation_map: str | None = None,
        seed: int = 1234,
    ) -> None:
        interpreter = partial(AMTInterpreter, quantile=quantile, activation_map=activation_map)
        super().__init__(classifier, interpreter, schedule="constant", seed=seed)

    @torch.no_grad()
    def classifier_forward(  # type: ignore[override]
        self,
        X_stft_logpower: Tensor,  # noqa: N803, the reference's name
    ) -> AMTClassifierForward:
        """Run the classifier once, and derive the mask from its activation map.

        Args:
            X_stft_logpower: Log magnitude, shape (batch, frequency, time).
        """
        spectrogram = Spectrogram(X_stft_logpower)
        prediction = self.classifier.predict(spectrogram)
        mask = self.interpreter(spectrogram, prediction)
        return AMTClassifierForward(mask, prediction.logits, prediction.predicted)

    @override
    def forward_pass(self, batch: Batch, stage: str) -> Interpretation:
        return super().compute_forward(batch, stage)

    @torch.no_grad()
    def compute_forward(self, batch: Any, stage: object) -> AMTForward:  # type: ignore[override]
        """Interpret a batch; the result is the tuple that the reference's class returns.

        Args:
            batch: Clips; see `otoscope.data.batch_of`.
            stage: ``train``, ``valid`` or ``test``, which makes no difference here; see `stage_name`.
        """
        stage_name(stage)
        forward = super().compute_forward(batch, "test")  # the stage with phase
        spectrogram = forward.spectrogram
        mask = self.interpreter.mask(forward.decoded, spectrogram)
        interpretation, phase = spectrogram.masked(mask).log_magnitude, spectrogram.phase
        assert phase is not None
        return AMTForward(interpretation, phase, forward.prediction.logits, spectrogram.log_magnitude)

    @torch.no_grad()
    def compute_objectives(self, predictions: AMTForward, batch: Any, stage: object) -> Tensor:  # type: ignore[override]
        """Return the fidelity loss: the cross-entropy of the interpretation to the class predicted for the clip.

        Nothing is trained, so it is not minimised; 0 means that the classifier is certain of its class when it
        hears the interpretation only.

        Args:
            predictions: Result of `compute_forward`.
            batch: The same clips.
            stage: ``train``, ``valid`` or ``test``; see `stage_name`.
        """
        stage_name(stage)
        batch = batch_of(batch)
        frames = self.classifier.frontend.frames(batch.lengths) if batch.padded else None
        spectrogram = Spectrogram(predictions.interpretation, predictions.phase, frames)
        logits = self.classifier.logits(spectrogram)
        return torch.nn.functional.cross_entropy(logits, predictions.predictions.argmax(-1))

    @override
    def validation_step(self, batch: Batch, index: int) -> None:
        """Collect the scores of the method without controls. There is no loss to log."""
        forward = self.forward_pass(batch, "valid")
        self._log_statistics(forward, batch, "valid")
        self._collect_validation_scores(forward)

    def configure_optimizers(self) -> Any:
        """Return None: there is nothing to train."""
        return None
