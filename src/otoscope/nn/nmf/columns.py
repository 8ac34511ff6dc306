"""Columns of the dictionary: first values, updates, and replacement of unused ones.

Every column is non-negative and has unit norm.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-12
_NEGLIGIBLE = 1e-6
"""Share of the highest frame energy below which everything counts as explained."""
_UNUSED = 1e-6
"""Share of the mean usage below which a column counts as unused."""
_SILENT = 1e-8
"""Norm up to which a residual is too quiet to become a column."""


def unit_norm(columns: Tensor) -> Tensor:
    """Scale columns to unit norm; columns of zeros stay zeros.

    Args:
        columns: Columns, shape (bins, components).
    """
    norms: Tensor = columns.norm(dim=0, keepdim=True)
    return columns / norms.clamp(min=_TINY)


def initial_columns(frames: Tensor, count: int, seed: int) -> Tensor:
    """Choose frames that differ from each other as first columns.

    Each frame is drawn with a probability in proportion to its energy that no earlier column explains, as in
    k-means++.

    Args:
        frames: Frames of the first mini-batch, shape (frames, bins).
        count: Number of columns.
        seed: Seed of the draws and of the noise that is added to the columns.

    Returns:
        Columns of unit norm, shape (bins, count).
    """
    generator = torch.Generator().manual_seed(seed)
    columns = torch.rand(frames.shape[1], count, generator=generator).to(frames)
    energy = frames.square().sum(1)
    explained = torch.zeros_like(energy)
    for k in range(count):
        unexplained = (energy - explained).clamp(min=0)
        if float(unexplained.max()) <= _NEGLIGIBLE * float(energy.max()):
            break  # the remaining columns stay random
        index = torch.multinomial(unexplained.double().cpu(), 1, generator=generator)
        column = unit_norm(frames[index.to(frames.device)].T)
        # 1 % of noise, so that two equal frames do not become two equal columns, which would stay equal
        columns[:, k] = column[:, 0] + 0.01 * columns[:, k]
        # the energy of a frame along a unit vector is its squared projection
        explained = torch.maximum(explained, (frames @ column)[:, 0].square())
    return unit_norm(columns)


def update_columns(components: Tensor, gram: Tensor, cross: Tensor) -> None:
    """Move each column in turn to the minimum of the surrogate; all arguments are updated in place.

    The surrogate is the mean squared error of all frames so far, with the activations that they had when they were
    seen. Up to a constant it is tr(W^T W A) - 2 tr(W^T B). It cannot increase, since each column moves to its own
    minimum while the others stay.

    Args:
        components: Dictionary W, shape (bins, components).
        gram: A, the weighted mean of h h^T over frames, shape (components, components).
        cross: B, the weighted mean of x h^T over frames, shape (bins, components).
    """
    # A column that no frame uses has no minimum; dividing by its A[k, k] would only amplify rounding.
    used = (gram.diagonal() > _TINY).tolist()
    for k in [k for k, is_used in enumerate(used) if is_used]:
        # The surrogate as a function of column k alone is A[k, k] |w - column|^2 plus a constant: its curvature is
        # the same in all directions. So the nearest permitted point to the free minimum is the permitted minimum:
        # negative entries are cut at 0, and a column longer than 1 is scaled to 1.
        column = components[:, k] + (cross[:, k] - components @ gram[:, k]) / gram[k, k]
        column.clamp_(min=0)
        norm = column.norm()
        if norm < _TINY:
            continue
        components[:, k] = column / norm
        # A column shorter than 1 is lengthened, and its activations in the statistics are scaled down by the same
        # factor. This leaves W h unchanged and decreases the penalty.
        shrink = norm.clamp(max=1)
        gram[k] *= shrink
        gram[:, k] *= shrink
        cross[:, k] *= shrink


def replace_unused(components: Tensor, gram: Tensor, frames: Tensor, activations: Tensor) -> None:
    """Replace unused columns by the residuals of the worst explained frames, in place.

    Args:
        components: Dictionary W, shape (bins, components).
        gram: Weighted mean of h h^T over frames, shape (components, components).
        frames: Frames of a mini-batch, shape (count, bins).
        activations: Activations of these frames, shape (count, components).
    """
    usage = gram.diagonal()
    unused = (usage <= _UNUSED * usage.mean()).nonzero().flatten()
    if len(unused) == 0:
        return
    # only positive residuals can be explained by one more non-negative column
    residuals = (frames - activations @ components.T).clamp_(min=0)
    worst = residuals.norm(dim=1).topk(min(len(unused), len(residuals))).indices
    columns = residuals[worst].T
    # a silent residual has no direction; its column waits for a later mini-batch
    audible = columns.norm(dim=0) > _SILENT
    components[:, unused[: len(worst)][audible]] = unit_norm(columns[:, audible])
