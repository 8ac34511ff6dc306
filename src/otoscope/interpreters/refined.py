"""Refined: a ranking by loudness and evidence, changed no more than it takes to convince the classifier."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import Clips, log_probabilities, require_positive
from otoscope.interpreters.integrated_gradients import IntegratedGradientsInterpreter
from otoscope.metrics.ranking import ranks, top_share

_SHARPNESS = 0.1
"""Width of the sigmoid that stands for a cut in the gradient, in ranks."""
_BACKGROUND = 0.2
"""Quantile of a frequency's magnitude over time that counts as the background of a clip."""


class RefinedInterpreter(IntegratedGradientsInterpreter):
    r"""One ranking of the bins, whose best bins convince the classifier at several areas at once.

    Per clip, without training. The start is the mean of three ranks of each bin: by magnitude, by how far the
    magnitude stands above the background of its frequency, and by positive integrated gradients, smoothed. It says
    where sounds are, and which of them speak for the class. With :math:`M_a(s)` the bins that a map s ranks among
    the best share a, and CE the cross-entropy to the explained class c, the descent then lowers

    .. math:: \frac{1}{|A|} \sum_{a \in A} \max(0,\; CE(f(M_a(s) X), c) - goal \cdot CE(f(X), c))

    by offsets to the ranks, in steps that are kept only where they lower it and halved where they do not. So no
    clip ends worse, by this measure, than it starts; and where the goal is reached nothing is changed any more:
    beyond it, bins are swapped for others that only the classifier likes better.

    Args:
        classifier: What it explains.
        steps: Points of integrated gradients.
        areas: Shares of the bins at which the ranking is judged.
        goal: Cross-entropy to reach, as a share of that of the whole clip. 0: as low as it gets.
        smoothing: Standard deviations of the Gaussian over the gradients, in bins of frequency and frames.
        refinements: Most steps of the descent. 0: the start as it is.
        rate: Length of the first step, in ranks.
        cell: Bins of frequency and frames that share an offset.
        **options: See `AttributionInterpreter`.

    Raises:
        ConfigurationError: An option is out of its range.
        GradientError: The classifier is a black box.

    Reference:
        Of this project. The objective is L-MAC's (arXiv 2403.13086) with the area as a constraint, and a goal.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = torch.rand(1, 513, 40)
        >>> interpreter = RefinedInterpreter(classifier, area=0.1, steps=4, refinements=2)
        >>> round(float(interpreter(spectrogram, classifier(spectrogram)).mean()), 3)
        0.1
    """

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

    @property
    def config(self) -> dict[str, Any]:
        """See `Interpreter.config`."""
        own = {"areas": self.areas, "goal": self.goal, "smoothing": self.smoothing}
        return {**super().config, **own, "refinements": self.refinements, "rate": self.rate, "cell": self.cell}

    def attribute(self, clips: Clips) -> Tensor:
        """See `AttributionInterpreter.attribute`. What it returns are ranks, about 0 to 1, of no unit."""
        # one at a time: whether a step is kept hangs on rounding, which differs with the batch
        return torch.cat([self._of_clip(clip) for clip in clips])

    def _of_clip(self, clip: Clips) -> Tensor:
        magnitude, gradients = clip.log_magnitude, super().attribute(clip)
        above = magnitude - background(magnitude)
        evidence = smoothed(gradients.clamp(min=0), self.smoothing)
        start = torch.stack([ranks(magnitude), ranks(above), ranks(evidence)]).mean(0)
        return self._refined(start, clip)

    def objective(self, ranking: Tensor, clips: Clips, goal: Tensor | None = None) -> Tensor:
        """What is made small, of each clip. Its gradient is that of soft cuts.

        Args:
            ranking: Shape (batch, frequency, time).
            clips: What is ranked.
            goal: Cross-entropy that is low enough; None: that of `goals`. Shape (batch,).

        Returns:
            Shape (batch,).
        """
        goal = self.goals(clips) if goal is None else goal
        masks = (top_share(ranking, area, _SHARPNESS) for area in self.areas)
        lacking = [(self._cross_entropy(mask * clips.log_magnitude, clips) - goal).relu() for mask in masks]
        return torch.stack(lacking).mean(0)

    @torch.no_grad()
    def goals(self, clips: Clips) -> Tensor:
        """Cross-entropy of each clip that is low enough. Shape (batch,)."""
        return self.goal * self._cross_entropy(clips.log_magnitude, clips)

    def _cross_entropy(self, log_magnitude: Tensor, clips: Clips) -> Tensor:
        logits = self.classifier.logits(log_magnitude, None, clips.phase)
        own = log_probabilities(logits, self.classifier.multi_label).gather(-1, clips.target[:, None])
        return -own[:, 0]

    def _refined(self, start: Tensor, clip: Clips) -> Tensor:
        """The start with an offset for each cell."""
        if self.refinements == 0:
            return start
        frequency, time = start.shape[-2:]
        size = [-(-frequency // self.cell[0]), -(-time // self.cell[1])]
        goal = self.goals(clip)

        def at(offset: Tensor) -> Tensor:
            return start + F.interpolate(offset, [frequency, time], mode="bilinear", align_corners=False)[:, 0]

        def lacking(offset: Tensor) -> Tensor:
            return self.objective(at(offset), clip, goal)

        return at(_descend(lacking, start.new_zeros(1, 1, *size), self.refinements, self.rate))


def background(magnitude: Tensor) -> Tensor:
    """The 20 % quantile over time of each frequency, (batch, frequency, time) to (batch, frequency, 1).

    As `torch.quantile`, which refuses long recordings before PyTorch's newer versions.

    Example:
        >>> background(torch.tensor([[[5.0, 1.0, 4.0, 3.0, 2.0]]]))
        tensor([[[1.8000]]])
    """
    ordered = magnitude.sort(dim=-1).values
    place = _BACKGROUND * (magnitude.shape[-1] - 1)
    low, high = math.floor(place), math.ceil(place)
    return ordered[..., low, None].lerp(ordered[..., high, None], place - low)


def smoothed(values: Tensor, deviations: Sequence[float]) -> Tensor:
    """Convolves (batch, frequency, time) with a Gaussian; what lies beyond the edge is as the edge.

    Args:
        values: Shape (batch, frequency, time).
        deviations: In bins of frequency and in frames; 0: that axis stays as it is.

    Example:
        >>> smoothed(torch.tensor([[[0.0, 0.0, 1.0, 0.0, 0.0]]]), (0, 0.5))
        tensor([[[2.6387e-04, 1.0645e-01, 7.8657e-01, 1.0645e-01, 2.6387e-04]]])
    """
    hidden = values[:, None]
    for axis, deviation in enumerate(deviations):
        if deviation == 0:
            continue
        reach = max(round(3 * deviation), 1)
        places = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
        weights = (-0.5 * (places / deviation).square()).exp()
        weights = weights / weights.sum()
        shape, padding = (
            ([1, 1, -1, 1], (0, 0, reach, reach)) if axis == 0 else ([1, 1, 1, -1], (reach, reach, 0, 0))
        )
        hidden = F.conv2d(F.pad(hidden, padding, mode="replicate"), weights.view(shape))
    return hidden[:, 0]


def _descend(objective: Callable[[Tensor], Tensor], start: Tensor, steps: int, rate: float) -> Tensor:
    """Goes down from a start, in steps that are halved where they lead up, until the objective is 0.

    Args:
        objective: From a place to a value that is not negative, shape (1,).
        start: Of any shape.
        steps: How often the objective is asked, at most.
        rate: Root mean square of the first step.
    """
    best = start
    value, slope = _value_and_slope(objective, best)
    for _ in range(steps):
        if value == 0:
            break
        trial = best - rate * slope
        found, its_slope = _value_and_slope(objective, trial)
        if found < value:
            best, value, slope = trial, found, its_slope
            rate *= 1.2
        else:
            rate *= 0.5
    return best


def _value_and_slope(objective: Callable[[Tensor], Tensor], place: Tensor) -> tuple[Tensor, Tensor]:
    """Objective, and its gradient scaled to a root mean square of 1."""
    place = place.detach().requires_grad_(True)
    value = objective(place)
    (gradient,) = torch.autograd.grad(value.sum(), place)
    return value.detach(), gradient / gradient.square().mean().sqrt().clamp(min=1e-30)
