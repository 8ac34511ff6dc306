"""The bins of a batch of padded clips, flattened, with the padding replaced.

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
        values: One value per bin; the padding holds a constant. Shape (batch, frequency * time), float64.
        valid: False in the padding. Shape (batch, frequency * time).
        count: Number of valid bins. Shape (batch,), float64.
    """

    values: Tensor
    valid: Tensor
    count: Tensor


def flatten_bins(mask: Tensor, frames: Tensor | None, padding_value: float = 0.0) -> Bins:
    """Flatten the bins of each clip in float64 and replace the padding.

    Args:
        mask: One value per bin. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).
        padding_value: Value of all bins in the padding.

    Returns:
        The bins, ordered by frequency and then by time.

    Raises:
        ShapeError: `mask` has not three dimensions, or `frames` does not fit it.

    Example:
        >>> flatten_bins(torch.ones(1, 2, 3), torch.tensor([2])).values
        tensor([[1., 1., 0., 1., 1., 0.]], dtype=torch.float64)
    """
    valid = valid_bins(mask, frames).flatten(1)
    # Replaced, not multiplied by zero: padding may hold anything, and NaN times zero is NaN.
    values = precise(mask).flatten(1).masked_fill(~valid, padding_value)
    return Bins(values=values, valid=valid, count=valid.sum(dim=1).to(values.dtype))


def valid_bins(mask: Tensor, frames: Tensor | None) -> Tensor:
    """Return which bins belong to a clip and not to its padding.

    Args:
        mask: Tensor that gives shape and device. Shape (batch, frequency, time).
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
    _require_frames_of(mask, frames)
    if frames is None:
        return torch.ones_like(mask, dtype=torch.bool)
    time = torch.arange(mask.shape[2], device=mask.device)
    return (time < frames.to(mask.device)[:, None, None]).expand(mask.shape)


def frame_counts(mask: Tensor, frames: Tensor | None) -> list[int]:
    """Return the number of valid frames of each clip.

    Args:
        mask: Tensor that gives the shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Raises:
        ShapeError: `mask` has not three dimensions, or `frames` does not fit it.

    Example:
        >>> frame_counts(torch.zeros(2, 1, 3), None)
        [3, 3]
    """
    _require_frames_of(mask, frames)
    counts: list[int] = [mask.shape[2]] * len(mask) if frames is None else frames.tolist()
    return counts


def area_in_bins(mask: Tensor, frames: Tensor | None = None) -> Tensor:
    """Return how many bins a soft mask is equivalent to: the sum of its valid values, rounded.

    Args:
        mask: Mask in [0, 1]; NaN counts as 0. Shape (batch, frequency, time).
        frames: Valid frames of each clip; None: all. Shape (batch,).

    Returns:
        Number of bins, not negative and at most that of the valid bins. Shape (batch,), float64, on the CPU.

    Raises:
        ShapeError: `mask` has not three dimensions, or `frames` does not fit it.

    Example:
        >>> area_in_bins(torch.full((1, 4, 5), 0.3), torch.tensor([4]))
        tensor([5.], dtype=torch.float64)
    """
    counts = frame_counts(mask, frames)
    # On the CPU in float64: the same count on every device, also on one that has no float64.
    values = torch.nan_to_num(mask).cpu().double()
    sums = torch.stack([clip[:, :count].sum() for clip, count in zip(values, counts, strict=True)])
    return sums.round().clamp(min=0.0).minimum(torch.tensor(counts).double() * mask.shape[1])


def require_same_shape(**tensors: Tensor) -> None:
    """Raise an error that names the tensors if their shapes differ.

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
    """Convert a tensor to float64 for long sums (to float32 on MPS, which has no float64)."""
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def result_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype of a result: that of the input, but at least float32."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _require_frames_of(mask: Tensor, frames: Tensor | None) -> None:
    if mask.ndim != 3:
        raise ShapeError(f"expected (batch, frequency, time), got shape {tuple(mask.shape)}")
    if frames is not None and frames.shape != mask.shape[:1]:
        raise ShapeError(
            f"`frames` must hold a number for each of {len(mask)} clips, got shape {tuple(frames.shape)}"
        )
