"""Refined: a ranking by loudness and evidence, changed only as far as needed to convince the classifier."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import each_clip, log_probabilities, require_positive
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
        if not areas or not all(0 < area < 1 for area in areas):
            raise ConfigurationError(f"areas: {list(areas)} must be shares between 0 and 1, at least one")
        if refinements < 0 or goal < 0 or len(cell) != 2 or min(cell) < 1:
            raise ConfigurationError(
                f"refined: refinements ({refinements}) and goal ({goal}) must not be negative, cell "
                f"({list(cell)}) two numbers of 1 or more"
            )
        if len(smoothing) != 2 or min(smoothing) < 0:
            raise ConfigurationError(f"refined: smoothing ({list(smoothing)}) must be two numbers of 0 or more")
        self.areas, self.goal, self.smoothing = list(areas), goal, list(smoothing)
        self.refinements, self.rate, self.cell = refinements, rate, list(cell)

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
        # steady noise may be loud without being an event, which rises above the background of its frequency
        above = magnitude - background(magnitude)
        evidence = smoothed(gradients.clamp(min=0), self.smoothing)
        # ranks, because the three measures have no common unit
        start = torch.stack([ranks(magnitude), ranks(above), ranks(evidence)]).mean(0)
        return self._refined(start, clip, target)

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
        lacking = [(self._cross_entropy(spectrogram.masked(mask), target) - goal).relu() for mask in masks]
        return torch.stack(lacking).mean(0)

    @torch.no_grad()
    def goals(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        """Return the cross-entropy that is low enough for each clip. Shape (batch,)."""
        return self.goal * self._cross_entropy(spectrogram, target)

    def _cross_entropy(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        logits = self.classifier.logits(spectrogram)
        return -log_probabilities(logits, self.classifier.multi_label).gather(-1, target[:, None])[:, 0]

    def _refined(self, start: Tensor, clip: Spectrogram, target: Tensor) -> Tensor:
        """Return the start plus an offset for each cell that lowers the objective."""
        if self.refinements == 0:
            return start
        frequency, time = start.shape[-2:]
        # number of cells in each direction, rounded up
        size = [-(-frequency // self.cell[0]), -(-time // self.cell[1])]
        goal = self.goals(clip, target)

        def at(offset: Tensor) -> Tensor:
            return start + F.interpolate(offset, [frequency, time], mode="bilinear", align_corners=False)[:, 0]

        def lacking(offset: Tensor) -> Tensor:
            return self.objective(at(offset), clip, target, goal)

        return at(descend(lacking, start.new_zeros(1, 1, *size), self.refinements, self.rate))


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


def descend(objective: Callable[[Tensor], Tensor], start: Tensor, steps: int, rate: float) -> Tensor:
    """Gradient descent with step halving, until the objective is 0.

    Args:
        objective: Function from a point to a value that is not negative, shape (1,).
        start: Point to start from, of any shape.
        steps: Largest number of evaluations.
        rate: Root mean square of the first step.
    """
    best = start
    value, slope = _value_and_slope(objective, best)
    for _ in range(steps):
        if value == 0:
            break
        trial = best - rate * slope
        trial_value, trial_slope = _value_and_slope(objective, trial)
        # Backtracking: a step that does not help is undone and halved. Steps that help grow again, slowly.
        if trial_value < value:
            best, value, slope = trial, trial_value, trial_slope
            rate *= 1.2
        else:
            rate *= 0.5
    return best


def _value_and_slope(objective: Callable[[Tensor], Tensor], point: Tensor) -> tuple[Tensor, Tensor]:
    """Return the objective, and its gradient scaled to a root mean square of 1."""
    # scaled, so that the step size is a change of the ranks, whatever the size of the gradient
    point = point.detach().requires_grad_(True)
    value = objective(point)
    (gradient,) = torch.autograd.grad(value.sum(), point)
    return value.detach(), gradient / gradient.square().mean().sqrt().clamp(min=1e-30)
