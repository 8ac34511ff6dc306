"""Padding: the frames behind the end of a shorter clip in a batch of clips of different lengths.

::

    clip 0   x x x x x x      frames[0] = 6
    clip 1   x x x 0 0 0      frames[1] = 3: the last three columns are padding

``frames`` holds the number of valid frames of each clip, shape (batch,), or is None if all clips of a batch are
equally long and nothing is padded. Padding never counts in a mask, a loss or a score.
"""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor


@overload
def valid_frames(frames: None, like: Tensor) -> None: ...
@overload
def valid_frames(frames: Tensor, like: Tensor) -> Tensor: ...
@overload
def valid_frames(frames: Tensor | None, like: Tensor) -> Tensor | None: ...
def valid_frames(frames: Tensor | None, like: Tensor) -> Tensor | None:
    """Return which frames are valid, as a mask that broadcasts over (batch, ..., time).

    Args:
        frames: Number of valid frames of each clip, shape (batch,). None: the result is None.
        like: Tensor that the mask will multiply, shape (batch, ..., time). The mask has its device and dtype.

    Returns:
        1.0 where the frame is valid, 0.0 on padding. Shape (batch, 1, ..., 1, time).

    Example:
        >>> valid_frames(torch.tensor([1, 3]), torch.zeros(2, 5, 3)).squeeze()
        tensor([[1., 0., 0.],
                [1., 1., 1.]])
    """
    if frames is None:
        return None
    time = torch.arange(like.shape[-1], device=like.device)
    valid = (time < frames.to(like.device)[:, None]).to(like.dtype)
    return valid.reshape(len(valid), *([1] * (like.ndim - 2)), -1)


def zero_padding(values: Tensor, frames: Tensor | None, axis: int = -1) -> Tensor:
    """Set the padding of each clip to zero, so that no convolution carries it back into the clip.

    Args:
        values: Finite values, shape (batch, ..., time).
        frames: Number of valid frames of each clip, shape (batch,). None returns `values` unchanged.
        axis: Axis of time.

    Example:
        >>> zero_padding(torch.ones(2, 1, 3), torch.tensor([1, 3])).squeeze()
        tensor([[1., 0., 0.],
                [1., 1., 1.]])
    """
    if frames is None:
        return values
    return values * valid_frames(frames, values.transpose(axis, -1)).transpose(axis, -1)


def frame_counts(values: Tensor, frames: Tensor | None) -> list[int]:
    """Return the number of valid frames of each clip as integers.

    Args:
        values: Values of a batch, shape (batch, ..., time).
        frames: Number of valid frames of each clip, shape (batch,). None: all frames are valid.

    Example:
        >>> frame_counts(torch.zeros(2, 5, 3), None)
        [3, 3]
    """
    counts: list[int] = [values.shape[-1]] * len(values) if frames is None else frames.tolist()
    return counts


def masked_mean(values: Tensor, frames: Tensor | None) -> Tensor:
    """Return the mean over the valid values of all clips; padding affects neither the value nor the gradient.

    Args:
        values: Values to average, shape (batch, ..., time). Padding may hold anything, even NaN.
        frames: Number of valid frames of each clip, shape (batch,). None: all frames are valid.

    Example:
        >>> masked_mean(torch.tensor([[1.0, 9.0], [2.0, 3.0]]), torch.tensor([1, 2]))
        tensor(2.)
    """
    if frames is None:
        return values.mean()
    valid = valid_frames(frames, values).bool()
    # `where` instead of a product: 0 * NaN would be NaN, in the value and in the gradient
    return torch.where(valid, values, 0).sum() / (valid.sum() * values[0, ..., 0].numel())
