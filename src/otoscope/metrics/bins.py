"""The bins of a batch of padded clips, laid flat, with the padding set aside.

Every metric and every control starts here, so that padding is left out in one place only.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from otoscope.errors import ShapeError


@dataclass(frozen=True)
class Bins:
    """The bins of a batch of clips.

    Attributes:
        values: One value a bin; the padding holds a fixed filling. Shape (batch, frequency * time), float64.
        valid: False in the padding. Shape (batch, frequency * time).
        count: The number of valid bins. Shape (batch,), float64.
    """

    values: Tensor
    valid: Tensor
    count: Tensor


def lay_flat(mask: Tensor, frames: Tensor | None, filling: float = 0.0) -> Bins:
    """Lays the bins of each clip in a row, in float64, and replaces the padding.

    The padding is replaced, not multiplied by zero: it may hold anything, even NaN.

    Args:
        mask: One value a bin. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).
        filling: What to put in the padding.

    Returns:
        The bins, ordered by frequency and then by time.

    Raises:
        ShapeError: `mask` has not three dimensions, or `frames` does not fit it.

    Example:
        >>> lay_flat(torch.ones(1, 2, 3), torch.tensor([2])).values
        tensor([[1., 1., 0., 1., 1., 0.]], dtype=torch.float64)
    """
    valid = valid_bins(mask, frames).flatten(1)
    values = precise(mask).flatten(1).masked_fill(~valid, filling)
    return Bins(values=values, valid=valid, count=valid.sum(dim=1).to(values.dtype))


def valid_bins(mask: Tensor, frames: Tensor | None) -> Tensor:
    """Tells the bins of a clip from its padding.

    Args:
        mask: Only its shape and its device count. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        True where a bin is valid. Shape (batch, frequency, time).

    Raises:
        ShapeError: `mask` has not three dimensions, or `frames` does not fit it.

    Example:
        >>> valid_bins(torch.zeros(2, 1, 3), torch.tensor([3, 1])).squeeze(1)
        tensor([[ True,  True,  True],
                [ True, False, False]])
    """
    if mask.ndim != 3:
        raise ShapeError(f"expected (batch, frequency, time), got shape {tuple(mask.shape)}")
    if frames is None:
        return torch.ones_like(mask, dtype=torch.bool)
    if frames.shape != mask.shape[:1]:
        raise ShapeError(
            f"`frames` must hold a number for each of {len(mask)} clips, got shape {tuple(frames.shape)}"
        )
    time = torch.arange(mask.shape[2], device=mask.device)
    return (time < frames.to(mask.device)[:, None, None]).expand(mask.shape)


def require_same_shape(**tensors: Tensor) -> None:
    """Refuses tensors that differ in shape, by name.

    Raises:
        ShapeError: The shapes differ.

    Example:
        >>> require_same_shape(mask=torch.zeros(1, 2), ideal=torch.zeros(1, 3))
        Traceback (most recent call last):
        otoscope.errors.ShapeError: the shapes differ: mask (1, 2), ideal (1, 3)
    """
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise ShapeError(f"the shapes differ: {shapes}")


def precise(tensor: Tensor) -> Tensor:
    """Turns a tensor into float64 for long sums (into float32 on MPS, which has no float64)."""
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def result_dtype(tensor: Tensor) -> torch.dtype:
    """Returns the dtype of a result: that of the input, but at least float32."""
    return torch.promote_types(tensor.dtype, torch.float32)
