"""Guided Grad-CAM (Selvaraju et al. 2016, arXiv 1610.02391)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from otoscope.classifiers import Classifier
from otoscope.interpreters.attribution import Clips
from otoscope.interpreters.grad_cam import GradCAMInterpreter
from otoscope.interpreters.guided_backprop import guided_gradient, require_relu


class GuidedGradCAMInterpreter(GradCAMInterpreter):
    """Guided backpropagation, which is fine, times what is positive of Grad-CAM, which knows the class.

    Two forward and two backward passes a clip.

    Args:
        classifier: What it explains: one with ReLUs and representations.
        representation: See `GradCAMInterpreter`.
        **options: See `AttributionInterpreter`.

    Raises:
        RepresentationError: See `GradCAMInterpreter`.
        UnsuitableMethodError: The classifier has no ReLU.
        ConfigurationError: An option is out of its range.

    Reference:
        Selvaraju et al. 2016, arXiv 1610.02391. Departures: none.

    Example:
        >>> import torch
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = torch.rand(2, 513, 40)
        >>> GuidedGradCAMInterpreter(classifier)(spectrogram, classifier(spectrogram)).shape
        torch.Size([2, 513, 40])
    """

    def __init__(self, classifier: Classifier, representation: str | None = None, **options: Any) -> None:
        super().__init__(classifier, representation, **options)
        require_relu(classifier)

    def attribute(self, clips: Clips) -> Tensor:
        """See `AttributionInterpreter.attribute`."""
        return guided_gradient(self.scores, clips) * super().attribute(clips).clamp(min=0)
