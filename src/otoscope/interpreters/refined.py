"""Refined: a ranking by loudness and evidence, changed only as far as needed to convince the classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import each_clip, require_not_negative, require_positive
from otoscope.interpreters.descent import (
    explained_log_probabilities,
    refine_ranking,
    require_areas,
    require_cell,
)
from otoscope.interpreters.integrated_gradients import IntegratedGradientsInterpreter
from otoscope.metrics.ranking import ranks, top_share

_SHARPNESS = 0.1
"""Width, in ranks, of the sigmoid that replaces a cut in the gradient."""
_BACKGROUND = 0.2
"""Quantile of a frequency's magnitude over time that counts as the background of a clip."""


class RefinedInterpreter(IntegratedGradientsInterpreter):
    r"""One ranking of the bins, whose best bins convince the classifier at several areas at once.

    Per clip, without training. The start is the mean of three ranks of each bin: by magnitude, by how far the
    magnitude stands above the background of its frequency, and by positive integrated gradients, smoothed. It shows
    where sounds are, and which of them speak for the class. With :math:`M_a(s)` the bins that a map s ranks among
    the best share a, and CE the cross-entropy to the explained class c, the descent then lowers

    .. math:: \frac{1}{|A|} \sum_{a \in A} \max(0,\; CE(f(M_a(s) X), c) - goal \cdot CE(f(X), c))

    by offsets to the ranks. A step is accepted if it lowers the objective; otherwise the step size is halved. So no
    clip ends worse, by this measure, than it starts. The descent stops where the goal is reached: beyond it, bins
    would be exchanged for others that only raise the classifier's score.

    Args:
        classifier: Classifier to explain.
        steps: Number of points of integrated gradients.
        areas: Shares of the bins at which the ranking is evaluated.
        goal: Cross-entropy to reach, as a share of that of the whole clip. 0: as low as possible.
        smoothing: Standard deviations of the Gaussian over the gradients, in bins of frequency and frames.
        refinements: Largest number of steps of the descent. 0: the start is the result.
        rate: Length of the first step, in ranks.
        cell: Size of the cells that share an offset: bins of frequency, frames.
        **options: Options of `AttributionInterpreter`.

    Raises:
        ConfigurationError: An option is out of its range.
        GradientError: The classifier is a black box.

    Reference:
        This project; see docs/methods/refined.md. The objective is L-MAC's (arXiv 2403.13086) with the area as a
        constraint, and a goal.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = Spectrogram(torch.rand(1, 513, 40))
        >>> interpreter = RefinedInterpreter(classifier, area=0.1, steps=4, refinements=2)
        >>> round(float(interpreter(spectrogram, classifier.predict(spectrogram)).mean()), 3)
        0.1
    """

    neutral = None  # ranks: none of them means that a bin does not matter

    def __init__(
        self,
        classifier: Classifier,
        steps: int = 16,
        areas: Sequence[float] = (0.1, 0.2, 0.3),
        goal: float = 0.5,
        smoothing: Sequence[float] = (4.0, 4.0),
        refinements: int = 16,
        rate: float = 0.005,
        cell: Sequence[int] = (1, 1),
        **options: Any,
    ) -> None:
        super().__init__(classifier, steps, **options)
        require_positive(rate=rate)
        require_not_negative(refinements=refinements, goal=goal)
        require_areas(areas)
        require_cell(cell)
        if len(smoothing) != 2 or min(smoothing) < 0:
            raise ConfigurationError(f"smoothing: {list(smoothing)} must be two numbers of 0 or more")
        self.areas, self.goal, self.smoothing = list(areas), goal, list(smoothing)
        self.refinements, self.rate, self.cell = refinements, rate, list(cell)

    @override
    def runs_per_clip(self) -> int | None:
        """Return None: the descent ends as soon as it can."""
        return None

    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        """Return ranks from about 0 to 1 instead of an attribution in the unit of the score.

        Args:
            spectrogram: Spectrogram of at most ``batch`` clips of one length, without padding.
            target: Class that each clip is explained for. Shape (batch,), int64.
        """
        # clip by clip: rounding differs with the batch, and a step that is accepted or not would depend on it
        return torch.cat([self._refine_clip(clip, label) for clip, label in each_clip(spectrogram, target)])

    def _refine_clip(self, clip: Spectrogram, target: Tensor) -> Tensor:
        magnitude, gradients = clip.log_magnitude, super().attribute(clip, target)
        if not bool(gradients.any()):
            return torch.zeros_like(magnitude)  # without any gradient, ranks of loudness alone would be left
        # steady noise may be loud without being an event, which rises above the background of its frequency
        above = magnitude - background(magnitude)
        evidence = smoothed(gradients.clamp(min=0), self.smoothing)
        # ranks, because the three measures have no common unit
        start = torch.stack([ranks(magnitude), ranks(above), ranks(evidence)]).mean(0)
        goal = self.goals(clip, target)
        return refine_ranking(
            lambda ranking: self.objective(ranking, clip, target, goal),
            start,
            self.cell,
            self.refinements,
            self.rate,
        )

    def objective(
        self, ranking: Tensor, spectrogram: Spectrogram, target: Tensor, goal: Tensor | None = None
    ) -> Tensor:
        """Return the objective of the descent for each clip. Its gradient is that of soft cuts.

        Args:
            ranking: Ranking of the bins, shape (batch, frequency, time).
            spectrogram: Spectrogram of clips of one length.
            target: Class of each clip, shape (batch,).
            goal: Cross-entropy that is low enough (default: that of `goals`). Shape (batch,).

        Returns:
            Objective, not negative. Shape (batch,).
        """
        goal = self.goals(spectrogram, target) if goal is None else goal
        # relu: an area at which the goal is reached adds nothing to the gradient
        masks = (top_share(ranking, area, _SHARPNESS) for area in self.areas)
        evidence = (spectrogram.masked(mask) for mask in masks)
        certainties = (explained_log_probabilities(self.classifier, part, target) for part in evidence)
        return torch.stack([(-certainty - goal).relu() for certainty in certainties]).mean(0)

    @torch.no_grad()
    def goals(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        """Return the cross-entropy that is low enough for each clip. Shape (batch,)."""
        return self.goal * -explained_log_probabilities(self.classifier, spectrogram, target)


def background(magnitude: Tensor) -> Tensor:
    """Return the 20 % quantile over time of each frequency, (batch, frequency, time) to (batch, frequency, 1).

    Same result as `torch.quantile`, which refuses long recordings in older versions of PyTorch.

    Example:
        >>> background(torch.tensor([[[5.0, 1.0, 4.0, 3.0, 2.0]]]))
        tensor([[[1.8000]]])
    """
    ordered = magnitude.sort(dim=-1).values
    position = _BACKGROUND * (magnitude.shape[-1] - 1)
    # linear interpolation between the two nearest order statistics, as in torch.quantile
    low, high = math.floor(position), math.ceil(position)
    return ordered[..., low, None].lerp(ordered[..., high, None], position - low)


def smoothed(values: Tensor, deviations: Sequence[float]) -> Tensor:
    """Convolve (batch, frequency, time) with a Gaussian; values at the edge continue beyond it.

    Args:
        values: Values to smooth, shape (batch, frequency, time).
        deviations: Standard deviations in bins of frequency and in frames; 0 leaves an axis unchanged.

    Example:
        >>> smoothed(torch.tensor([[[0.0, 0.0, 1.0, 0.0, 0.0]]]), (0, 0.5))
        tensor([[[2.6387e-04, 1.0645e-01, 7.8657e-01, 1.0645e-01, 2.6387e-04]]])
    """
    hidden = values[:, None]
    for axis, deviation in enumerate(deviations):
        if deviation == 0:
            continue
        reach = max(round(3 * deviation), 1)
        # the kernel is separable: one convolution per axis, cut off at three standard deviations
        offsets = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
        weights = (-0.5 * (offsets / deviation).square()).exp()
        weights = weights / weights.sum()
        shape, padding = (
            ([1, 1, -1, 1], (0, 0, reach, reach)) if axis == 0 else ([1, 1, 1, -1], (reach, reach, 0, 0))
        )
        hidden = F.conv2d(F.pad(hidden, padding, mode="replicate"), weights.view(shape))
    return hidden[:, 0]
