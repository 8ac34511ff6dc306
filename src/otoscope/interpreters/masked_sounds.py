"""The sounds of many hard masks of one clip, with gradients to the masks."""

from __future__ import annotations

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier


class MaskedSounds:
    """The spectrograms of the sounds that hard masks keep of a clip.

    `Classifier.heard` multiplies the log magnitude, for masks of any values. A mask of zeros and ones can multiply
    the complex spectrogram instead, which is computed once for all masks. The gradient is then the change of the
    sound when a bin is switched on or off, as the cut does it; that of a log magnitude is infinitesimal, and says
    little about a bin that is silent.

    Args:
        classifier: Classifier whose front-end and level the sounds take.
        clip: Spectrogram of clips without padding, with its phase.

    Raises:
        PhaseError: The spectrogram has no phase.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> clip = classifier.hear(torch.randn(1, 8000))
        >>> mask = (torch.rand_like(clip.log_magnitude) > 0.5).float()
        >>> heard = MaskedSounds(classifier, clip).heard(mask)
        >>> torch.allclose(heard.log_magnitude, classifier.heard(clip, mask).log_magnitude, atol=1e-4)
        True
    """

    def __init__(self, classifier: Classifier, clip: Spectrogram) -> None:
        self.classifier, self.clip = classifier, clip
        phase = clip.require_phase("the sound of a mask")
        self.transform = torch.polar(clip.magnitude, phase)

    def heard(self, mask: Tensor) -> Spectrogram:
        """Return the spectrogram of the sound that a mask keeps; gradients flow to the mask.

        Args:
            mask: Mask of zeros and ones, shape (batch, frequency, time).
        """
        return self.analyse(self.waveform(mask))

    def waveform(self, mask: Tensor) -> Tensor:
        """Return the sound that a mask keeps, shape (batch, samples); gradients flow to the mask.

        Args:
            mask: Mask of zeros and ones, shape (batch, frequency, time).
        """
        return self.classifier.frontend.inverse_transform(self.transform * mask, self.clip.length)

    def analyse(self, sound: Tensor) -> Spectrogram:
        """Return the spectrogram of a sound, at the level at which the classifier was given the clip.

        Args:
            sound: Waveforms, shape (batch, samples).
        """
        # without the phase, unless the network needs it: nobody turns this spectrogram into sound again
        return self.classifier.hear(sound, None, self.clip.normalized, with_phase=self.classifier.needs_phase)
