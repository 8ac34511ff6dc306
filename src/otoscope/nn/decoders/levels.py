"""Levels of a pyramid over time and frequency, and how representations enter it.

A level is a resolution: level 1 has half of the spectrogram's frames and bins, level 2 a quarter, and so on.
Inside, time stands before frequency.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.nn.decoders.sizes import resize_columns

_ENTERING = 128
"""Most channels with which a representation whose rows are no frequencies enters a level."""


class Entrance(nn.Module):
    """Map from a representation to the channels and rows of a level.

    Args:
        channels: Channels of the representation.
        rows: Rows of the representation.
        width: Channels of the level.
        level_rows: Frequencies of the level.
    """

    def __init__(self, channels: int, rows: int, width: int, level_rows: int) -> None:
        super().__init__()
        # as many rows as the level has frequencies are taken to be linear frequencies: only channels then change
        aligned = rows == level_rows
        self.level_rows = level_rows
        narrower = width if aligned else min(channels, _ENTERING)
        self.narrow = nn.Conv2d(channels, narrower, 1)
        self.spread = None if aligned else nn.Conv1d(narrower * rows, width * level_rows, 1)

    def place(self, narrowed: Tensor) -> Tensor:
        """Map (batch, channels', rows', time) to (batch, width, rows, time)."""
        if self.spread is None:
            return narrowed
        placed: Tensor = self.spread(F.relu(narrowed).flatten(1, 2))
        return placed.unflatten(1, (-1, self.level_rows))  # type: ignore[no-untyped-call, no-any-return]


def entering(
    level: int,
    levels: Sequence[int],
    layers: nn.ModuleList,
    representations: Sequence[Tensor],
    frames: int,
    length: int,
    valid: Tensor | None,
) -> list[Tensor]:
    """Return the representations that enter at a level, shape each (batch, width, time, frequency).

    Args:
        level: Level.
        levels: Level at which each representation enters.
        layers: `Entrance` of each representation.
        representations: Representations, shape each (batch, channels, frequency', time').
        frames: Frames of the spectrogram.
        length: Frames at which the spectrogram is decoded, see `shifted`.
        valid: Valid frames of each clip, shape (batch,). None: all frames are valid.
    """
    parts = []
    for layer, values in at_level(level, levels, layers, representations):
        assert isinstance(layer, Entrance)
        narrowed = layer.narrow(values)
        if narrowed.shape[-1] != length >> level:
            # only time is resized, so channels and rows may be flattened together
            sequence = resize_columns(narrowed.flatten(1, 2), length >> level, frames, valid, level)
            narrowed = sequence.unflatten(1, narrowed.shape[1:3])  # type: ignore[no-untyped-call]
        parts.append(layer.place(narrowed).transpose(-1, -2))
    return parts


def at_level(
    level: int, levels: Sequence[int], layers: nn.ModuleList, representations: Sequence[Tensor]
) -> Iterator[tuple[nn.Module, Tensor]]:
    """Yield the representations that enter at a level, each with its layer."""
    for entering_level, layer, values in zip(levels, layers, representations, strict=True):
        if entering_level == level:
            yield layer, values


def sum_of(parts: list[Tensor]) -> Tensor:
    """Return the sum of one or more tensors of one shape."""
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def shifted(valid: Tensor | None, halvings: int, least: int = 1) -> Tensor | None:
    """Return the valid columns of each clip, counted as `least` or more frames, after some halvings."""
    return None if valid is None else valid.clamp(min=least) >> halvings
