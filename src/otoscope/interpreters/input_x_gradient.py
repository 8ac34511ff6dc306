"""Input x gradient (Shrikumar et al. 2016, arXiv 1605.01713)."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.interpreters.attribution import AttributionInterpreter, captum_inputs


class InputXGradientInterpreter(AttributionInterpreter):
    """Input times gradient: the contribution of each bin if the classifier were linear (captum).

    One forward and one backward pass per clip. Options: see `AttributionInterpreter`.

    Reference:
        Shrikumar et al. 2016, arXiv 1605.01713. Departures: none.

    Example:
        >>> import torch
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = Spectrogram(torch.rand(2, 513, 40))
        >>> InputXGradientInterpreter(classifier)(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([2, 513, 40])
    """

    needs_gradient = True

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        from captum.attr import InputXGradient

        attribution: Tensor = InputXGradient(self.captum_scores).attribute(**captum_inputs(spectrogram, target))
        return attribution
