"""Saliency: the gradient (Simonyan et al. 2013, arXiv 1312.6034)."""

from __future__ import annotations

from typing import Any

from captum.attr import Saliency
from torch import Tensor

from otoscope.classifiers import Classifier
from otoscope.interpreters.attribution import AttributionInterpreter, Clips, Sign


class SaliencyInterpreter(AttributionInterpreter):
    """How steeply the score changes with each bin: the gradient at the clip, by captum.

    One forward and one backward pass a clip.

    Args:
        classifier: What it explains.
        sign: See `AttributionInterpreter`. Saliency is published as the magnitude of the gradient.
        **options: See `AttributionInterpreter`.

    Reference:
        Simonyan et al. 2013, arXiv 1312.6034. Departures: none.

    Example:
        >>> import torch
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = torch.rand(2, 513, 40)
        >>> mask = SaliencyInterpreter(classifier, area=0.25)(spectrogram, classifier(spectrogram))
        >>> mask.mean((1, 2))
        tensor([0.2500, 0.2500])
    """

    needs_gradient = True

    def __init__(self, classifier: Classifier, sign: Sign = "absolute", **options: Any) -> None:
        super().__init__(classifier, sign=sign, **options)

    def attribute(self, clips: Clips) -> Tensor:
        """See `AttributionInterpreter.attribute`."""
        gradient: Tensor = Saliency(self.scores).attribute(**clips.for_captum(), abs=False)
        return gradient
