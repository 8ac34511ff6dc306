r"""Non-negative matrix factorisation of spectrogram frames: :math:`X \approx W H`, all non-negative.

`SparseNMF` is the solver to use: it learns the dictionary ``W`` from a stream of frames, of which it
keeps only statistics of fixed size. `AmortizedNMF` is the published network, whose encoder guesses ``H``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.audio.padding import valid_frames
from otoscope.errors import ConfigurationError, ShapeError

NMFLoss = Literal["euclidean", "kullback-leibler"]
_TINY = 1e-12
_FLOOR = 1e-8  # of what Kullback-Leibler divides by and takes logarithms of
_UNUSED = 1e-6  # share of the mean usage below which a column stands for nothing
_MEMORY = 5.0
"""The statistics weigh the frames of step s at step t by (s / t) ** _MEMORY: late ones count, all converge."""


@dataclass
class FitStep:
    """What one mini-batch cost, before the dictionary was updated with it.

    Attributes:
        error: Mean squared error of a bin.
        objective: What is minimised, per frame: the squared distance, or the divergence, plus the penalty
            on the activations.
    """

    error: float
    objective: float


def frames_of(log_magnitude: Tensor, frames: Tensor | None = None) -> Tensor:
    """The frames of a batch of spectrograms, without padding.

    Args:
        log_magnitude: Shape (batch, frequency, time).
        frames: Frames that belong to each clip, where clips were padded. Shape (batch,).

    Returns:
        Shape (count, frequency).

    Example:
        >>> frames_of(torch.zeros(2, 513, 10), torch.tensor([10, 3])).shape
        torch.Size([13, 513])
    """
    rows = log_magnitude.transpose(1, 2)
    if frames is None:
        return rows.reshape(-1, rows.shape[-1])
    keep = torch.arange(rows.shape[1], device=rows.device) < frames.to(rows.device)[:, None]
    return rows[keep]


@torch.no_grad()
def infer_activations(
    frames: Tensor,
    components: Tensor,
    loss: NMFLoss = "euclidean",
    sparsity: float = 0.0,
    iterations: int = 50,
) -> Tensor:
    r"""Finds the activations of a fixed dictionary for each frame.

    .. math:: \min_{h \ge 0} D(x, W h) + \lambda \sum_k h_k

    with the squared distance or the generalised Kullback-Leibler divergence as D. The first is a
    convex quadratic problem, solved by accelerated proximal gradient steps that restart where they
    overshoot; the second by multiplicative updates.

    Args:
        frames: Not negative. Shape (count, frequency).
        components: W, not negative. Shape (frequency, components).
        loss: ``euclidean`` or ``kullback-leibler``.
        sparsity: :math:`\lambda`, the weight of the l1 penalty.
        iterations: Steps.

    Returns:
        Not negative. Shape (count, components).

    Raises:
        ShapeError: Frames and components have different frequencies.

    Reference:
        Beck and Teboulle 2009 (FISTA); O'Donoghue and Candès 2015 (restart); Lee and Seung 2001.

    Example:
        >>> infer_activations(torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.eye(2), sparsity=1.0)
        tensor([[2.5000, 0.0000],
                [0.0000, 1.5000]])
    """
    if frames.ndim != 2 or frames.shape[1] != components.shape[0]:
        raise ShapeError(
            f"frames of shape {tuple(frames.shape)} do not fit components of shape {tuple(components.shape)}: "
            "(count, frequency) and (frequency, components) expected"
        )
    if loss == "euclidean":
        return _proximal_gradient(frames @ components, components.T @ components, sparsity, iterations)
    return _multiplicative(frames, components, sparsity, iterations)


def _proximal_gradient(correlation: Tensor, gram: Tensor, sparsity: float, iterations: int) -> Tensor:
    step = 1 / torch.linalg.eigvalsh(gram)[-1].clamp(min=_TINY)
    offset = step * (correlation - sparsity / 2)  # of half the problem, whose gradient has no factor 2
    ahead = torch.eye(len(gram), dtype=gram.dtype, device=gram.device) - step * gram
    current = offset.clamp(min=0)
    point, momentum = current, 1.0
    for _ in range(iterations):
        new = torch.addmm(offset, point, ahead).clamp_(min=0)
        change = new - current
        if float(torch.dot((point - new).flatten(), change.flatten())) > 0:
            momentum = 1.0
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        point = torch.add(new, change, alpha=(momentum - 1) / following)
        current, momentum = new, following
    result: Tensor = current
    return result


def _multiplicative(frames: Tensor, components: Tensor, sparsity: float, iterations: int) -> Tensor:
    weight = components.sum(0)
    activations = (frames.sum(1, keepdim=True) / weight.sum().clamp(min=_FLOOR)).expand(-1, len(weight))
    for _ in range(iterations):
        ratio = frames / (activations @ components.T).clamp_(min=_FLOOR)
        activations = activations * (ratio @ components) / (weight + sparsity).clamp(min=_FLOOR)
    return activations


class SparseNMF(nn.Module):
    r"""Learns a dictionary with unit-norm columns and sparse activations from a stream of frames.

    Minimises the mean over frames of :math:`D(x, W h) + \lambda \sum_k h_k`, subject to
    :math:`W, h \ge 0` and :math:`\|w_k\|_2 = 1`. Each mini-batch is explained with the dictionary as it
    is; what the dictionary needs to know of it is added to statistics of the size of W, and W moves to
    the minimum of the surrogate that they define, one column after the other. So memory does not grow
    with the data, and everything that a resumed run needs is in the ``state_dict``.

    Args:
        bins: Frequency bins of a frame.
        components: Columns of the dictionary.
        loss: ``euclidean`` or ``kullback-leibler``.
        sparsity: :math:`\lambda`. The default is that of the L2I paper; 0 reconstructs best.
        iterations: Steps that find the activations of a mini-batch.
        seed: Chooses the frames that the columns start from.

    Raises:
        ConfigurationError: A number is out of range.

    Reference:
        Mairal et al. 2010, Online Learning for Matrix Factorization and Sparse Coding (statistics, column
        updates); Lefèvre et al. 2011 (the same for divergences); Le Roux et al. 2015, Sparse NMF (why the
        norm has to be part of the problem, not a rescaling after it).

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
        loss: NMFLoss = "euclidean",
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
        if loss not in ("euclidean", "kullback-leibler"):
            raise ConfigurationError(f"nmf: loss {loss!r} is unknown; choose euclidean or kullback-leibler")
        self.loss: NMFLoss = loss
        self.sparsity = sparsity
        self.iterations = iterations
        self.seed = seed
        # euclidean: sums of h h^T and x h^T; kullback-leibler: sums of h, and of w * (x / (W h)) h^T
        shape = (components, components) if loss == "euclidean" else (components,)
        self.register_buffer("components", torch.zeros(bins, components))
        self.register_buffer("activation_statistics", torch.zeros(shape))
        self.register_buffer("frame_statistics", torch.zeros(bins, components))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def start_from(self, components: Tensor) -> None:
        """Warm start: begins with a given dictionary, for instance one of less data.

        Args:
            components: Not negative. Shape (bins, components).

        Raises:
            ShapeError: The shape is another one.
            ConfigurationError: A value is negative.
        """
        if components.shape != self.components.shape:
            raise ShapeError(
                f"a dictionary of shape {tuple(components.shape)} cannot start one of shape "
                f"{tuple(self.components.shape)}"
            )
        if bool((components < 0).any()):
            raise ConfigurationError("a dictionary with negative values cannot start one that has none")
        self.components.copy_(self._movable(components.to(self.components)))

    def infer(self, frames: Tensor) -> Tensor:
        """Activations of frames (count, bins), shape (count, components)."""
        return infer_activations(frames, self.components, self.loss, self.sparsity, self.iterations)

    def cost(self, frames: Tensor, activations: Tensor) -> FitStep:
        """What frames cost with given activations."""
        model = activations @ self.components.T
        squared = (frames - model).square().sum() / len(frames)
        if self.loss == "euclidean":
            distance = squared
        else:
            model = model.clamp(min=_FLOOR)
            distance = (torch.xlogy(frames, frames / model) - frames + model).sum() / len(frames)
        penalty = self.sparsity * activations.sum() / len(frames)
        return FitStep(float(squared / frames.shape[1]), float(distance + penalty))

    @torch.no_grad()
    def partial_fit(self, frames: Tensor) -> FitStep:
        """Learns from a mini-batch.

        Args:
            frames: Not negative. Shape (count, bins), count at least 1.
        """
        if not self.components.any():
            self._start_from_frames(frames)
        activations = self.infer(frames)
        cost = self.cost(frames, activations)
        self.steps += 1
        kept = (1 - 1 / int(self.steps)) ** _MEMORY
        self.activation_statistics *= kept
        self.frame_statistics *= kept
        if self.loss == "euclidean":
            self.activation_statistics += activations.T @ activations / len(frames)
            self.frame_statistics += frames.T @ activations / len(frames)
            self._update_euclidean()
        else:
            ratio = frames / (activations @ self.components.T).clamp_(min=_FLOOR)
            self.activation_statistics += activations.sum(0) / len(frames)
            self.frame_statistics += self.components * (ratio.T @ activations) / len(frames)
            self._update_divergence()
        self._revive(frames, activations)
        return cost

    def fit(self, batches: Iterable[Tensor], max_epochs: int = 20, tolerance: float = 1e-3) -> list[FitStep]:
        """Goes over the mini-batches until the objective has stalled for two epochs; see `Convergence`.

        Args:
            batches: Of frames; gone through once an epoch. Shape each (count, bins).
            max_epochs: Epochs at most.
            tolerance: Relative decrease of the objective that counts as progress.

        Returns:
            The mean cost of each epoch.
        """
        epochs: list[FitStep] = []
        convergence = Convergence(tolerance)
        for _ in range(max_epochs):
            steps = [(self.partial_fit(batch), len(batch)) for batch in batches]
            count = sum(size for _, size in steps)
            if count == 0:
                raise ConfigurationError(
                    "nmf: no frames; give a list of batches, since a generator serves one epoch"
                )
            error = sum(step.error * size for step, size in steps) / count
            epochs.append(FitStep(error, sum(step.objective * size for step, size in steps) / count))
            if convergence.update(epochs[-1].objective):
                break
        return epochs

    def _movable(self, columns: Tensor) -> Tensor:
        """Unit norm and, where updates are multiplicative and never leave a zero, without zeros."""
        columns = _unit_norm(columns)
        if self.loss == "euclidean":
            return columns
        generator = torch.Generator().manual_seed(self.seed)
        return _unit_norm(columns + 0.01 * torch.rand(columns.shape, generator=generator).to(columns))

    def _start_from_frames(self, frames: Tensor) -> None:
        """Columns start as frames that differ: each is drawn by what those before it leave unexplained."""
        generator = torch.Generator().manual_seed(self.seed)
        bins, count = self.components.shape
        start = torch.rand(bins, count, generator=generator).to(frames)
        energy = frames.square().sum(1)
        explained = torch.zeros_like(energy)
        for k in range(count):
            left = (energy - explained).clamp(min=0)
            if float(left.max()) <= 1e-6 * float(energy.max()):
                break  # what is left of the columns stays random
            chosen = torch.multinomial(left.double().cpu(), 1, generator=generator)
            column = _unit_norm(frames[chosen.to(frames.device)].T)
            start[:, k] = column[:, 0] + 0.01 * start[:, k]
            explained = torch.maximum(explained, (frames @ column)[:, 0].square())
        self.components.copy_(_unit_norm(start))

    def _update_euclidean(self) -> None:
        gram, cross, components = self.activation_statistics, self.frame_statistics, self.components
        used = (gram.diagonal() > _TINY).tolist()
        for k in [k for k, is_used in enumerate(used) if is_used]:
            column = components[:, k] + (cross[:, k] - components @ gram[:, k]) / gram[k, k]
            column.clamp_(min=0)
            norm = column.norm()
            if norm < _TINY:
                continue
            components[:, k] = column / norm
            # Outside the unit ball the projection is the minimum. Inside, the activations give way instead,
            # which leaves W h as it was and lowers the penalty.
            shrink = norm.clamp(max=1)
            gram[k] *= shrink
            gram[:, k] *= shrink
            cross[:, k] *= shrink

    def _update_divergence(self) -> None:
        usage, target = self.activation_statistics, self.frame_statistics
        used = (usage > _TINY) & (target.sum(0) > _TINY)
        free = target / usage.clamp(min=_TINY)
        norm = free.norm(dim=0)
        bound = _bounded_columns(target, usage)
        columns = torch.where(norm > 1, bound, free / norm.clamp(min=_TINY))
        self.components.copy_(torch.where(used, _unit_norm(columns), self.components))
        self.activation_statistics *= torch.where(used, norm.clamp(max=1), 1)

    def _revive(self, frames: Tensor, activations: Tensor) -> None:
        """Gives columns that nothing uses the worst explained frames to stand for."""
        usage = self.activation_statistics
        usage = usage.diagonal() if self.loss == "euclidean" else usage
        unused = (usage <= _UNUSED * usage.mean()).nonzero().flatten()
        if len(unused) == 0:
            return
        rest = (frames - activations @ self.components.T).clamp_(min=0)
        worst = rest.norm(dim=1).topk(min(len(unused), len(rest))).indices
        columns = rest[worst].T
        good = columns.norm(dim=0) > _FLOOR
        self.components[:, unused[: len(worst)][good]] = self._movable(columns[:, good])


