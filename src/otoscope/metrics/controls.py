"""Masks that every table sets beside a method, to show what a score is worth.

A method that does not beat random bins or the loudest bins of the same area has explained nothing. All
controls are 0 in the padding.
"""

import torch
from torch import Tensor

from otoscope.metrics.bins import Bins, lay_flat, precise, require_same_shape, valid_bins


def all_pass(mask: Tensor, frames: Tensor | None = None) -> Tensor:
    """Keeps everything.

    Args:
        mask: A mask; its shape, dtype and device are taken. Shape (batch, frequency, time).
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
    mask: Tensor, frames: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Keeps random bins, as many as the mask's area is worth.

    Args:
        mask: A mask in [0, 1]; the sum of its valid bins, rounded, is the number kept.
            Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).
        generator: Source of randomness; a CPU generator gives the same bins on every device.

    Returns:
        Binary mask. Shape (batch, frequency, time).

    Raises:
        ShapeError: `mask` has not three dimensions, or `frames` does not fit it.

    Example:
        >>> random_of_equal_area(torch.full((2, 4, 5), 0.3)).sum(dim=(1, 2))
        tensor([6., 6.])
    """
    device = mask.device if generator is None else generator.device
    chance = torch.rand(mask.shape, generator=generator, device=device).to(mask.device)
    return _keep_highest(chance, lay_flat(mask, frames)).view_as(mask).to(_mask_dtype(mask))


def loudest_of_equal_area(mask: Tensor, log_magnitude: Tensor, frames: Tensor | None = None) -> Tensor:
    """Keeps the loudest bins, as many as the mask's area is worth.

    Args:
        mask: A mask in [0, 1]; the sum of its valid bins, rounded, is the number kept.
            Shape (batch, frequency, time).
        log_magnitude: log1p of the magnitude. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Binary mask; of equally loud bins, the lower and then the earlier is kept.
        Shape (batch, frequency, time).

    Raises:
        ShapeError: The shapes do not fit together.

    Example:
        >>> loudest_of_equal_area(torch.tensor([[[1.0, 1.0, 0.0]]]), torch.tensor([[[0.0, 2.0, 3.0]]]))
        tensor([[[0., 1., 1.]]])
    """
    require_same_shape(mask=mask, log_magnitude=log_magnitude)
    return _keep_highest(log_magnitude, lay_flat(mask, frames)).view_as(mask).to(_mask_dtype(mask))


def ideal_mask(
    event_log_magnitude: Tensor,
    background_log_magnitude: Tensor,
    floor_db: float = -60.0,
    frames: Tensor | None = None,
) -> Tensor:
    r"""Keeps the bins where the event is louder than the background: the ground truth.

    .. math:: I = \mathbb{1}[E > B] \cdot \mathbb{1}[E > 10^{\text{floor}/20} \max E]

    Args:
        event_log_magnitude: log1p of the magnitude of the event alone. Shape (batch, frequency, time).
        background_log_magnitude: The same of all the rest. Shape (batch, frequency, time).
        floor_db: Bins this far below the loudest bin of the event are no part of it.
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
    event = lay_flat(event_log_magnitude, frames).values.expm1()
    background = precise(background_log_magnitude).flatten(1).expm1()
    floor = event.amax(dim=1, keepdim=True) * 10 ** (floor_db / 20)
    inside = (event > background) & (event > floor) & valid_bins(event_log_magnitude, frames).flatten(1)
    return inside.view_as(event_log_magnitude).to(_mask_dtype(event_log_magnitude))


def _keep_highest(scores: Tensor, area: Bins) -> Tensor:
    wanted = area.values.sum(dim=1).round().clamp(min=0.0).minimum(area.count)
    ranked = scores.flatten(1).masked_fill(~area.valid, -torch.inf)
    order = ranked.argsort(dim=1, descending=True, stable=True)
    among_first = torch.arange(order.shape[1], device=order.device) < wanted[:, None]
    return torch.zeros_like(area.valid).scatter(1, order, among_first)


def _mask_dtype(mask: Tensor) -> torch.dtype:
    return mask.dtype if mask.is_floating_point() else torch.float32
