"""Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import (
    AttributionInterpreter,
    each_clip,
    require_count,
    require_positive,
)
from otoscope.interpreters.runs import gradients_at, inputs_per_run, portions, scores_of

_FEWEST_STEPS = 9
"""Smallest number of points at which completeness is checked: with fewer it may hold by chance."""


class IntegratedGradientsInterpreter(AttributionInterpreter):
    """Integral of the gradient on the straight line from silence to the clip, times the clip.

    The attributions of all bins sum to the score of the clip minus that of silence, up to the error of the
    integral, which ``steps`` makes small. ``steps`` forward and as many backward passes per clip: 0.6 s for 5 s on
    a narrow CNN14 and one core.

    Args:
        classifier: Classifier to explain.
        steps: Number of points at which the gradient is taken (Gauss-Legendre).
        completeness_error: Error at which the integral ends early: the largest difference between the sum of all
            attributions and the score of the clip minus that of silence, as a share of the latter. The points then
            lie at equal distances, first 9, then 27, 81 and so on, at most ``steps``, which must be 9 or more; two
            more forward passes score the clip and silence (default: all ``steps``).
        **options: Options of `AttributionInterpreter`.

    Raises:
        ConfigurationError: An option is out of its range.

    Reference:
        Sundararajan et al. 2017, arXiv 1703.01365. Departures: none.

    Example:
        >>> import torch
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = Spectrogram(torch.rand(1, 513, 40))
        >>> prediction = classifier.predict(spectrogram)
        >>> silence = classifier(torch.zeros_like(spectrogram.log_magnitude))
        >>> attribution = IntegratedGradientsInterpreter(classifier).decode(spectrogram, prediction)
        >>> gain = (prediction.logits - silence.logits)[0, prediction.predicted]
        >>> ((attribution.sum() - gain).abs() < 0.01 * attribution.abs().sum()).item()
        True
    """

    needs_gradient = True

    def __init__(
        self, classifier: Classifier, steps: int = 32, completeness_error: float | None = None, **options: Any
    ) -> None:
        super().__init__(classifier, **options)
        require_count(steps=steps)
        if completeness_error is not None:
            require_positive(completeness_error=completeness_error)
            if steps < _FEWEST_STEPS:
                raise ConfigurationError(f"steps: {steps} must be {_FEWEST_STEPS} or more with completeness_error")
        self.steps = steps
        self.completeness_error = completeness_error

    @override
    def runs_per_clip(self) -> int | None:
        return self.steps

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        options = (self.steps, self.batch)
        if self.completeness_error is None:
            return integrated_gradients(self.scores, self.classifier, spectrogram, target, *options)
        clips = each_clip(spectrogram, target)
        return torch.cat(
            [
                until_complete(self.scores, self.classifier, clip, label, *options, self.completeness_error)
                for clip, label in clips
            ]
        )


def integrated_gradients(
    scores: Callable[[Spectrogram], Tensor],
    classifier: Classifier,
    spectrogram: Spectrogram,
    target: Tensor,
    steps: int,
    batch: int,
) -> Tensor:
    """Return each bin times the integral of its gradient from silence to the clip, shape (batch, frequency, time).

    Args:
        scores: Function that returns the score of every class, shape (batch, classes).
        classifier: Classifier that it asks.
        spectrogram: Spectrogram of clips of one length.
        target: Class of each clip, shape (batch,).
        steps: Number of points of the integral (Gauss-Legendre).
        batch: Largest number of points at a time.
    """
    nodes, weights = (
        torch.from_numpy(values).to(spectrogram.log_magnitude) for values in np.polynomial.legendre.leggauss(steps)
    )
    positions, weights = (1 + nodes) / 2, weights / 2
    attributions = []
    for clip, label in each_clip(spectrogram, target):
        log_magnitude, integral = clip.log_magnitude, torch.zeros_like(clip.log_magnitude)
        size = inputs_per_run(classifier, clip, batch)
        for part, share in zip(portions(positions, size), portions(weights, size), strict=True):
            # the baseline is silence, 0, because log1p(0) = 0
            gradient = gradients_at(scores, clip, part[:, None, None] * log_magnitude, label, size)
            integral += torch.einsum("n,nft->ft", share, gradient)
        attributions.append(log_magnitude * integral)
    return torch.cat(attributions)


def until_complete(
    scores: Callable[[Spectrogram], Tensor],
    classifier: Classifier,
    clip: Spectrogram,
    target: Tensor,
    steps: int,
    batch: int,
    error: float,
) -> Tensor:
    """Return integrated gradients of one clip from as many points as completeness needs.

    The integral is that of the midpoint rule with 9 points, then 27, 81 and so on; each set of points contains the
    one before. It ends when the sum of the attributions differs from the score of the clip minus that of silence by
    at most the share ``error`` of this difference.

    Args:
        scores: Function that returns the score of every class, shape (batch, classes).
        classifier: Classifier that it asks.
        clip: Spectrogram of one clip.
        target: Class, shape (1,).
        steps: Largest number of points.
        batch: Largest number of points at a time.
        error: Error of completeness to reach, as a share of the difference of the scores.

    Returns:
        Attribution, shape (1, frequency, time).
    """
    log_magnitude, total = clip.log_magnitude, torch.zeros_like(clip.log_magnitude)
    size = inputs_per_run(classifier, clip, batch)
    with torch.no_grad():
        ends = scores_of(scores, clip, torch.cat([log_magnitude, torch.zeros_like(log_magnitude)]), target, size)
    gain = float(ends[0] - ends[1])
    points = _FEWEST_STEPS
    places = torch.arange(points)
    while True:
        positions = ((places + 0.5) / points).to(log_magnitude)
        for part in portions(positions, size):
            total += gradients_at(scores, clip, part[:, None, None] * log_magnitude, target, size).sum(0)
        attribution = log_magnitude * total / points
        if abs(float(attribution.sum()) - gain) <= error * abs(gain) or 3 * points > steps:
            return attribution
        points *= 3
        # the middle one of every three points has been computed already
        places = torch.arange(points)
        places = places[places % 3 != 1]
