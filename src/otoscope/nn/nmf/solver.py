"""Mini-batch solver that learns a sparse dictionary in constant memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from otoscope.errors import ConfigurationError, ShapeError
from otoscope.nn.nmf.activations import infer_activations
from otoscope.nn.nmf.columns import initial_columns, replace_unused, unit_norm, update_columns
from otoscope.nn.nmf.convergence import Convergence

_FORGETTING = 5.0
"""At step t the frames of step s have the weight (s / t) ** _FORGETTING. Early frames, explained by a poor
dictionary, are forgotten, and yet the share of a single step falls towards 0, so that the dictionary converges."""


@dataclass
class FitStep:
    """Cost of frames under a dictionary.

    Attributes:
        error: Mean squared error of a bin.
        objective: Value that is minimised, per frame: squared distance plus the penalty on the activations.
    """

    error: float
    objective: float


class SparseNMF(nn.Module):
    r"""Solver that learns a dictionary with unit-norm columns and sparse activations from a stream of frames.

    It minimises the mean over frames of :math:`\|x - W h\|^2 + \lambda \sum_k h_k`, subject to
    :math:`W, h \ge 0` and :math:`\|w_k\|_2 = 1`. For each mini-batch it infers the activations with the present
    dictionary, adds the products of frames and activations to statistics of fixed size, and moves each column to
    the minimum of the surrogate that these statistics define. So memory does not grow with the data, and the
    ``state_dict`` holds everything that a resumed run needs.

    Args:
        bins: Number of frequency bins of a frame.
        components: Number of columns of the dictionary.
        sparsity: :math:`\lambda`, the weight of the l1 penalty. The default is that of the L2I paper; 0
            reconstructs best.
        iterations: Number of steps that infer the activations of a mini-batch.
        seed: Seed of the choice of frames from which the columns start.

    Raises:
        ConfigurationError: A number is out of range.

    Reference:
        Mairal et al. 2010, Online Learning for Matrix Factorization and Sparse Coding (statistics, column updates);
        Le Roux et al. 2015, Sparse NMF (why the norm must be part of the problem, not a rescaling after it).

    Example:
        >>> _ = torch.manual_seed(0)
        >>> truth, solver = torch.rand(20, 3), SparseNMF(bins=20, components=3, sparsity=0.01)
        >>> batches = [torch.rand(200, 3) ** 4 @ truth.T for _ in range(5)]
        >>> solver.fit(batches, max_epochs=20)[-1].error < 1e-3
        True
        >>> bool((solver.components.norm(dim=0) - 1).abs().max() < 1e-5)
        True
    """

    components: Tensor
    activation_statistics: Tensor
    frame_statistics: Tensor
    steps: Tensor

    def __init__(
        self,
        bins: int = 513,
        components: int = 100,
        sparsity: float = 0.8,
        iterations: int = 30,
        seed: int = 1234,
    ) -> None:
        super().__init__()
        if min(bins, components, iterations) < 1 or sparsity < 0:
            raise ConfigurationError(
                f"nmf: bins ({bins}), components ({components}) and iterations ({iterations}) must be positive, "
                f"sparsity ({sparsity}) not negative"
            )
        self.sparsity = sparsity
        self.iterations = iterations
        self.seed = seed
        self.register_buffer("components", torch.zeros(bins, components))
        # weighted means over all frames so far of h h^T and of x h^T
        self.register_buffer("activation_statistics", torch.zeros(components, components))
        self.register_buffer("frame_statistics", torch.zeros(bins, components))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def start_from(self, components: Tensor) -> None:
        """Start from a given dictionary (warm start), for instance one learnt from less data.

        Args:
            components: Non-negative dictionary, shape (bins, components).

        Raises:
            ShapeError: The dictionary has another shape.
            ConfigurationError: A value is negative.
        """
        if components.shape != self.components.shape:
            raise ShapeError(
                f"a dictionary of shape {tuple(components.shape)} cannot start one of shape "
                f"{tuple(self.components.shape)}"
            )
        if bool((components < 0).any()):
            raise ConfigurationError("a dictionary with negative values cannot start a non-negative one")
        self.components.copy_(unit_norm(components.to(self.components)))

    def infer(self, frames: Tensor) -> Tensor:
        """Infer the activations of frames.

        Args:
            frames: Non-negative frames, shape (count, bins).

        Returns:
            Non-negative activations, shape (count, components).
        """
        return infer_activations(frames, self.components, self.sparsity, self.iterations)

    def cost(self, frames: Tensor, activations: Tensor) -> FitStep:
        """Return the cost of frames with given activations.

        Args:
            frames: Frames, shape (count, bins).
            activations: Activations, shape (count, components).
        """
        squared = (frames - activations @ self.components.T).square().sum() / len(frames)
        penalty = self.sparsity * activations.sum() / len(frames)
        return FitStep(float(squared / frames.shape[1]), float(squared + penalty))

    @torch.no_grad()
    def partial_fit(self, frames: Tensor) -> FitStep:
        """Learn from a mini-batch.

        Args:
            frames: Non-negative frames, shape (count, bins), count at least 1.

        Returns:
            The cost of the frames before the dictionary was updated.
        """
        # all zeros: neither a former mini-batch, a warm start nor a resumed run has set the columns
        if not self.components.any():
            self.components.copy_(initial_columns(frames, self.components.shape[1], self.seed))
        activations = self.infer(frames)
        cost = self.cost(frames, activations)
        self.steps += 1
        # ((t - 1) / t)^f turns the weights (s / (t - 1))^f of all earlier steps into (s / t)^f; it is 0 at t = 1
        decay = (1 - 1 / int(self.steps)) ** _FORGETTING
        self.activation_statistics *= decay
        self.frame_statistics *= decay
        # means, not sums: a mini-batch with more frames does not count more than the one before it
        self.activation_statistics += activations.T @ activations / len(frames)
        self.frame_statistics += frames.T @ activations / len(frames)
        update_columns(self.components, self.activation_statistics, self.frame_statistics)
        replace_unused(self.components, self.activation_statistics, frames, activations)
        return cost

    def fit(self, batches: Iterable[Tensor], max_epochs: int = 20, tolerance: float = 1e-3) -> list[FitStep]:
        """Repeat the mini-batches until the objective has stalled for two epochs; see `Convergence`.

        Args:
            batches: Mini-batches of frames, iterated over once per epoch. Shape each (count, bins).
            max_epochs: Highest number of epochs.
            tolerance: Relative decrease of the objective that counts as progress.

        Returns:
            The mean cost of each epoch.

        Raises:
            ConfigurationError: There are no frames.
        """
        epochs: list[FitStep] = []
        convergence = Convergence(tolerance)
        for _ in range(max_epochs):
            steps = [(self.partial_fit(batch), len(batch)) for batch in batches]
            count = sum(size for _, size in steps)
            if count == 0:
                raise ConfigurationError(
                    "nmf: no frames; give a list of batches, since a generator serves only one epoch"
                )
            # weighted by size, because the last mini-batch may be smaller
            error = sum(step.error * size for step, size in steps) / count
            epochs.append(FitStep(error, sum(step.objective * size for step, size in steps) / count))
            if convergence.update(epochs[-1].objective):
                break
        return epochs
