"""Test of AMT: nothing is trained, and the test is the same as for every other method."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.data import Batch
from otoscope.interpreters import AMTInterpreter
from otoscope.training.brain import ClassifierSource, Interpretation, InterpreterBrain, Stage


class ClassifierForward(NamedTuple):
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

    def preprocess(self, wavs: Tensor) -> Spectrogram:
        """Return the spectrogram of waveforms of shape (batch, samples)."""
        spectrogram: Spectrogram = self.classifier.frontend(wavs)
        return spectrogram

    @torch.no_grad()
    def classifier_forward(self, X_stft_logpower: Tensor) -> ClassifierForward:  # noqa: N803, the reference's name
        """Run the classifier once, and derive the mask from its activation map.

        Args:
            X_stft_logpower: Log magnitude, shape (batch, frequency, time).
        """
        spectrogram = Spectrogram(X_stft_logpower)
        prediction = self.classifier.predict(spectrogram)
        mask = self.interpreter(spectrogram, prediction)
        return ClassifierForward(mask, prediction.logits, prediction.predicted)

    def invert_stft_with_phase(self, X_int: Tensor, X_stft_phase: Tensor) -> Tensor:  # noqa: N803
        """Turn a masked log magnitude into sound.

        Args:
            X_int: Masked log magnitude, shape (batch, frequency, time).
            X_stft_phase: Phase in radians, same shape.

        Returns:
            Waveform, shape (batch, samples).
        """
        waveform: Tensor = self.classifier.frontend.inverse(Spectrogram(X_int, X_stft_phase))
        return waveform

    def compute_objectives(self, predictions: Interpretation, batch: Batch, stage: Stage) -> Tensor:
        """Return zero: there is nothing to minimise."""
        return torch.zeros(())

    def configure_optimizers(self) -> Any:
        """Return None: there is nothing to train."""
        return None
