"""Refined: a ranking of the bins that starts from attributions and is improved by asking the classifier again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import Clips, log_probabilities, require_positive
from otoscope.interpreters.integrated_gradients import IntegratedGradientsInterpreter

_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the loudness, in the starting points."""
_SHARPNESS = 0.1
"""Width of the sigmoid that stands for a cut in the gradient, in ranks."""
_LOST = 6.0
"""Cross-entropy of the remainder beyond which nothing is gained."""


class RefinedInterpreter(IntegratedGradientsInterpreter):
    r"""One ranking of the bins, chosen such that its best bins convince the classifier at several areas at once.

    Per clip, without training. With :math:`M_a(s)` the bins that a map s ranks among the best share a, it lowers

    .. math:: \frac{1}{|A|} \sum_{a \in A} CE(f(M_a(s) X), c) - l_{out}\, CE(f((1 - M_a(s)) X), c)

    First by choice: s is the best of five mixtures of the ranks of integrated gradients and of the loudness. Then
    by gradient: offsets of cells of bins are added to s, in steps that are kept only where they lower the objective
    and halved where they do not. So no clip ends worse, by this measure, than any start; and cells are coarse,
    against single bins that fool the classifier.

    Args:
        classifier: What it explains.
        steps: Points of integrated gradients.
        areas: Shares of the bins at which the ranking is judged.
        refinements: Steps of the gradient. 0: the best start as it is.
        rate: Length of the first step, in ranks.
        cell: Bins of frequency and frames that share an offset.
        l_out: Weight of the remainder.
        **options: See `AttributionInterpreter`.

    Raises:
        ConfigurationError: An option is out of its range.
        GradientError: The classifier is a black box.

    Reference:
        Of this project. The objective is L-MAC's (arXiv 2403.13086) with the area as a constraint.

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
        refinements: int = 10,
        rate: float = 0.02,
        cell: Sequence[int] = (4, 4),
        l_out: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(classifier, steps, **options)
        require_positive(rate=rate)
        if not areas or not all(0 < area < 1 for area in areas):
            raise ConfigurationError(f"areas: {list(areas)} must be shares between 0 and 1, at least one")
        if refinements < 0 or l_out < 0 or len(cell) != 2 or min(cell) < 1:
            raise ConfigurationError(
                f"refined: refinements ({refinements}) and l_out ({l_out}) must not be negative, cell "
                f"({list(cell)}) two numbers of 1 or more"
            )
        self.areas, self.refinements, self.rate = list(areas), refinements, rate
        self.cell, self.l_out = list(cell), l_out

    @property
    def config(self) -> dict[str, Any]:
        """See `Interpreter.config`."""
        own = {"areas": self.areas, "refinements": self.refinements, "rate": self.rate}
        return {**super().config, **own, "cell": self.cell, "l_out": self.l_out}

    def attribute(self, clips: Clips) -> Tensor:
        """See `AttributionInterpreter.attribute`. What it returns are ranks, about 0 to 1, of no unit."""
        evidence, loudness = ranks(super().attribute(clips)), ranks(clips.log_magnitude)
        starts = [(1 - share) * evidence + share * loudness for share in _SHARES]
        with torch.no_grad():
            values = torch.stack([self.objective(start, clips) for start in starts])
        chosen = torch.stack(starts)[values.argmin(0), torch.arange(len(clips), device=values.device)]
        return self._refined(chosen, clips)

    def objective(self, ranking: Tensor, clips: Clips) -> Tensor:
        """What is made small, of each clip. Its gradient is that of soft cuts. Shape (batch,)."""
        masks = [_cut(ranking, area) for area in self.areas]
        value = torch.stack([self._cross_entropy(mask * clips.log_magnitude, clips) for mask in masks]).mean(0)
        if self.l_out > 0:
            remainders = [self._cross_entropy((1 - mask) * clips.log_magnitude, clips) for mask in masks]
            value = value - self.l_out * torch.stack(remainders).clamp(max=_LOST).mean(0)
        return value

    def _cross_entropy(self, log_magnitude: Tensor, clips: Clips) -> Tensor:
        logits = self.classifier.logits(log_magnitude, None, clips.phase)
        own = log_probabilities(logits, self.classifier.multi_label).gather(-1, clips.target[:, None])
        return -own[:, 0]

    def _refined(self, start: Tensor, clips: Clips) -> Tensor:
        """The start with an offset for each cell."""
        frequency, time = start.shape[-2:]
        size = [-(-frequency // self.cell[0]), -(-time // self.cell[1])]
        offset = start.new_zeros(len(start), 1, *size)

        def at(offset: Tensor) -> Tensor:
            spread = F.interpolate(offset, [frequency, time], mode="bilinear", align_corners=False)
            return start + spread[:, 0]

        best = _descend(lambda offset: self.objective(at(offset), clips), offset, self.refinements, self.rate)
        return at(best)


def ranks(values: Tensor) -> Tensor:
    """Share of the clip's bins that are smaller, in [0, 1); equal bins in the order of frequency and time.

    Example:
        >>> ranks(torch.tensor([[[3.0, 1.0], [2.0, 9.0]]]))
        tensor([[[0.5000, 0.0000],
                 [0.2500, 0.7500]]])
    """
    order = values.flatten(1).argsort(dim=1, stable=True).argsort(dim=1)
    return order.view_as(values).to(values.dtype) / order.shape[1]


def _cut(ranking: Tensor, area: float) -> Tensor:
    """Ones at the highest share of each clip, with the gradient of a sigmoid there."""
    bins = ranking[0].numel()
    below = bins - max(round(area * bins), 1)
    edge = ranking.detach().flatten(1).kthvalue(max(below, 1), 1).values[:, None, None]
    soft = ((ranking - edge) / _SHARPNESS).sigmoid()
    return soft + ((ranking > edge).to(soft.dtype) - soft).detach()


def _descend(objective: Callable[[Tensor], Tensor], start: Tensor, steps: int, rate: float) -> Tensor:
    """Goes down from a start, each clip with steps of its own, which are halved where they lead up.

    Args:
        objective: From (batch, ...) to one value a clip, shape (batch,).
        start: Shape (batch, ...).
        steps: How often the objective is asked.
        rate: Root mean square of the first step.
    """
    if steps == 0:
        return start
    each = (-1, *[1] * (start.dim() - 1))
    best = start
    value, slope = _value_and_slope(objective, best)
    rates = torch.full_like(value, rate)
    for step in range(steps):
        trial = best - rates.view(each) * slope
        found, its_slope = _value_and_slope(objective, trial, slope=step + 1 < steps)
        better = found < value
        value = torch.where(better, found, value)
        best = torch.where(better.view(each), trial, best)
        slope = torch.where(better.view(each), its_slope, slope)
        rates = torch.where(better, 1.2 * rates, 0.5 * rates)
    return best


def _value_and_slope(
    objective: Callable[[Tensor], Tensor], place: Tensor, slope: bool = True
) -> tuple[Tensor, Tensor]:
    """Objective of each clip, and its gradient scaled to a root mean square of 1."""
    if not slope:
        with torch.no_grad():
            return objective(place), torch.zeros_like(place)
    place = place.detach().requires_grad_(True)
    value = objective(place)
    (gradient,) = torch.autograd.grad(value.sum(), place)
    size = gradient.square().flatten(1).mean(1).sqrt().view(-1, *[1] * (place.dim() - 1))
    return value.detach(), gradient / size.clamp(min=1e-30)
