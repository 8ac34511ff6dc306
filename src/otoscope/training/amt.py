"""Evaluation of AMT: nothing is trained, but the run is that of every other method."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.data import Batch
from otoscope.interpreters import AMTInterpreter
from otoscope.training.brain import Interpretation, InterpreterBrain, Stage


class ClassifierForward(NamedTuple):
    """What `InterpreterESC50Brain.classifier_forward` returns, under the reference's names.

    Attributes:
        xhat: The mask, 0 or 1. Shape (batch, frequency, time).
        predictions: Logits. Shape (batch, classes).
        class_pred: The classifier's decision. Shape (batch,).
    """

    xhat: Tensor
    predictions: Tensor
    class_pred: Tensor


class InterpreterESC50Brain(InterpreterBrain):
    """Evaluates AMT, activation-map thresholding (arXiv 2402.02754), on a classifier with activation maps.

    Args:
        classifier: A classifier's model folder, or the classifier itself: FocalNet or ViT.
        quantile: Bins at or above this quantile of the clip's map make the mask.
        activation_map: Stage or layer (``stage1`` to ``stage4``, ``layer1`` and so on, ``rollout``); by default
            the last stage or layer.
        seed: Of the random control.
    """

    trains = False

    def __init__(
        self,
        classifier: str | Classifier | Path,
        quantile: float = 0.9,
        activation_map: str | None = None,
        seed: int = 1234,
    ) -> None:
        interpreter = partial(AMTInterpreter, quantile=quantile, activation_map=activation_map)
        super().__init__(classifier, interpreter, schedule="constant", seed=seed)

    def preprocess(self, wavs: Tensor) -> Spectrogram:
        """Waveforms (batch, samples) to their spectrogram."""
        spectrogram: Spectrogram = self.classifier.frontend(wavs)
        return spectrogram

    @torch.no_grad()
    def classifier_forward(self, X_stft_logpower: Tensor) -> ClassifierForward:  # noqa: N803, the reference's name
        """One run of the classifier, and the mask that is read off it.

        Args:
            X_stft_logpower: Log magnitude. Shape (batch, frequency, time).
        """
        prediction: Prediction = self.classifier(X_stft_logpower)
        mask = self.interpreter(X_stft_logpower, prediction)
        return ClassifierForward(mask, prediction.logits, prediction.predicted)

    def invert_stft_with_phase(self, X_int: Tensor, X_stft_phase: Tensor) -> Tensor:  # noqa: N803
        """Turns a masked log magnitude into sound.

        Args:
            X_int: Shape (batch, frequency, time).
            X_stft_phase: In radians. Same shape.

        Returns:
            Shape (batch, samples).
        """
        waveform: Tensor = self.classifier.frontend.inverse(Spectrogram(X_int, X_stft_phase))
        return waveform

    def compute_objectives(self, predictions: Interpretation, batch: Batch, stage: Stage) -> Tensor:
        """Nothing to minimise: zero."""
        return torch.zeros(())

    def configure_optimizers(self) -> Any:
        """None: there is nothing to train."""
        return None
