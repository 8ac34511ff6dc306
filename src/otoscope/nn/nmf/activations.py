"""Activations of a fixed dictionary: non-negative least squares with an l1 penalty."""

from __future__ import annotations

import torch
from torch import Tensor

from otoscope.audio.padding import valid_frames
from otoscope.errors import ShapeError

_TINY = 1e-12


def frames_of(log_magnitude: Tensor, frames: Tensor | None = None) -> Tensor:
    """Return the frames of a batch of spectrograms as rows, without padding.

    Args:
        log_magnitude: Spectrograms, shape (batch, frequency, time).
        frames: Valid frames of each clip, shape (batch,). None: all frames are valid.

    Returns:
        Frames of all clips in order, shape (count, frequency).

    Example:
        >>> frames_of(torch.zeros(2, 513, 10), torch.tensor([10, 3])).shape
        torch.Size([13, 513])
    """
    rows = log_magnitude.transpose(1, 2)
    if frames is None:
        return rows.reshape(-1, rows.shape[-1])
    return rows[valid_frames(frames, log_magnitude)[:, 0].bool()]


@torch.no_grad()
def infer_activations(frames: Tensor, components: Tensor, sparsity: float = 0.0, iterations: int = 50) -> Tensor:
    r"""Find the activations of a fixed dictionary for each frame.

    .. math:: \min_{h \ge 0} \|x - W h\|^2 + \lambda \sum_k h_k

    The problem is convex and is solved by accelerated proximal gradient steps with restarts.

    Args:
        frames: Non-negative frames, shape (count, frequency).
        components: Non-negative dictionary W, shape (frequency, components).
        sparsity: :math:`\lambda`, the weight of the l1 penalty.
        iterations: Number of gradient steps.

    Returns:
        Non-negative activations, shape (count, components).

    Raises:
        ShapeError: Frames and components have different numbers of frequencies.

    Reference:
        Beck and Teboulle 2009 (FISTA); O'Donoghue and Candès 2015 (restarts).

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
    # The problem depends on a frame only through x W, so no step touches the frequencies again.
    return _proximal_gradient(frames @ components, components.T @ components, sparsity, iterations)


def _proximal_gradient(correlation: Tensor, gram: Tensor, sparsity: float, iterations: int) -> Tensor:
    """Minimise the objective of all frames at once.

    Args:
        correlation: x W of each frame, shape (count, components).
        gram: W^T W, shape (components, components).
        sparsity: Weight of the l1 penalty.
        iterations: Number of steps.

    Returns:
        Activations, shape (count, components).
    """
    # A step of 1 / L, where L is the largest curvature (the largest eigenvalue of W^T W), minimises a quadratic
    # that lies above the objective and touches it at the starting point. So a step without momentum cannot
    # increase the objective. The clamp keeps the step finite for a dictionary of zeros.
    step = 1 / torch.linalg.eigvalsh(gram)[-1].clamp(min=_TINY)
    # Half the objective has the gradient h W^T W - x W + sparsity / 2, which is affine in h. So h - step * gradient
    # is one matrix product plus an offset, and the constraint h >= 0 then cuts the result at 0.
    offset = step * (correlation - sparsity / 2)
    decay = torch.eye(len(gram), dtype=gram.dtype, device=gram.device) - step * gram
    current = offset.clamp(min=0)
    point, momentum = current, 1.0
    for _ in range(iterations):
        new = torch.addmm(offset, point, decay).clamp_(min=0)
        change = new - current
        # Restart where the momentum moves against the direction of descent, which is new - point.
        if float(torch.dot((point - new).flatten(), change.flatten())) > 0:
            momentum = 1.0
        next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        point = torch.add(new, change, alpha=(momentum - 1) / next_momentum)
        current, momentum = new, next_momentum
    result: Tensor = current
    return result
