"""Noisy linear imputation: removed bins are filled in from their surroundings, so that no hole betrays the mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from otoscope.metrics.bins import frame_counts, require_same_shape, valid_bins
from otoscope.seeding import generator_for

NOISE = 0.01
"""Standard deviation of the noise, relative to that of the clip's valid bins."""
_MOST_ITERATIONS = 2000


def noisy_linear_imputation(
    log_magnitude: Tensor,
    removed: Tensor,
    names: Sequence[str],
    seed: int,
    frames: Tensor | None = None,
    noise: float = NOISE,
) -> Tensor:
    """Replace removed bins by what their surroundings let expect, with a little noise.

    Args:
        log_magnitude: log1p of the magnitude. Shape (batch, frequency, time).
        removed: 1 or True for bins to replace. Same shape.
        names: Name of each clip. The noise depends on it, not on the batch and not on the mask.
        seed: Seed of the noise.
        frames: Valid frames of each clip; None: all. Shape (batch,).
        noise: Standard deviation of the noise, relative to that of the clip's valid bins.

    Returns:
        Log magnitude, not negative; equal to the given one outside of the removed bins. Same shape.

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        Rong et al. 2022, A Consistent and Efficient Evaluation Strategy for Attribution Methods, arXiv 2202.00449
        (ROAD). Departures: the noise is relative to the clip, since the paper's images are standardised and log
        magnitudes are not; values below silence become 0.
    """
    filled = linear_imputation(log_magnitude, removed, frames)
    drawn = torch.zeros_like(log_magnitude)
    for clip, count in enumerate(frame_counts(log_magnitude, frames)):
        valid = log_magnitude[clip, :, :count]
        random = torch.randn(valid.shape, generator=generator_for(seed, "ROAD", names[clip])).to(valid)
        drawn[clip, :, :count] = noise * valid.std() * random
    chosen = removed.bool() & valid_bins(log_magnitude, frames)
    return torch.where(chosen, (filled + drawn).clamp(min=0), log_magnitude)


def linear_imputation(
    values: Tensor, removed: Tensor, frames: Tensor | None = None, tolerance: float = 1e-4
) -> Tensor:
    r"""Fill removed bins so that each is the weighted mean of its eight neighbours.

    .. math:: x_i \sum_{j \in N(i)} w_{ij} = \sum_{j \in N(i)} w_{ij} x_j

    with weights of 1/6 for neighbours in frequency or time and 1/12 for diagonal ones; neighbours outside of the
    clip are left out. The linear system is solved by conjugate gradients.

    Args:
        values: Values. Shape (batch, frequency, time).
        removed: 1 or True for bins to fill. Same shape.
        frames: Valid frames of each clip; None: all. Shape (batch,).
        tolerance: Norm of the residual, relative to that of the right-hand side, at which the search ends.

    Returns:
        Filled values; those of the padding stay. A clip without any remaining bin becomes 0. Same shape.

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        Rong et al. 2022, A Consistent and Efficient Evaluation Strategy for Attribution Methods, arXiv 2202.00449.
        Departures: none in the system; the authors solve it directly.

    Example:
        >>> linear_imputation(torch.tensor([[[1.0, 9.0, 3.0]]]), torch.tensor([[[0, 1, 0]]]))
        tensor([[[1., 2., 3.]]])
    """
    require_same_shape(values=values, removed=removed)
    filled = values.clone()
    # Clips differ in how many steps they need, and one at a time fits into the cache.
    for clip, count in enumerate(frame_counts(values, frames)):
        filled[clip, :, :count] = _fill(values[clip, :, :count], removed[clip, :, :count].bool(), tolerance)
    return filled


def _fill(values: Tensor, removed: Tensor, tolerance: float) -> Tensor:
    """Return the filled values of one clip, shape (frequency, time)."""
    if bool(removed.all()):
        return torch.zeros_like(values)
    present = (~removed).to(values.dtype)
    given = present * values
    # With a border of zeros, flattened: every neighbour lies at a fixed distance, in one piece of memory.
    row = values.shape[1] + 2
    inside, missing, fixed, start = (
        functional.pad(part, (1, 1, 1, 1)).flatten()
        for part in (torch.ones_like(values), 1 - present, given, _guess(given, present))
    )
    # The weights of all neighbours sum to 1, except at the edges; the border itself needs any other than 0.
    weights = torch.where(inside > 0, _sum_of_neighbours(inside, row), 1.0)
    # A x = b in the missing bins: A is their own weight minus missing neighbours, b are present neighbours. A is
    # symmetric, and positive definite as long as any bin is present.
    right = missing * _sum_of_neighbours(fixed, row)
    x = missing * start
    residual = right - missing * (weights * x - _sum_of_neighbours(x, row))
    # Conjugate gradients (Hestenes and Stiefel 1952), with the inverse of the diagonal as preconditioner. In place,
    # since to allocate a new array in every step would take longer than the step.
    scaled = residual / weights
    direction, product = scaled.clone(), float(residual @ scaled)
    limit = tolerance * float(right.norm())
    for _ in range(_MOST_ITERATIONS):
        if float(residual.norm()) <= limit:
            break
        image = _sum_of_neighbours(direction, row).neg_().addcmul_(weights, direction).mul_(missing)
        step = product / float(direction @ image)
        x.add_(direction, alpha=step)
        residual.sub_(image, alpha=step)
        torch.div(residual, weights, out=scaled)
        former, product = product, float(residual @ scaled)
        direction.mul_(product / former).add_(scaled)
    return torch.where(removed, x.view(-1, row)[1:-1, 1:-1], values)


def _sum_of_neighbours(flat: Tensor, row: int) -> Tensor:
    """Return the weighted sum of the eight neighbours of each bin.

    Args:
        flat: Bins with a border of zeros, flattened.
        row: Length of a row with its border.

    Returns:
        Sums, which mean nothing in the border. Same shape.
    """
    # The weights are those of (1, 2, 1) in both directions divided by 12, without the bin itself.
    rows, sums = torch.zeros_like(flat), torch.zeros_like(flat)
    torch.add(flat[: -2 * row], flat[2 * row :], out=rows[row:-row]).add_(flat[row:-row], alpha=2)
    torch.add(rows[:-2], rows[2:], out=sums[1:-1]).add_(rows[1:-1], alpha=2)
    return sums.div_(12).sub_(flat, alpha=1 / 3)


def _guess(values: Tensor, present: Tensor) -> Tensor:
    """Return a start, in which missing bins have values from the smallest blocks around them with present bins.

    Args:
        values: Values, 0 in missing bins. Shape (frequency, time).
        present: 1 or 0. Same shape.
    """
    if bool((present > 0).all()):
        return values
    # Blocks of two by two, smaller ones at an uneven end. Both means have the same divisor.
    means, shares = (
        functional.avg_pool2d(part[None], 2, ceil_mode=True, count_include_pad=False)[0]
        for part in (values, present)
    )
    has_any = shares > 0
    coarse = torch.where(has_any, means / shares.clamp(min=1e-9), 0.0)
    filled = _guess(coarse, has_any.to(values.dtype))
    smooth = functional.interpolate(filled[None, None], values.shape, mode="bilinear", align_corners=False)[0, 0]
    return torch.where(present > 0, values, smooth)
