"""Clips as the networks take them, with the classifier's prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.errors import ConfigurationError


@dataclass
class Analysis:
    """Clips as the networks take them, and the classifier's prediction.

    Attributes:
        classifier: Classifier that made the prediction.
        waveform: Waveforms as they were given, as far as the classifier hears them, padded with zeros. Shape
            (batch, samples).
        lengths: Samples of each clip. Shape (batch,).
        gain: Factor from the networks' level to that of the waveforms. Shape (batch, 1).
        spectrogram: Spectrogram of the clips.
        prediction: Prediction of the classifier.
        normalize: Whether the networks were given each clip at a peak of 1.
    """

    classifier: Classifier
    waveform: Tensor
    lengths: Tensor
    gain: Tensor
    spectrogram: Spectrogram
    prediction: Prediction
    normalize: bool

    def masked_sound(self, mask: Tensor) -> Tensor:
        """Return the part that a mask keeps as sound, at the level of the recording. Shape (batch, samples)."""
        sound: Tensor = self.gain * self.classifier.frontend.inverse(self.spectrogram.masked(mask))
        return sound


def analyse(
    classifier: Classifier,
    waveforms: Sequence[Tensor],
    target: str | Sequence[str] | None = None,
    normalize: bool | None = None,
) -> Analysis:
    """Run front-end and classifier on waveforms, which may be of different lengths.

    Args:
        classifier: Classifier.
        waveforms: Mono waveforms at its sample rate, float32 and finite. Shape of each (samples,).
        target: Class to explain, or one class for each clip (default: the predicted ones).
        normalize: Whether to scale each clip to a peak of 1 for the networks (default: as they were trained).

    Raises:
        ConfigurationError: The classifier does not know a target.
    """
    normalize = classifier.resolve_normalize(normalize)
    # What the classifier does not hear is no part of the explanation.
    waveforms = [waveform[: classifier.heard_samples(len(waveform))] for waveform in waveforms]
    device = classifier.frontend.window.device
    padded = torch.nn.utils.rnn.pad_sequence([waveform.to(device) for waveform in waveforms], batch_first=True)
    lengths = torch.tensor([len(waveform) for waveform in waveforms], device=device)
    # The networks may get each clip at a peak of 1. Its peak is then the gain that restores the level of the
    # recording in masked sounds, after the inverse transform: the log magnitude is not linear in the level.
    gain = padded.abs().amax(-1, keepdim=True) if normalize else torch.ones_like(padded[:, :1])
    # without padding no lengths are passed, so that all clips go through the networks together
    is_padded = bool((lengths != lengths[0]).any())
    spectrogram = classifier.hear(padded, lengths if is_padded else None, normalize)
    prediction = classifier.predict(spectrogram)
    if target is not None:
        # only the explained class changes: probabilities and predicted class stay those of the classifier
        prediction = prediction.towards(_target_indices(classifier, target, len(padded)).to(device))
    return Analysis(classifier, padded, lengths, gain, spectrogram, prediction, normalize)


def _target_indices(classifier: Classifier, target: str | Sequence[str], clips: int) -> Tensor:
    targets = [target] * clips if isinstance(target, str) else list(target)
    if len(targets) != clips:
        raise ConfigurationError(
            f"target: {len(targets)} labels for {clips} clips; give one label, or one for each clip"
        )
    return torch.tensor([classifier.index_of(label) for label in targets])
