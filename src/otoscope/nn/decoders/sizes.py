"""Sizes of feature maps and of their valid part, and changes of size that treat each clip as if it were alone.

A representation has fewer columns than the spectrogram has frames. In a padded batch only some of its columns
belong to a clip, and every step of a decoder changes their number::

    spectrogram      x x x x x x x x x 0 0 0 0 0 0 0      9 valid of 16 frames
    representation   x       x       0       0            2 valid of 4 columns
"""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.audio.padding import zero_padding

REDUCTION = 16
"""Decoders of one representation double the resolution four times."""
_PROBED_FRAMES = 512
_RESIZED_HALVINGS = 4
_MOST_HALVINGS = 6


def halvings_of(columns: int) -> int:
    """Return how often the frames were halved on the way to a representation.

    Representations whose frames were not halved a whole number of times enter at 1/16 of the frames, resized.

    Args:
        columns: Columns of the representation of 512 frames.
    """
    # log2 of the ratio, rounded down; it is exact if shifting the columns back gives all frames
    exact = _PROBED_FRAMES // max(columns, 1)
    power = max(exact.bit_length() - 1, 0)
    whole = columns << power == _PROBED_FRAMES and power <= _MOST_HALVINGS
    return power if whole else _RESIZED_HALVINGS


@overload
def valid_columns(width: int, time: int, frames: None) -> None: ...
@overload
def valid_columns(width: int, time: int, frames: Tensor) -> Tensor: ...
@overload
def valid_columns(width: int, time: int, frames: Tensor | None) -> Tensor | None: ...
def valid_columns(width: int, time: int, frames: Tensor | None) -> Tensor | None:
    """Return how many columns of a representation belong to each clip.

    Args:
        width: Columns of the representation.
        time: Frames of the spectrogram.
        frames: Valid frames of each clip, shape (batch,). None gives None.

    Example:
        >>> valid_columns(4, 16, torch.tensor([16, 9]))
        tensor([4, 2])
    """
    if frames is None:
        return None
    halvings = max(time // width, 1).bit_length() - 1
    if width == time >> halvings:
        # strides and pools halve the frames and round down each time, which equals rounding down once
        columns = frames >> halvings
    else:
        # a resized map has the clip's share of the columns, rounded up
        columns = torch.div(frames * width + time - 1, time, rounding_mode="floor")
    return columns.clamp(1, width)


def raised_rows(layer: nn.ConvTranspose2d, rows: Tensor) -> Tensor:
    """Return how many valid rows a transposed convolution makes.

    Args:
        layer: Transposed convolution over (time, frequency).
        rows: Valid rows of its input, shape (batch,).
    """
    # size of a transposed convolution without output padding: the rows that the clip would have alone
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    return (rows - 1) * stride - 2 * padding + kernel


def decode_each(
    decode: Callable[[slice, int], Tensor], frames: int, valid: Tensor, training: bool = False
) -> Tensor:
    """Decode each clip of a padded batch alone, for representations that span each clip as a whole.

    Args:
        decode: Function from a slice of the batch and a number of frames to results (clips, channels, frames).
        frames: Frames of the result.
        valid: Valid frames of each clip, shape (batch,).
        training: Decode all clips at the length of the longest and shorten each result, since batch norms need the
            whole batch.

    Returns:
        Results, 0 on padding. Shape (batch, channels, frames).
    """
    counts = valid.tolist()
    if training:
        parts = [
            F.interpolate(clip[None], count, mode="linear")
            for clip, count in zip(decode(slice(None), frames), counts, strict=True)
        ]
    else:
        parts = [decode(slice(i, i + 1), count) for i, count in enumerate(counts)]
    return torch.cat([F.pad(part, (0, frames - part.shape[-1])) for part in parts])


def resize_map(hidden: Tensor, size: tuple[int, int], frames: int, valid: Tensor | None) -> Tensor:
    """Resize a feature map, each clip as it would be alone.

    Args:
        hidden: Feature map, shape (batch, channels, time, frequency).
        size: Rows and columns of the result, 1/16 of the spectrogram.
        frames: Frames of the spectrogram.
        valid: Valid frames of each clip, shape (batch,). None: all frames are valid.

    Returns:
        Feature map, 0 on padding. Shape (batch, channels, *size).
    """
    if valid is None:
        return F.interpolate(hidden, size, mode="bilinear", align_corners=False)
    resized = hidden.new_zeros(*hidden.shape[:2], *size)
    sources = valid_columns(hidden.shape[-2], frames, valid).tolist()
    targets = (valid // REDUCTION).clamp(min=1).tolist()
    # clip by clip, since each has a ratio of lengths of its own
    for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
        clip = hidden[i : i + 1, :, :source]
        resized[i, :, :target] = F.interpolate(clip, (target, size[1]), mode="bilinear", align_corners=False)[0]
    return resized


def resize_columns(sequence: Tensor, length: int, frames: int, valid: Tensor | None, halvings: int) -> Tensor:
    """Resize a sequence linearly, each clip as it would be alone.

    Args:
        sequence: Sequence, shape (batch, channels, columns).
        length: Columns of the result.
        frames: Frames of the spectrogram.
        valid: Valid frames of each clip, shape (batch,). None: all frames are valid.
        halvings: The result has ``valid >> halvings`` valid columns.

    Returns:
        Sequence, 0 on padding. Shape (batch, channels, length).
    """
    if valid is None:
        return F.interpolate(sequence, length, mode="linear", align_corners=False)
    source = valid_columns(sequence.shape[-1], frames, valid.clamp(max=frames))[:, None]
    target = (valid >> halvings)[:, None]
    # Sample points as `F.interpolate` places them (pixels have centres at .5), but with each clip's own ratio of
    # lengths; points outside the clip take its first or last column.
    place = (torch.arange(length, device=sequence.device) + 0.5) * source / target - 0.5
    place = place.clamp(min=0).minimum(source - 1)
    low = place.floor().long()
    high = (low + 1).minimum(source - 1)
    share = (place - low)[:, None]
    resized = take_columns(sequence, low) * (1 - share) + take_columns(sequence, high) * share
    return zero_padding(resized, valid >> halvings)


def double_columns(sequence: Tensor, length: int, valid: Tensor | None) -> Tensor:
    """Repeat each column of a sequence, and the last one of each clip as often as its length needs.

    Args:
        sequence: Sequence, shape (batch, channels, length // 2).
        length: Columns of the result.
        valid: Valid columns of each clip in the result, shape (batch,). None: all columns are valid.

    Returns:
        Sequence, 0 on padding. Shape (batch, channels, length).
    """
    if valid is None:
        doubled = sequence.repeat_interleave(2, -1)
        return doubled if length % 2 == 0 else torch.cat([doubled, doubled[..., -1:]], -1)
    # column i repeats column i // 2; the limit holds the last column of a clip of odd length
    index = (torch.arange(length, device=sequence.device) // 2).minimum(valid[:, None] // 2 - 1)
    return zero_padding(take_columns(sequence, index), valid)


def fit_columns(sequence: Tensor, length: int, valid: Tensor | None) -> Tensor:
    """Cut a sequence to a length, or hold the last valid column of each clip up to it.

    Args:
        sequence: Sequence, shape (batch, channels, columns).
        length: Columns of the result.
        valid: Valid columns of each clip, shape (batch,). None: all columns are valid.

    Returns:
        Sequence, shape (batch, channels, length).
    """
    sequence = sequence[..., :length]
    missing = length - sequence.shape[-1]
    if valid is not None:
        # an index that stops at the last valid column holds it up to the end
        index = torch.arange(length, device=sequence.device).minimum(valid.to(sequence.device)[:, None] - 1)
        return take_columns(sequence, index)
    if missing == 0:
        return sequence
    return torch.cat([sequence, sequence[..., -1:].expand(-1, -1, missing)], -1)


def fit_frames(decoded: Tensor, bins: int, frames: int, valid: Tensor | None) -> Tensor:
    """Cut a decoded map to the size of the spectrogram, or hold its last row or column up to it.

    Args:
        decoded: Decoded map, shape (batch, rows, columns), with time before frequency.
        bins: Frequency bins of the spectrogram.
        frames: Frames of the spectrogram.
        valid: Valid rows of each clip, shape (batch,). None: all rows are valid.

    Returns:
        Map, shape (batch, frames, bins).
    """
    decoded = fit_columns(decoded[:, :frames], bins, None)
    return fit_columns(decoded.transpose(1, 2), frames, valid).transpose(1, 2)


def take_columns(sequence: Tensor, index: Tensor) -> Tensor:
    """Take columns of a sequence (batch, channels, columns) by an index (batch, length) of each clip."""
    return sequence.gather(2, index[:, None].expand(-1, sequence.shape[1], -1))
