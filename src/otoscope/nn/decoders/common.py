"""Base classes of the decoders.

Representations have the shape (batch, channels, frequency', time'), results the shape (batch, frequency or
components, time). Inside, the networks run with time before frequency, as they were published.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from typing_extensions import override

from otoscope.audio.padding import zero_padding
from otoscope.nn.decoders.sizes import REDUCTION, fit_frames, resize_map

DecoderName = Literal["light", "published"]


def initialize_convolutions(module: nn.Module) -> None:
    """Set Xavier-uniform weights and zero biases, the published initialisation; for `nn.Module.apply`."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Decoder(nn.Module, ABC):
    """Base class of decoders of one representation.

    The representation is resized to 1/16 of the spectrogram, decoded, and cut or extended to the size of the
    spectrogram.
    """

    layers: nn.Sequential

    @override
    def forward(self, hidden: Tensor, bins: int, frames: int, valid: Tensor | None = None) -> Tensor:
        """Decode a representation to logits.

        Args:
            hidden: Representation, shape (batch, channels, frequency', time').
            bins: Frequency bins of the result.
            frames: Frames of the result.
            valid: Valid frames of each clip, shape (batch,). None: all frames are valid.

        Returns:
            Logits, shape (batch, bins, frames). They mean nothing on padding.
        """
        # the size that four doublings raise to about that of the spectrogram
        size = (max(frames // REDUCTION, 1), max(bins // REDUCTION, 1))
        hidden = hidden.transpose(-1, -2)
        if valid is not None:
            valid = valid.to(hidden.device)
        if tuple(hidden.shape[-2:]) != size:
            hidden = resize_map(hidden, size, frames, valid)
        decoded, valid = self.decode(hidden, bins, frames, valid)
        return fit_frames(decoded.squeeze(1), bins, frames, valid).transpose(-1, -2)

    @abstractmethod
    def decode(self, hidden: Tensor, bins: int, frames: int, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Decode a representation of the expected size.

        Args:
            hidden: Representation, shape (batch, channels, frames // 16, bins // 16).
            bins: Frequency bins of the spectrogram.
            frames: Frames of the spectrogram.
            valid: Valid frames of each clip, shape (batch,). None: all frames are valid.

        Returns:
            Logits, shape (batch, 1, about frames, about bins), and the number of valid rows of each clip.
        """


class ActivationDecoder(nn.Module, ABC):
    """Base class of decoders to the activations of a dictionary."""

    @override
    def forward(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None = None) -> Tensor:
        """Decode representations to activations.

        Args:
            representations: Representations, the deepest last. Shape each (batch, channels, frequency', time').
            frames: Frames of the spectrogram.
            valid: Valid frames of each clip, shape (batch,). None: all frames are valid.

        Returns:
            Non-negative activations, 0 on padding. Shape (batch, components, frames).
        """
        valid = None if valid is None else valid.to(representations[-1].device)
        return zero_padding(self.decode(representations, frames, valid), valid)

    @abstractmethod
    def decode(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None) -> Tensor:
        """Decode representations; the result may hold anything on padding. See `forward`."""


class MaskDecoder(nn.Module, ABC):
    """Base class of decoders of all representations to the logits of a mask."""

    bins: int

    @abstractmethod
    def forward(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None = None) -> Tensor:
        """Decode representations to logits.

        Args:
            representations: Representations, the deepest last. Shape each (batch, channels, frequency', time').
            frames: Frames of the spectrogram.
            valid: Valid frames of each clip, shape (batch,). None: all frames are valid.

        Returns:
            Logits, shape (batch, frequency, frames). They mean nothing on padding.
        """
