"""Grad-CAM: feature maps, weighted by the gradient of the score (Selvaraju et al. 2016, arXiv 1610.02391)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.classifiers.image import resize_map
from otoscope.classifiers.rows import spread_rows
from otoscope.errors import RepresentationError, choices
from otoscope.interpreters.attribution import AttributionInterpreter, log_probabilities


class GradCAMInterpreter(AttributionInterpreter):
    r"""Sum over the channels of a representation, each weighted by the gradient of the score.

    .. math:: \sum_k \Big(\sum_{u,v} \frac{\partial s}{\partial A_{kuv}}\Big) A_k

    resized to the spectrogram, each row at its frequency (`Classifier.row_frequencies`). The map is as coarse as
    the representation: 2 x 13 cells for CNN14's last block on 5 s, 10 x 53 for ``block3``. One forward pass per
    clip and one backward pass down to the representation.

    Args:
        classifier: Classifier to explain, with representations.
        representation: Name of a representation (default: the last one).
        **options: Options of `AttributionInterpreter`.

    Raises:
        RepresentationError: The classifier has no representation (of this name), or no gradient reaches it.
        ConfigurationError: An option is out of its range.

    Reference:
        Selvaraju et al. 2016, arXiv 1610.02391. Departures: sums instead of means, which only scales the map;
        negative values are kept in the attribution, so that bins that speak against the class come after those
        that do not matter.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = Spectrogram(torch.rand(2, 513, 40))
        >>> GradCAMInterpreter(classifier)(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([2, 513, 40])
    """

    needs_gradient = True

    def __init__(self, classifier: Classifier, representation: str | None = None, **options: Any) -> None:
        super().__init__(classifier, **options)
        names = classifier.representation_names if classifier.representation_channels else ()
        if not names:
            raise RepresentationError(
                f"Grad-CAM reads inner representations, and {type(classifier).__name__} has none; use a "
                "method that needs only the input, such as integrated_gradients"
            )
        if representation is not None and representation not in names:
            raise RepresentationError(
                f"representation: {type(classifier).__name__} has no {representation!r}; "
                f"{choices(representation, names)}"
            )
        self.representation = representation
        self._index = len(names) - 1 if representation is None else names.index(representation)

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        # The weights are frozen: activations belong to a graph only if the input requires a gradient.
        inputs = spectrogram.log_magnitude.detach().requires_grad_()
        prediction = self.classifier.predict(spectrogram.with_log_magnitude(inputs))
        # The score of a clip depends on this clip only, so the gradient of the sum holds that of every clip.
        score = self._score_of(prediction).gather(1, target[:, None]).sum()
        hidden = prediction.representations[self._index]
        gradient = gradient_of_representation(score, prediction, self._index)
        # a channel's weight is its gradient summed over the map
        coarse = (gradient.sum((-1, -2), keepdim=True) * hidden).sum(1)
        bins, time = inputs.shape[-2:]
        rows_hz = self.classifier.row_frequencies(self._index, coarse.shape[1])
        if rows_hz is None:
            return resize_map(coarse, bins, time)
        # rows lie at their own frequencies, not evenly: resize over time only, then interpolate between the rows
        wide = resize_map(coarse, coarse.shape[1], time)
        return spread_rows(wide, rows_hz, bins, self.classifier.frontend.sample_rate_hz)

    def _score_of(self, prediction: Prediction) -> Tensor:
        if self.score == "logit":
            return prediction.logits
        logarithm = log_probabilities(prediction.logits, prediction.multi_label)
        return logarithm if self.score == "log_probability" else logarithm.exp()


def gradient_of_representation(score: Tensor, prediction: Prediction, index: int) -> Tensor:
    """Return the gradient of a score in the layout of a representation, (batch, channels, frequency', time').

    Most representations are transposed or resized copies that the logits are not computed from. Then the gradient
    is taken at the tensor that they were made of, and brought into their layout by the same linear steps.

    Args:
        score: Score, computed from the logits of the prediction. Shape ().
        prediction: Prediction, made with gradients enabled.
        index: Index of the representation.

    Raises:
        RepresentationError: No gradient reaches the representation.
    """
    hidden = prediction.representations[index]
    source = prediction.sources[index] if prediction.sources else hidden
    (gradient,) = torch.autograd.grad(score, source, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise RepresentationError(
            "Grad-CAM: the logits are not computed from this classifier's representation; its forward must return "
            "Prediction(sources=...)"
        )
    if source is hidden:
        return gradient
    # hidden = L(source) with L linear. L applied to the gradient is the derivative of L^T(dummy) with respect to
    # dummy, where L^T(dummy) is the backward pass of L: double backward gives L without knowing it.
    dummy = torch.zeros_like(hidden, requires_grad=True)
    (back,) = torch.autograd.grad(hidden, source, dummy, create_graph=True)
    (arranged,) = torch.autograd.grad(back, dummy, gradient)
    return arranged
