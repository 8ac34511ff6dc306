"""Pooling of activations over time to one value per component, on which the classifier of L2I rests."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from typing_extensions import override

from otoscope.audio.padding import valid_frames
from otoscope.errors import ConfigurationError, ShapeError


class TimePooling(nn.Module, ABC):
    """Base class of poolings over time."""

    @abstractmethod
    def forward(self, activations: Tensor, frames: Tensor | None = None) -> Tensor:
        """Pool activations over time.

        Args:
            activations: Non-negative activations, shape (batch, components, time).
            frames: Valid frames of each clip, shape (batch,). None: all frames are valid.

        Returns:
            Pooled activations, shape (batch, components).
        """


class AttentionPooling(TimePooling):
    r"""Weighted mean over time with weights :math:`\mathrm{softmax}_t(v^T \tanh(V h_t))`.

    It takes clips of any length. The weight of a frame depends on all activations of the frame.

    Args:
        components: Number of components.
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

    @override
    def forward(self, activations: Tensor, frames: Tensor | None = None) -> Tensor:
        scores = self.outer(self.inner(activations.transpose(1, 2)).tanh()).squeeze(-1)
        if frames is not None:
            # the softmax turns minus infinity into a weight of exactly 0, and into no gradient
            scores = scores.masked_fill(valid_frames(frames, scores) == 0, -torch.inf)
        pooled: Tensor = (activations @ scores.softmax(-1).unsqueeze(-1)).squeeze(-1)
        return pooled


class FixedLengthPooling(TimePooling):
    """The published pooling: one learnt weight per frame, which ties the model to one length of clips.

    Parameter-compatible with ``hard_att`` of SpeechBrain's ``Theta``.

    Args:
        frames: Number of frames of a clip. The frames of longer clips after these are ignored.

    Raises:
        ConfigurationError: The number of frames is not positive.
        ShapeError: A clip is shorter.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        if frames < 1:
            raise ConfigurationError(f"pooling_frames: {frames} must be positive")
        self.frames = frames
        self.linear = nn.Linear(frames, 1, bias=False)

    @override
    def forward(self, activations: Tensor, frames: Tensor | None = None) -> Tensor:
        shortest = activations.shape[-1] if frames is None else int(frames.min())
        if shortest < self.frames:
            raise ShapeError(
                f"a clip of {shortest} frames: the published pooling was made for {self.frames} frames or more; "
                "pad the clip, or train with pooling_frames null, which takes any length"
            )
        pooled: Tensor = self.linear(activations[..., : self.frames]).squeeze(-1)
        return pooled
