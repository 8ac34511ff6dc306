"""Gradient descent over offsets to a ranking, with the checks of its options and the score that it asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import log_probabilities
from otoscope.interpreters.progress import count_runs


def require_areas(areas: Sequence[float]) -> None:
    """Check the areas at which a ranking is evaluated.

    Raises:
        ConfigurationError: There is none, or one does not lie between 0 and 1.
    """
    if not areas or not all(0 < area < 1 for area in areas):
        raise ConfigurationError(f"areas: expected one or more shares between 0 and 1, got {list(areas)}")


def require_cell(cell: Sequence[int]) -> None:
    """Check the size of the cells that share an offset, in bins of frequency and in frames.

    Raises:
        ConfigurationError: It is not two numbers of 1 or more.
    """
    if len(cell) != 2 or min(cell) < 1:
        raise ConfigurationError(f"cell: {list(cell)} must be two numbers of 1 or more")


def explained_log_probabilities(classifier: Classifier, spectrogram: Spectrogram, target: Tensor) -> Tensor:
    """Return the logarithm of the probability of the explained class of each clip. Its gradient is kept.

    Args:
        classifier: Classifier to ask.
        spectrogram: Spectrogram of clips of one length.
        target: Class of each clip. Shape (batch,), int64.

    Returns:
        Logarithms, 0 or less; minus the cross-entropy to the target. Shape (batch,).
    """
    count_runs(len(spectrogram))
    logits = classifier.logits(spectrogram)
    return log_probabilities(logits, classifier.multi_label).gather(-1, target[:, None])[:, 0]


def count_cells(values: Tensor, cell: Sequence[int]) -> list[int]:
    """Return the number of cells in each direction that cover a map, the last ones cut off by its edge.

    Args:
        values: Map, shape (batch, frequency, time).
        cell: Size of a cell: bins of frequency, frames.

    Example:
        >>> count_cells(torch.zeros(1, 513, 40), (4, 10))
        [129, 4]
    """
    # floor division of the negative number rounds up
    return [-(-side // step) for side, step in zip(values.shape[-2:], cell, strict=True)]


def interpolate_cells(grid: Tensor, like: Tensor, corners: bool = False) -> Tensor:
    """Interpolate a grid bilinearly to the size of a map.

    Args:
        grid: Values of the cells. Shape (batch, 1, rows, columns).
        like: Tensor whose last two dimensions are frequency and time.
        corners: Whether the grid holds the corners of the cells, so that the outer ones lie on the edge of the map,
            or their centres.

    Returns:
        Map, shape (batch, frequency, time).
    """
    return F.interpolate(grid, like.shape[-2:], mode="bilinear", align_corners=corners)[:, 0]


def refine_ranking(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    cell: Sequence[int],
    steps: int,
    rate: float,
    growth: float = 1.2,
    limit: float = math.inf,
) -> Tensor:
    """Add an offset for each cell to the ranking of one clip, so that the objective falls; see `descend`.

    Args:
        objective: Function from a ranking to a value that is not negative, shape (1,).
        start: Ranking to start from. Shape (1, frequency, time).
        cell: Size of the cells that share an offset: bins of frequency, frames.
        steps: Largest number of steps. 0: the start is returned.
        rate: Length of the first step, in the unit of the ranking.
        growth: Factor of the length after a step that helped.
        limit: Largest step of a cell, as a multiple of the root mean square over all cells.

    Returns:
        Ranking, shape (1, frequency, time).
    """
    if steps == 0:
        return start

    def at(offset: Tensor) -> Tensor:
        return start + interpolate_cells(offset, start)

    offset = start.new_zeros(1, 1, *count_cells(start, cell))
    return at(descend(lambda point: objective(at(point)), offset, steps, rate, growth, limit))


def descend(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    rate: float,
    growth: float = 1.2,
    limit: float = math.inf,
) -> Tensor:
    """Gradient descent with step halving, until the objective is 0.

    Args:
        objective: Function from a point to a value that is not negative, shape (1,).
        start: Point to start from, of any shape.
        steps: Largest number of evaluations.
        rate: Root mean square of the first step.
        growth: Factor of the length after a step that helped.
        limit: Largest step of a coordinate, as a multiple of the root mean square over all.
    """
    best = start.detach().requires_grad_(True)
    value, slope, accepted = objective(best), best, True
    for _ in range(steps):
        if value == 0:
            break
        if accepted:
            # here, because the gradient costs twice as much as the value, and that of a rejected step is not needed
            slope = _slope(value, best).clamp(-limit, limit)
        trial = (best - rate * slope).detach().requires_grad_(True)
        trial_value = objective(trial)
        # Backtracking: a step that does not help is undone and halved. Steps that help grow again.
        accepted = bool(trial_value < value)
        if accepted:
            best, value = trial, trial_value
        rate *= growth if accepted else 0.5
    return best.detach()


def _slope(value: Tensor, point: Tensor) -> Tensor:
    """Return the gradient of the objective, scaled to a root mean square of 1."""
    # scaled, so that the step size is a change of the ranks, whatever the size of the gradient
    (gradient,) = torch.autograd.grad(value.sum(), point)
    return gradient / gradient.square().mean().sqrt().clamp(min=1e-30)
