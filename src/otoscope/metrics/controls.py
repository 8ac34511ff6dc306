"""Control masks, which stand beside every method in a table to show what a score is worth.

A method that does not beat random bins or the loudest bins of the same area has explained nothing. All
controls are 0 in the padding. The random and the loudest bins of a clip depend on its name, its mask and the seed
alone, not on the batch: `explain`, training tests and `evaluate` give it the same controls.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from otoscope.metrics.bins import (
    area_in_bins,
    flatten_bins,
    frame_counts,
    precise,
    require_same_shape,
    valid_bins,
)
from otoscope.metrics.ranking import keep_largest, neutral_order


def all_pass(mask: Tensor, frames: Tensor | None = None) -> Tensor:
    """Return the mask that keeps everything.

    Args:
        mask: Mask that gives shape, dtype and device. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Ones, and zeros in the padding. Shape (batch, frequency, time).

    Raises:
        ShapeError: `mask` has not three dimensions, or `frames` does not fit it.

    Example:
        >>> all_pass(torch.zeros(1, 1, 3), frames=torch.tensor([2]))
        tensor([[[1., 1., 0.]]])
    """
    return valid_bins(mask, frames).to(_mask_dtype(mask))


def random_of_equal_area(
    mask: Tensor, names: Sequence[str], seed: int = 1234, frames: Tensor | None = None
) -> Tensor:
    """Return the mask that keeps random bins, as many as another mask keeps.

    Args:
        mask: Mask in [0, 1]; the sum of its valid values, rounded, is the number of bins to keep.
            Shape (batch, frequency, time).
        names: Name of each clip.
        seed: Seed of the draw.
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Binary mask, the same for a clip in every batch and on every device. Shape (batch, frequency, time).

    Raises:
        ShapeError: `mask` has not three dimensions, or `frames` does not fit it.

    Example:
        >>> random_of_equal_area(torch.full((2, 4, 5), 0.3), ["dog", "rain"]).sum(dim=(1, 2))
        tensor([6., 6.])
    """
    importance = random_importance(mask, names, seed, frames)
    return _largest_of_equal_area(importance, mask, names, seed, frames)


def random_importance(like: Tensor, names: Sequence[str], seed: int, frames: Tensor | None = None) -> Tensor:
    """Return a map that ranks the bins of each clip at random; the random control is cut from it.

    Args:
        like: Tensor that gives shape and device. Shape (batch, frequency, time).
        names: Name of each clip.
        seed: Seed of the maps.
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Permutation of the whole numbers from 0 upwards, and zeros in the padding.
            Shape (batch, frequency, time), float32.

    Raises:
        ShapeError: `like` has not three dimensions, or `frames` does not fit it.
    """
    importance = torch.zeros_like(like, dtype=torch.float32)
    orders = neutral_order(like, names, seed, frames, purpose="random control")
    for values, order, count in zip(importance, orders, frame_counts(like, frames), strict=True):
        # A random permutation serves as importance: every bin has another value, so there are no ties.
        values[:, :count] = order.to(values).view(-1, count)
    return importance


def loudest_of_equal_area(
    mask: Tensor,
    log_magnitude: Tensor,
    names: Sequence[str],
    seed: int = 1234,
    frames: Tensor | None = None,
) -> Tensor:
    """Return the mask that keeps the loudest bins, as many as another mask keeps.

    Args:
        mask: Mask in [0, 1]; the sum of its valid values, rounded, is the number of bins to keep.
            Shape (batch, frequency, time).
        log_magnitude: log1p of the magnitude. Shape (batch, frequency, time).
        names: Name of each clip.
        seed: Seed of the order in which equally loud bins are taken, such as those of digital silence.
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Binary mask, the same for a clip in every batch. Shape (batch, frequency, time).

    Raises:
        ShapeError: The shapes do not fit together.

    Example:
        >>> mask, log_magnitude = torch.tensor([[[1.0, 1.0, 0.0]]]), torch.tensor([[[0.0, 2.0, 3.0]]])
        >>> loudest_of_equal_area(mask, log_magnitude, ["dog"])
        tensor([[[0., 1., 1.]]])
    """
    require_same_shape(mask=mask, log_magnitude=log_magnitude)
    return _largest_of_equal_area(log_magnitude, mask, names, seed, frames)


def ideal_mask(
    event_log_magnitude: Tensor,
    background_log_magnitude: Tensor,
    floor_db: float = -60.0,
    frames: Tensor | None = None,
) -> Tensor:
    r"""Return the mask that keeps the bins where the event is louder than the background: the ground truth.

    .. math:: I = \mathbb{1}[E > B] \cdot \mathbb{1}[E > 10^{\text{floor}/20} \max E]

    Args:
        event_log_magnitude: log1p of the magnitude of the event alone. Shape (batch, frequency, time).
        background_log_magnitude: log1p of the magnitude of everything else. Shape (batch, frequency, time).
        floor_db: Level relative to the loudest bin of the event; bins at or below it are not part of the event.
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Binary mask; all zero for a silent event. Shape (batch, frequency, time).

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        Wang 2005, On ideal binary mask as the computational goal of auditory scene analysis.
        Departures: the floor, so that a silent background does not make the whole plane the event.

    Example:
        >>> event, background = torch.tensor([[[0.0, 2.0, 1.0]]]), torch.tensor([[[0.0, 1.0, 2.0]]])
        >>> ideal_mask(event, background)
        tensor([[[0., 1., 0.]]])
    """
    require_same_shape(event_log_magnitude=event_log_magnitude, background_log_magnitude=background_log_magnitude)
    # Magnitudes instead of logarithms, because the floor is a ratio. Padding of the event is 0, never the maximum.
    event = flatten_bins(event_log_magnitude, frames).values.expm1()
    background = precise(background_log_magnitude).flatten(1).expm1()
    floor = event.amax(dim=1, keepdim=True) * 10 ** (floor_db / 20)
    # The comparisons alone are not enough in the padding, where the background may hold anything.
    inside = (event > background) & (event > floor) & valid_bins(event_log_magnitude, frames).flatten(1)
    return inside.view_as(event_log_magnitude).to(_mask_dtype(event_log_magnitude))


def _largest_of_equal_area(
    importance: Tensor, mask: Tensor, names: Sequence[str], seed: int, frames: Tensor | None
) -> Tensor:
    result = torch.zeros_like(mask, dtype=_mask_dtype(mask))
    orders = neutral_order(mask, names, seed, frames)
    areas = area_in_bins(mask, frames).int().tolist()
    for clip, (order, area, count) in enumerate(zip(orders, areas, frame_counts(mask, frames), strict=True)):
        # Only the valid bins compete, and without the padding a clip has the same bins and order in every batch.
        largest = keep_largest(importance[clip, :, :count].flatten(), area, order)
        result[clip, :, :count] = largest.view(-1, count).to(result.dtype)
    return result


def _mask_dtype(mask: Tensor) -> torch.dtype:
    # Controls of a boolean mask are floating-point masks like all others.
    return mask.dtype if mask.is_floating_point() else torch.float32
