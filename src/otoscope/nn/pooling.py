"""Activations over time to one value a component: what the classifier of L2I rests on."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from otoscope.errors import ConfigurationError, ShapeError


class TimePooling(nn.Module, ABC):
    """Pools (batch, components, frames) to (batch, components)."""

    @abstractmethod
    def forward(self, activations: Tensor, frames: Tensor | None = None) -> Tensor:
        """Pools.

        Args:
            activations: Not negative. Shape (batch, components, frames).
            frames: Frames that belong to each clip, where clips were padded. Shape (batch,).
        """


class AttentionPooling(TimePooling):
    r"""Weighted mean over time with weights :math:`\mathrm{softmax}_t(v^T \tanh(V h_t))`.

    For clips of any length; each frame's weight depends on all its activations.

    Args:
        components: Of the activations.
        hidden: Dimension of the attention.

    Reference:
        Ilse et al. 2018, arXiv 1802.04712, as arXiv 2202.11479 uses it.

    Example:
        >>> AttentionPooling(5)(torch.rand(2, 5, 30)).shape
        torch.Size([2, 5])
    """

    def __init__(self, components: int, hidden: int = 128) -> None:
        super().__init__()
        self.inner = nn.Linear(components, hidden)
        self.outer = nn.Linear(hidden, 1, bias=False)

    def forward(self, activations: Tensor, frames: Tensor | None = None) -> Tensor:
        """See `TimePooling.forward`."""
        scores = self.outer(self.inner(activations.transpose(1, 2)).tanh()).squeeze(-1)
        if frames is not None:
            padding = torch.arange(scores.shape[1], device=scores.device) >= frames.to(scores.device)[:, None]
            scores = scores.masked_fill(padding, -torch.inf)
        pooled: Tensor = (activations @ scores.softmax(-1).unsqueeze(-1)).squeeze(-1)
        return pooled


class FixedLengthPooling(TimePooling):
    """One learnt weight a frame: the published pooling, which ties the model to one clip length.

    Parameter-compatible with ``hard_att`` of SpeechBrain's ``Theta``.

    Args:
        frames: Of every clip. Of longer ones the first so many are taken.

    Raises:
        ShapeError: A clip is shorter.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        if frames < 1:
            raise ConfigurationError(f"pooling_frames: {frames} must be positive")
        self.frames = frames
        self.linear = nn.Linear(frames, 1, bias=False)

    def forward(self, activations: Tensor, frames: Tensor | None = None) -> Tensor:
        """See `TimePooling.forward`."""
        shortest = activations.shape[-1] if frames is None else int(frames.min())
        if shortest < self.frames:
            raise ShapeError(
                f"a clip of {shortest} frames: the published pooling was made for {self.frames} frames or more; "
                "pad the clip, or train with pooling_frames null, which takes any length"
            )
        pooled: Tensor = self.linear(activations[..., : self.frames]).squeeze(-1)
        return pooled
