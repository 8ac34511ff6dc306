"""Decoder to a ranking of the bins for a class and an area, without transposed convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio.padding import zero_padding
from otoscope.nn.decoders.common import initialize_convolutions
from otoscope.nn.decoders.levels import Entrance, entering, shifted, sum_of
from otoscope.nn.decoders.sizes import halvings_of, resize_columns

_WIDEST = 64
"""Most channels of any level."""
_CLASS_SIZE = 16
"""Size of the vector of each class."""
_EPSILON = 1e-5


class SmoothMask(nn.Module):
    """Pyramid from representations and sound to a ranking of the bins, conditioned on a class and an area.

    A transposed convolution computes neighbouring outputs by different weights, so that what it draws can
    alternate from frame to frame. Here every doubling is a bilinear interpolation, which removes what the coarser
    level cannot hold, and then a convolution with the same weights everywhere: a steady input gives a steady
    output. Details come from the log magnitude. It enters at half of its resolution, at which the last convolution
    makes the result: frames overlap by half, so that nothing that a sound can hold alternates from frame to frame.
    Class and area scale and shift the channels of every level (FiLM, arXiv 1709.07871). Norms are over one clip, so
    that batches and padding do not count.

    Args:
        shapes: (channels, frequency', time') of each representation of 512 frames, the deepest last.
        bins: Frequency bins of the spectrogram.
        classes: Number of classes.
        narrowest: Channels at half of the spectrogram's resolution; twice as many at a quarter, up to 64.
    """

    def __init__(self, shapes: Sequence[Sequence[int]], bins: int, classes: int, narrowest: int = 8) -> None:
        super().__init__()
        self.bins = bins
        self.levels = [max(halvings_of(shape[2]), 1) for shape in shapes]
        self.top = max(self.levels)
        # widths[level - 1] belongs to 1 / 2^level of the resolution
        widths = [min(narrowest << level, max(_WIDEST, narrowest)) for level in range(self.top)]
        self.inputs = nn.ModuleList(
            Entrance(shape[0], shape[1], widths[level - 1], self._rows(level))
            for shape, level in zip(shapes, self.levels, strict=True)
        )
        pairs = list(zip(widths[1:], widths[:-1], strict=True))
        self.narrows = nn.ModuleList(nn.Conv2d(coarse, fine, 1, bias=False) for coarse, fine in pairs)
        self.convolutions = nn.ModuleList(nn.Conv2d(fine, fine, 3, padding=1) for _, fine in pairs)
        self.sound = nn.Conv2d(1, widths[0], 3, padding=1)
        self.classes = nn.Embedding(classes, _CLASS_SIZE)
        self.conditions = nn.ModuleList(nn.Linear(_CLASS_SIZE + 1, 2 * width) for width in widths)
        self.last = nn.Conv2d(widths[0], 1, 3, padding=1)
        self.apply(initialize_convolutions)

    @override
    def forward(
        self,
        representations: Sequence[Tensor],
        sound: Tensor,
        target: Tensor,
        area: Tensor,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Decode representations to a ranking.

        Args:
            representations: Representations, the deepest last. Shape each (batch, channels, frequency', time').
            sound: Log magnitude of a mean of 0 and a variance of 1, 0 in the padding. Shape (batch, frequency,
                time).
            target: Class of each clip, shape (batch,), int64.
            area: Share of the bins that the mask of each clip will keep, shape (batch,).
            valid: Valid frames of each clip, shape (batch,). None: all frames are valid.

        Returns:
            Values that are higher where a bin is more important, of any range; they mean nothing on padding. Shape
            (batch, frequency, time).
        """
        frames = sound.shape[-1]
        # a clip shorter than one deepest column is decoded at that length, and the result is cut
        length = max(frames, 1 << self.top)
        valid = None if valid is None else valid.to(sound.device).clamp(min=1 << self.top)
        condition = torch.cat([self.classes(target), area[:, None].log().to(sound.dtype)], 1)
        hidden: Tensor | None = None
        for level in range(self.top, 0, -1):
            parts = entering(level, self.levels, self.inputs, representations, frames, length, valid)
            if hidden is not None:
                # narrowed before it is enlarged, which costs a quarter
                raised = self._doubled(self.narrows[level - 1](hidden), level, length, valid)
                parts.append(self.convolutions[level - 1](raised))
            if level == 1:
                padded = F.pad(sound, (0, length - frames, 0, self._rows(0) - self.bins))
                pooled = F.avg_pool2d(padded.transpose(-1, -2)[:, None], 2)
                # the last of an odd number of frames is pooled together with padding
                parts.append(self.sound(zero_padding(pooled, shifted(valid, 1), axis=-2)))
            hidden = self._conditioned(sum_of(parts), level, condition, shifted(valid, level))
        decoded = self._doubled(self.last(hidden), 0, length, valid)
        return decoded[:, 0, :frames, : self.bins].transpose(-1, -2)

    def _rows(self, level: int) -> int:
        """Return the number of frequencies at this level."""
        return max(self.bins, 1 << self.top) >> level

    def _doubled(self, hidden: Tensor, level: int, length: int, valid: Tensor | None) -> Tensor:
        """Enlarge a map of (time, frequency) to the size of a level, each clip as it would be alone."""
        columns, rows = length >> level, self._rows(level)
        if valid is not None:
            # time by each clip's own ratio of lengths; channels and frequencies may be flattened together
            sequence = hidden.transpose(2, 3).flatten(1, 2)
            sequence = resize_columns(sequence, columns, length, valid, level)
            hidden = sequence.unflatten(1, (hidden.shape[1], -1)).transpose(2, 3)  # type: ignore[no-untyped-call]
        return F.interpolate(hidden, (columns, rows), mode="bilinear", align_corners=False)

    def _conditioned(self, hidden: Tensor, level: int, condition: Tensor, valid: Tensor | None) -> Tensor:
        """Normalise each clip, then scale and shift its channels by class and area, and rectify."""
        scale, shift = self.conditions[level - 1](condition)[:, :, None, None].chunk(2, 1)
        hidden = normalized(hidden.transpose(-1, -2), valid).transpose(-1, -2)
        return zero_padding(F.relu(hidden * (1 + scale) + shift), valid, axis=-2)


def normalized(values: Tensor, frames: Tensor | None) -> Tensor:
    """Return values whose mean and variance over each clip are 0 and 1; the padding does not count and is 0.

    Args:
        values: Finite values, shape (batch, ..., time). A clip of one value throughout gives 0.
        frames: Valid frames of each clip, shape (batch,). None: all frames are valid.

    Example:
        >>> normalized(torch.tensor([[[1.0, 3.0, 9.0]]]), torch.tensor([2])).round().tolist()
        [[[-1.0, 1.0, -0.0]]]
    """
    dimensions = tuple(range(1, values.ndim))
    values = zero_padding(values, frames)
    lengths = values.shape[-1] if frames is None else frames.to(values).view(-1, *([1] * (values.ndim - 1)))
    count = values[0, ..., 0].numel() * lengths
    centred = zero_padding(values - values.sum(dimensions, keepdim=True) / count, frames)
    variance = centred.square().sum(dimensions, keepdim=True) / count
    return centred * (variance + _EPSILON).rsqrt()
