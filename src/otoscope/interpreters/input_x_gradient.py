"""Input x gradient (Shrikumar et al. 2016, arXiv 1605.01713)."""

from __future__ import annotations

from captum.attr import InputXGradient
from torch import Tensor

from otoscope.interpreters.attribution import AttributionInterpreter, Clips


class InputXGradientInterpreter(AttributionInterpreter):
    """What each bin adds to the score if the classifier were as linear everywhere as it is at the clip, by captum.

    One forward and one backward pass a clip. Options: see `AttributionInterpreter`.

    Reference:
        Shrikumar et al. 2016, arXiv 1605.01713. Departures: none.

    Example:
        >>> import torch
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = torch.rand(2, 513, 40)
        >>> InputXGradientInterpreter(classifier)(spectrogram, classifier(spectrogram)).shape
        torch.Size([2, 513, 40])
    """

    needs_gradient = True

    def attribute(self, clips: Clips) -> Tensor:
        """See `AttributionInterpreter.attribute`."""
        attribution: Tensor = InputXGradient(self.scores).attribute(**clips.for_captum())
        return attribution