class Convergence(nn.Module):
    """Watches an objective, epoch by epoch; what it has seen is in the ``state_dict``.

    Args:
        tolerance: Relative decrease that counts as progress.
        patience: Epochs without progress after which it has converged. Mini-batches make an objective rise now and
            then, so that one would be too few.

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
        """Whether it has converged."""
        return int(self.stalled) >= self.patience

    def update(self, objective: float) -> bool:
        """Takes the objective of an epoch; returns `reached`."""
        best = float(self.best)
        if not objective < best - self.tolerance * abs(best) and best < torch.inf:
            self.stalled += 1
        else:
            self.stalled.zero_()
        self.best.fill_(min(best, objective))
        return self.reached


def _unit_norm(columns: Tensor) -> Tensor:
    norms: Tensor = columns.norm(dim=0, keepdim=True)
    return columns / norms.clamp(min=_TINY)


def _bounded_columns(target: Tensor, usage: Tensor) -> Tensor:
    """Minimum of sum(usage * w - target * log w) with |w| = 1, where the free minimum is longer.

    Its Lagrange condition, m w² + usage w = target, has one positive root for each m; |w| falls with m.
    """
    low, high = torch.zeros_like(usage), target.sum(0)
    for _ in range(60):
        middle = (low + high) / 2
        long = _roots(target, usage, middle).norm(dim=0) > 1
        low, high = torch.where(long, middle, low), torch.where(long, high, middle)
    return _roots(target, usage, high)


def _roots(target: Tensor, usage: Tensor, multiplier: Tensor) -> Tensor:
    # the textbook root multiplied by its conjugate, which does not cancel where the multiplier is small
    return 2 * target / (usage + (usage.square() + 4 * multiplier * target).sqrt()).clamp(min=_TINY)


class AmortizedNMF(nn.Module):
    """The published NMF: a convolutional encoder guesses the activations, the dictionary is a parameter.

    Parameter-compatible with SpeechBrain's ``NMFEncoder`` (``encoder``) and ``NMFDecoderAudio``
    (``dictionary``). Slower and less exact than `SparseNMF`; of use where activations must come from one
    pass of a network.

    Args:
        bins: Frequency bins of a frame.
        components: Columns of the dictionary.

    Reference:
        METHODS, "NMF dictionary".

    Example:
        >>> AmortizedNMF(bins=33, components=5)(torch.rand(2, 33, 40)).shape
        torch.Size([2, 5, 40])
    """

    def __init__(self, bins: int = 513, components: int = 100) -> None:
        super().__init__()
        if min(bins, components) < 1:
            raise ConfigurationError(f"nmf: bins ({bins}) and components ({components}) must be positive")
        sizes = (bins, 256, 128, components)
        self.encoder = nn.ModuleList(nn.Conv1d(a, b, 8) for a, b in itertools.pairwise(sizes))
        self.dictionary = nn.Parameter(0.1 * torch.rand(bins, components))

    @property
    def components(self) -> Tensor:
        """The dictionary, not negative. Shape (bins, components)."""
        return self.dictionary.relu()

    def forward(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Tensor:
        """Activations of a spectrogram.

        Args:
            log_magnitude: Shape (batch, bins, time).
            frames: Frames that belong to each clip, where clips were padded. Shape (batch,).

        Returns:
            Not negative, 0 on padding. Shape (batch, components, time).
        """
        keep = valid_frames(frames, log_magnitude)
        hidden = log_magnitude if keep is None else log_magnitude * keep
        for layer in self.encoder:
            hidden = layer(F.pad(hidden, (3, 4))).relu()
            hidden = hidden if keep is None else hidden * keep
        return hidden

    def reconstruct(self, activations: Tensor) -> Tensor:
        """Activations (batch, components, time) to a spectrogram (batch, bins, time)."""
        return self.components @ activations
