"""The strided convolutional classifier that PIQ was published with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from otoscope.audio import Frontend, valid_frames
from otoscope.classifiers.base import Classifier, Prediction
from otoscope.classifiers.heads import CosineHead
from otoscope.errors import ConfigurationError
from otoscope.nn import ResidualBlock


class Conv2dClassifier(Classifier):
    """Strided 4x4 convolutions, a residual block, mean over time and frequency, cosine head.

    The defaults are the published sizes: 256 channels, four strides, so that a 5 s clip gives a
    representation of 256 x 32 x 26 (channels, frequency', time').

    Args:
        labels: Names of the classes.
        frontend: Makes the spectrograms.
        width: Channels of every layer.
        depth: Convolutions of stride 2.
        head_width: Dimension in which the head takes cosines.
        scale: Factor on the cosines.
        train_scale: Learn that factor.

    Reference:
        METHODS, "Classifiers". Departure from the published head: a scale, without which probabilities
        stay almost flat.

    Example:
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=8).freeze()
        >>> prediction = classifier(torch.zeros(1, 513, 431))
        >>> prediction.logits.shape, prediction.representations[-1].shape
        (torch.Size([1, 2]), torch.Size([1, 8, 32, 26]))
    """

    def __init__(
        self,
        labels: Sequence[str],
        frontend: Frontend | None = None,
        width: int = 256,
        depth: int = 4,
        head_width: int = 192,
        scale: float = 30.0,
        train_scale: bool = False,
    ) -> None:
        super().__init__(labels, frontend)
        if min(width, head_width) < 1 or scale <= 0 or not 1 <= depth <= 8:
            raise ConfigurationError(
                f"conv2d: width ({width}), head_width ({head_width}) and scale ({scale}) must be positive, "
                f"depth ({depth}) in 1..8"
            )
        self._config: dict[str, Any] = {"width": width, "depth": depth, "head_width": head_width}
        self._config |= {"scale": scale, "train_scale": train_scale}
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(1 if position == 0 else width, width, 4, stride=2, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            for position in range(depth)
        )
        self.residual = ResidualBlock(width)
        self.head = CosineHead(width, len(self.labels), head_width, scale, train_scale)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it

    @property
    def representation_channels(self) -> tuple[int, ...]:
        """One representation, of ``width`` channels."""
        return (self._config["width"],)

    @property
    def representation_names(self) -> tuple[str, ...]:
        """The block that it comes out of."""
        return ("residual",)

    @property
    def config(self) -> dict[str, Any]:
        """See `Classifier.config`."""
        return dict(self._config)

    def layers(self) -> list[nn.Module]:
        """Blocks, residual block, head."""
        return [*self.blocks, self.residual, self.head]

    def forward(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Prediction:
        """See `Classifier.forward`."""
        hidden, frames = self._long_enough(log_magnitude, frames)
        hidden = hidden.transpose(1, 2).unsqueeze(1)  # published with time before frequency
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            hidden = block(hidden)
            frames = None if frames is None else frames // 2
            hidden = _zero_padding(hidden, frames)
        hidden = _zero_padding(self.residual(hidden), frames)
        if frames is None:
            embedding = hidden.mean((-1, -2))
        else:
            embedding = hidden.sum((-1, -2)) / (frames * hidden.shape[-1])[:, None]
        return Prediction(self.head(embedding), (hidden.transpose(-1, -2),), sources=(hidden,))

    def _long_enough(self, log_magnitude: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Clips shorter than the network's reach are taken with silence after them."""
        reach = 2 ** len(self.blocks)
        missing = reach - log_magnitude.shape[-1]
        if missing > 0:
            log_magnitude = nn.functional.pad(log_magnitude, (0, missing))
        if frames is None:
            return log_magnitude, None
        keep = valid_frames(frames, log_magnitude)
        log_magnitude = log_magnitude if keep is None else log_magnitude * keep
        return log_magnitude, frames.to(log_magnitude.device).clamp(min=reach)


def _zero_padding(hidden: Tensor, frames: Tensor | None) -> Tensor:
    """Silences what lies behind a clip's end, so that no convolution carries it back in."""
    if frames is None:
        return hidden
    keep = valid_frames(frames, hidden.transpose(-1, -2))
    assert keep is not None
    return hidden * keep.transpose(-1, -2)
