"""Saliency: the gradient (Simonyan et al. 2013, arXiv 1312.6034)."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.interpreters.attribution import AttributionInterpreter, Sign
from otoscope.interpreters.runs import clip_gradients, inputs_per_run


class SaliencyInterpreter(AttributionInterpreter):
    """Gradient of the score with respect to each bin.

    One forward and one backward pass per clip.

    Args:
        classifier: Classifier to explain.
        sign: Whether bins count by the gradient (``positive``) or, as published, by its magnitude (``absolute``).
        **options: Options of `AttributionInterpreter`.

    Reference:
        Simonyan et al. 2013, arXiv 1312.6034. Departures: none.

    Example:
        >>> import torch
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = Spectrogram(torch.rand(2, 513, 40))
        >>> mask = SaliencyInterpreter(classifier, area=0.25)(spectrogram, classifier.predict(spectrogram))
        >>> mask.mean((1, 2))
        tensor([0.2500, 0.2500])
    """

    needs_gradient = True

    def __init__(self, classifier: Classifier, sign: Sign = "absolute", **options: Any) -> None:
        super().__init__(classifier, sign=sign, **options)

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        size = inputs_per_run(self.classifier, spectrogram, self.batch)
        return clip_gradients(self.scores, spectrogram, target, size)
