"""Clips as the networks take them, with the classifier's prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.errors import AudioError, ConfigurationError, ShapeError


@dataclass
class Analysis:
    """Clips as the networks take them, and the classifier's prediction.

    Attributes:
        classifier: Classifier that made the prediction.
        waveform: Waveforms as they were given, padded with zeros. Shape (batch, samples).
        lengths: Samples of each clip. Shape (batch,).
        gain: Factor from the networks' level to that of the waveforms. Shape (batch, 1).
        spectrogram: Spectrogram of the clips.
        prediction: Prediction of the classifier.
    """

    classifier: Classifier
    waveform: Tensor
    lengths: Tensor
    gain: Tensor
    spectrogram: Spectrogram
    prediction: Prediction

    def masked_sound(self, mask: Tensor) -> Tensor:
        """Return the part that a mask keeps as sound, at the level of the recording. Shape (batch, samples)."""
        sound: Tensor = self.gain * self.classifier.frontend.inverse(self.spectrogram.masked(mask))
        return sound


def analyse(
    classifier: Classifier,
    waveforms: Sequence[Tensor],
    target: str | Sequence[str] | None = None,
    normalize: bool = True,
) -> Analysis:
    """Run front-end and classifier on waveforms, which may be of different lengths.

    Args:
        classifier: Classifier.
        waveforms: Mono waveforms at its sample rate, shape of each (samples,).
        target: Class to explain, or one class for each clip (default: the predicted ones).
        normalize: Whether to scale each clip to a peak of 1 for the networks.

    Raises:
        AudioError: A waveform holds NaN or infinite values.
        ConfigurationError: The classifier does not know a target.
        ShapeError: A waveform is not mono, or empty.
    """
    _require_mono(waveforms)
    device = classifier.frontend.window.device
    floats = [waveform.float() for waveform in waveforms]
    padded = torch.nn.utils.rnn.pad_sequence(floats, batch_first=True).to(device)
    lengths = torch.tensor([len(waveform) for waveform in waveforms], device=device)
    # The networks get each clip at a peak of 1. Its peak is the gain that restores the level of the recording
    # in masked sounds, after the inverse transform, because the log magnitude is not linear in the level.
    gain = padded.abs().amax(-1, keepdim=True) if normalize else torch.ones_like(padded[:, :1])
    # without padding no lengths are passed, so that all clips go through the networks together
    is_padded = bool((lengths != lengths[0]).any())
    spectrogram = classifier.hear(padded, lengths if is_padded else None, normalize)
    prediction = classifier.predict(spectrogram)
    if target is not None:
        # only the explained class changes: probabilities and predicted class stay those of the classifier
        prediction = prediction.towards(_target_indices(classifier, target, len(padded)).to(device))
    return Analysis(classifier, padded, lengths, gain, spectrogram, prediction)


def _require_mono(waveforms: Sequence[Tensor]) -> None:
    if not len(waveforms) or any(waveform.ndim != 1 or len(waveform) == 0 for waveform in waveforms):
        shapes = ", ".join(str(tuple(waveform.shape)) for waveform in waveforms) or "none"
        raise ShapeError(f"expected mono waveforms of shape (samples,) each, got {shapes}")
    for i, waveform in enumerate(waveforms):
        if not bool(waveform.isfinite().all()):
            raise AudioError(f"waveform {i}: holds NaN or infinite values; repair or leave out the recording")


def _target_indices(classifier: Classifier, target: str | Sequence[str], clips: int) -> Tensor:
    targets = [target] * clips if isinstance(target, str) else list(target)
    if len(targets) != clips:
        raise ConfigurationError(
            f"target: {len(targets)} labels for {clips} clips; give one label, or one for each clip"
        )
    return torch.tensor([classifier.index_of(label) for label in targets])
