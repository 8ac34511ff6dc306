"""Guided Grad-CAM (Selvaraju et al. 2016, arXiv 1610.02391)."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.interpreters.grad_cam import GradCAMInterpreter
from otoscope.interpreters.guided_backprop import guided_gradient, require_relu


class GuidedGradCAMInterpreter(GradCAMInterpreter):
    """Guided backpropagation, which has a fine resolution, times the positive part of Grad-CAM.

    Two forward and two backward passes per clip.

    Args:
        classifier: Classifier to explain, with ReLUs and representations.
        representation: Name of a representation (default: the last one).
        **options: Options of `AttributionInterpreter`.

    Raises:
        RepresentationError: The classifier has no representation (of this name), or no gradient reaches it.
        UnsuitableMethodError: The classifier has no ReLU.
        ConfigurationError: An option is out of its range.

    Reference:
        Selvaraju et al. 2016, arXiv 1610.02391. Departures: none.

    Example:
        >>> import torch
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = Spectrogram(torch.rand(2, 513, 40))
        >>> GuidedGradCAMInterpreter(classifier)(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([2, 513, 40])
    """

    def __init__(self, classifier: Classifier, representation: str | None = None, **options: Any) -> None:
        super().__init__(classifier, representation, **options)
        require_relu(classifier)

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        # negative parts of both would multiply to a positive attribution
        cam = super().attribute(spectrogram, target)
        return guided_gradient(self.scores, spectrogram, target) * cam.clamp(min=0)
