"""The spectrogram that every classifier sees and every mask multiplies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from otoscope.errors import ShapeError


@dataclass
class Spectrogram:
    """A batch of log-magnitude short-time spectra with the phase that turns them back into sound.

    Attributes:
        log_magnitude: ``log1p(|X|)``, not negative. Shape (batch, frequency, time).
        phase: In radians. Same shape.
        length: Samples of the waveform it came from (that of the longest clip in a padded batch).
        frames: Frames that belong to each clip, where clips were padded. Shape (batch,), int64.
            None: every frame belongs.
    """

    log_magnitude: Tensor
    phase: Tensor
    length: int | None = None
    frames: Tensor | None = None

    def masked(self, mask: Tensor) -> Spectrogram:
        """Multiplies the log magnitude by a mask and keeps the phase (METHODS, "Front-end").

        Args:
            mask: In [0, 1]. Shape (batch, frequency, time).

        Raises:
            ShapeError: The mask has another shape.
        """
        if mask.shape != self.log_magnitude.shape:
            raise ShapeError(
                f"a mask of shape {tuple(mask.shape)} does not fit a spectrogram of shape "
                f"{tuple(self.log_magnitude.shape)}"
            )
        return replace(self, log_magnitude=self.log_magnitude * mask)

    def clip(self, index: int, length: int) -> Spectrogram:
        """One clip of a padded batch, as it would be alone.

        Args:
            index: Its place in the batch.
            length: Samples of it.
        """
        count = self.log_magnitude.shape[-1] if self.frames is None else int(self.frames[index])
        part = (slice(index, index + 1), slice(None), slice(count))
        return Spectrogram(self.log_magnitude[part], self.phase[part], length)

    @property
    def magnitude(self) -> Tensor:
        """``|X|``, shape (batch, frequency, time)."""
        return torch.expm1(self.log_magnitude)
