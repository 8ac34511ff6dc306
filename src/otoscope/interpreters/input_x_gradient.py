"""Input x gradient (Shrikumar et al. 2016, arXiv 1605.01713)."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.interpreters.attribution import AttributionInterpreter
from otoscope.interpreters.runs import clip_gradients, inputs_per_run


class InputXGradientInterpreter(AttributionInterpreter):
    """Input times gradient: the contribution of each bin if the classifier were linear.

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
        size = inputs_per_run(self.classifier, spectrogram, self.batch)
        return spectrogram.log_magnitude * clip_gradients(self.scores, spectrogram, target, size)
