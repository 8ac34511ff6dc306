"""Steps of an interpreter under the names that SpeechBrain's recipes give them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters import Interpreter

Stage = Literal["train", "valid", "test"]
_STAGES = ("train", "valid", "test")


def stage_name(stage: object) -> Stage:
    """Return the name of a stage.

    Args:
        stage: ``train``, ``valid`` or ``test``, in any case, or an enum with such a name, like SpeechBrain's.

    Raises:
        ConfigurationError: There is no such stage.

    Example:
        >>> from enum import Enum
        >>> stage_name(Enum("Stage", ["TRAIN", "VALID", "TEST"]).VALID)
        'valid'
    """
    name = str(getattr(stage, "name", stage)).lower()
    if name not in _STAGES:
        raise ConfigurationError(f"stage: {stage!r} is none of {', '.join(_STAGES)}")
    return cast(Stage, name)


class InterpretationSteps(NamedTuple):
    """Result of `InterpreterBrain.interpret_computation_steps`, with the names of the reference.

    Attributes:
        X_int: Masked log magnitude. Shape (batch, frequency, time).
        xhat: Output of the interpreter: the mask, or the activation that it is cut from. Same shape.
        X_stft_phase: Phase in radians. Same shape.
        class_pred: Predicted classes. Shape (batch,).
    """

    X_int: Tensor
    xhat: Tensor
    X_stft_phase: Tensor
    class_pred: Tensor


class ClassifierForward(NamedTuple):
    """Result of `InterpreterBrain.classifier_forward`, with the names of the reference.

    Attributes:
        hcat: Representations that the interpreter reads, each of shape (batch, channels, ...).
        predictions: Logits. Shape (batch, classes).
        class_pred: Predicted classes. Shape (batch,).
    """

    hcat: tuple[Tensor, ...]
    predictions: Tensor
    class_pred: Tensor


class ReferenceSteps:
    """Steps that users of SpeechBrain's recipes call on an interpreter's training class."""

    interpreter: Interpreter[Any]

    @property
    @abstractmethod
    def classifier(self) -> Classifier:
        """Frozen classifier."""

    def preprocess(self, wavs: Tensor) -> Spectrogram:
        """Return the spectrogram of waveforms of shape (batch, samples)."""
        spectrogram: Spectrogram = self.classifier.frontend(wavs)
        return spectrogram

    @torch.no_grad()
    def classifier_forward(self, X_stft_logpower: Tensor) -> ClassifierForward:  # noqa: N803, the reference's name
        """Run the classifier once.

        Args:
            X_stft_logpower: Log magnitude, shape (batch, frequency, time).
        """
        prediction = self.classifier.predict(Spectrogram(X_stft_logpower))
        return ClassifierForward(prediction.representations, prediction.logits, prediction.predicted)

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

    @torch.no_grad()
    def interpret_computation_steps(self, wavs: Tensor, print_probability: bool = False) -> InterpretationSteps:
        """Interpret waveforms without computing a loss.

        Args:
            wavs: Waveforms, shape (batch, samples).
            print_probability: Whether to print the probability of the first clip's predicted class.
        """
        spectrogram = self.preprocess(wavs)
        phase = spectrogram.phase
        assert phase is not None
        prediction = self.classifier.predict(spectrogram)
        if print_probability:
            print(f"classifier probability: {prediction.probabilities[0].max().item():.4f}")
        decoded = self.interpreter.decode(spectrogram, prediction)
        masked = spectrogram.masked(self.interpreter.mask(decoded, spectrogram))
        output = self.interpreter.output(decoded, spectrogram)
        return InterpretationSteps(masked.log_magnitude, output, phase, prediction.predicted)
