"""Detection of convergence from the objective of each epoch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Convergence(nn.Module):
    """Detector of convergence, whose state is part of the ``state_dict``, so that a resumed run continues it.

    Args:
        tolerance: Relative decrease of the objective that counts as progress.
        patience: Number of epochs without progress after which the objective has converged. Mini-batches make an
            objective rise now and then, so a single epoch would be too few.

    Example:
        >>> convergence = Convergence(tolerance=0.01)
        >>> [convergence.update(value) for value in (10.0, 9.0, 8.99, 9.1)]
        [False, False, False, True]
    """

    best: Tensor
    stalled: Tensor

    def __init__(self, tolerance: float = 1e-3, patience: int = 2) -> None:
        super().__init__()
        self.tolerance = tolerance
        self.patience = patience
        self.register_buffer("best", torch.tensor(torch.inf))
        self.register_buffer("stalled", torch.tensor(0))

    @property
    def reached(self) -> bool:
        """Whether the objective has converged."""
        return int(self.stalled) >= self.patience

    def update(self, objective: float) -> bool:
        """Record the objective of an epoch.

        Args:
            objective: Objective of the epoch; lower is better.

        Returns:
            The same as `reached`.
        """
        best = float(self.best)
        # The first objective has nothing to be compared with: infinity minus infinity would be no number.
        if not objective < best - self.tolerance * abs(best) and best < torch.inf:
            self.stalled += 1
        else:
            self.stalled.zero_()
        self.best.fill_(min(best, objective))
        return self.reached
