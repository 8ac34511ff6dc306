"""The published NMF: a network predicts the activations."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio.padding import zero_padding
from otoscope.errors import ConfigurationError


class AmortizedNMF(nn.Module):
    """The published NMF: a convolutional encoder predicts the activations, and the dictionary is a parameter.

    Parameter-compatible with SpeechBrain's ``NMFEncoder`` (``encoder``) and ``NMFDecoderAudio`` (``dictionary``).
    It is slower and less exact than `SparseNMF`, and meant for comparison and for activations that must come from
    one pass of a network.

    Args:
        bins: Number of frequency bins of a frame.
        components: Number of columns of the dictionary.

    Raises:
        ConfigurationError: A number is not positive.

    Reference:
        The NMF of L2I, arXiv 2202.11479, as SpeechBrain implements it.

    Example:
        >>> AmortizedNMF(bins=33, components=5)(torch.rand(2, 33, 40)).shape
        torch.Size([2, 5, 40])
    """

    def __init__(self, bins: int = 513, components: int = 100) -> None:
        super().__init__()
        if min(bins, components) < 1:
            raise ConfigurationError(f"nmf: bins ({bins}) and components ({components}) must be positive")
        sizes = (bins, 256, 128, components)
        self.encoder = nn.ModuleList(nn.Conv1d(a, b, 8) for a, b in itertools.pairwise(sizes))
        self.dictionary = nn.Parameter(0.1 * torch.rand(bins, components))

    @property
    def components(self) -> Tensor:
        """Non-negative dictionary, shape (bins, components)."""
        return self.dictionary.relu()

    @override
    def forward(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Tensor:
        """Predict the activations of spectrograms.

        Args:
            log_magnitude: Spectrograms, shape (batch, bins, time).
            frames: Valid frames of each clip, shape (batch,). None: all frames are valid.

        Returns:
            Non-negative activations, 0 on padding. Shape (batch, components, time).
        """
        hidden = zero_padding(log_magnitude, frames)
        for layer in self.encoder:
            # A kernel of 8 has no centre; the published "same" padding is 3 zeros before and 4 after.
            hidden = layer(F.pad(hidden, (3, 4))).relu()
            # The bias made the padding non-zero again, and the next kernel would carry it into the clip.
            hidden = zero_padding(hidden, frames)
        return hidden

    def reconstruct(self, activations: Tensor) -> Tensor:
        """Compute the spectrograms that activations stand for.

        Args:
            activations: Activations, shape (batch, components, time).

        Returns:
            Spectrograms, shape (batch, bins, time).
        """
        return self.components @ activations
