"""Optimised mask: an order of the bins of one clip, found by gradient descent, whose first bins decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import (
    AttributionInterpreter,
    require_count,
    require_not_negative,
    require_positive,
)
from otoscope.interpreters.descent import (
    count_cells,
    explained_log_probabilities,
    interpolate_cells,
    require_areas,
)
from otoscope.interpreters.integrated_gradients import integrated_gradients
from otoscope.interpreters.occlusion import cell_size
from otoscope.metrics.ranking import ranks, soft_cut

Start = Literal["attribution", "loudness", "flat"]

_DECAY, _SQUARE_DECAY, _TINY = 0.9, 0.999, 1e-8
"""Constants of Adam. Its update is written out here because the first use of ``torch.optim`` takes seconds."""
_CERTAIN = 1 - 1e-6
"""Probability of the remainder above which its penalty no longer grows."""
_PATH_STEPS = 16
"""Points of the integrated gradients that the search starts from."""


class OptimisedMaskInterpreter(AttributionInterpreter):
    r"""Searches by gradient descent for an order of the bins whose first bins decide.

    The order is that of a map: the starting ranks of the bins, in [-1, 1], plus a coarse grid of numbers that is
    interpolated bilinearly. The grid is optimised. Each step cuts one of the ``areas`` from the map, with M the
    sigmoid of the distance from the cut divided by ``softness``, and lowers

    .. math:: -\log p(M X) - \mathrm{remainder} \cdot \log(1 - p((1 - M) X)) + \mathrm{smoothness} \cdot TV

    where p is the probability of the explained class and TV the mean absolute difference of neighbouring cells. The
    cut fixes the area, so that no weight trades the area for the decision. The result is deterministic. A clip
    takes ``2 * steps`` forward and as many backward passes, and 16 of each for the start.

    Args:
        classifier: Classifier to explain.
        steps: Number of steps of Adam.
        areas: Shares of the clip that the steps cut in turn, so that one order serves them all.
        smoothness: Weight of the total variation of the grid; the cells alone already make the map smooth.
        remainder: Weight of the classifier's decision on the remainder.
        cell_hz: Height of a cell of the grid.
        cell_s: Width of a cell of the grid.
        learning_rate: Learning rate of Adam, in ranks.
        softness: Width of the soft cut, in ranks.
        start: ``attribution`` starts with the sum of the ranks by loudness and by integrated gradients;
            ``loudness`` with the ranks by loudness; ``flat`` with equal ranks, so that the mask has no detail finer
            than a cell.
        **options: Options of `AttributionInterpreter`; ``score`` is used by the start only.

    Raises:
        ConfigurationError: An option is out of its range.
        GradientError: The classifier is a black box.

    Reference:
        Fong and Vedaldi 2017, arXiv 1704.03296; Fong, Patrick and Vedaldi 2019, arXiv 1910.08485. Departures:
        several areas in one map, fixed by the cut instead of by a loss; evidence and remainder; a start.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = Spectrogram(torch.rand(2, 513, 40))
        >>> OptimisedMaskInterpreter(classifier, steps=3)(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([2, 513, 40])
    """

    needs_gradient = True
    neutral = None  # ranks: none of them means that a bin does not matter

    def __init__(
        self,
        classifier: Classifier,
        steps: int = 60,
        areas: Sequence[float] = (0.1, 0.2, 0.3),
        smoothness: float = 0.0,
        remainder: float = 0.5,
        cell_hz: float = 125.0,
        cell_s: float = 0.1,
        learning_rate: float = 0.1,
        softness: float = 0.2,
        start: Start = "attribution",
        **options: Any,
    ) -> None:
        super().__init__(classifier, **options)
        require_count(steps=steps)
        require_positive(cell_hz=cell_hz, cell_s=cell_s, learning_rate=learning_rate, softness=softness)
        require_not_negative(smoothness=smoothness, remainder=remainder)
        require_areas(areas)
        if start not in get_args(Start):
            raise ConfigurationError(f"start: {start!r} is none of {', '.join(get_args(Start))}")
        self.steps, self.areas, self.start = steps, list(areas), start
        self.smoothness, self.remainder = smoothness, remainder
        self.cell_hz, self.cell_s = cell_hz, cell_s
        self.learning_rate, self.softness = learning_rate, softness

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        # evidence and remainder of a clip go through the classifier together, hence half as many clips at a time
        size = max(1, self.batch // 2)
        starts = range(0, len(target), size)
        return torch.cat([self._optimise(spectrogram[i : i + size], target[i : i + size]) for i in starts])

    def _optimise(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        log_magnitude = spectrogram.log_magnitude
        base = self._start_ranks(spectrogram, target)
        cell = cell_size(self.classifier, log_magnitude, self.cell_hz, self.cell_s)
        # The grid holds the corners of the cells: the number of cells, rounded up, plus one in each direction. Each
        # clip has its own grid and its own terms of the loss, so the clips of a batch do not interact.
        cells = [count + 1 for count in count_cells(log_magnitude, cell)]
        grid = log_magnitude.new_zeros(len(log_magnitude), 1, *cells).requires_grad_()
        mean, square = torch.zeros_like(grid), torch.zeros_like(grid)
        for step in range(self.steps):
            area = self.areas[step % len(self.areas)]
            # the areas take turns, so that one order serves them all
            order = base + interpolate_cells(grid, log_magnitude, corners=True)
            mask = soft_cut(order, area, self.softness)
            loss = self._objective(mask, spectrogram, target) + self.smoothness * _total_variation(grid)
            (gradient,) = torch.autograd.grad(loss, grid)
            # Adam: running means of the gradient and of its square, each corrected for starting at zero
            mean, square = mean.lerp(gradient, 1 - _DECAY), square.lerp(gradient**2, 1 - _SQUARE_DECAY)
            move = (mean / (1 - _DECAY ** (step + 1))) / (
                (square / (1 - _SQUARE_DECAY ** (step + 1))).sqrt() + _TINY
            )
            grid = (grid.detach() - self.learning_rate * move).requires_grad_()
        # a clip whose grid never moved got no gradient, and nothing but its start would be left
        moved = (grid.detach() != 0).flatten(1).any(1)[:, None, None]
        return moved * (base + interpolate_cells(grid.detach(), log_magnitude, corners=True))

    def _start_ranks(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        """Return the ranks that the search starts from, in [-1, 1]."""
        log_magnitude = spectrogram.log_magnitude
        if self.start == "flat":
            return torch.zeros_like(log_magnitude)
        if self.start == "loudness":
            return 2 * ranks(log_magnitude) - 1
        # loudness and gradients have no common unit: their ranks are added, and ranked again
        gradients = integrated_gradients(self.scores, self.classifier, spectrogram, target, _PATH_STEPS, self.batch)
        return 2 * ranks(ranks(log_magnitude) + ranks(gradients)) - 1

    def _objective(self, mask: Tensor, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        """Return the cross-entropies of evidence and remainder, summed over the clips."""
        # Evidence should be recognised as the class, and the remainder should not.
        log_magnitude = spectrogram.log_magnitude
        masked = [mask * log_magnitude, (1 - mask) * log_magnitude] if self.remainder else [mask * log_magnitude]
        inputs = spectrogram.repeat(len(masked)).with_log_magnitude(torch.cat(masked))
        explained = explained_log_probabilities(self.classifier, inputs, target.repeat(len(masked)))
        evidence, remainder = explained[: len(mask)], explained[len(mask) :]
        # the logarithm of 1 - p has no bound as p approaches 1: clamped there
        penalty = torch.log1p(-remainder.exp().clamp(max=_CERTAIN)).sum()
        objective: Tensor = -evidence.sum() - self.remainder * penalty
        return objective


def _total_variation(grid: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring cells in frequency and in time, summed over clips."""
    return grid.diff(dim=-2).abs().mean((1, 2, 3)).sum() + grid.diff(dim=-1).abs().mean((1, 2, 3)).sum()
