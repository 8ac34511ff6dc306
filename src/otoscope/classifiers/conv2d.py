"""The strided convolutional classifier that PIQ was published with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from otoscope.audio import Frontend, zero_padding
from otoscope.classifiers.base import Classifier, Prediction
from otoscope.classifiers.heads import CosineHead
from otoscope.classifiers.local import LocalLayers, is_as_shipped
from otoscope.errors import ConfigurationError
from otoscope.nn import ResidualBlock
from otoscope.nn.convolution import Convolution2d, ConvolutionLayer
from otoscope.nn.precision import in_float32


class Conv2dClassifier(Classifier):
    """Strided 4x4 convolutions, a residual block, mean over time and frequency, cosine head.

    The defaults are the published sizes: 256 channels, four strides, so that a 5 s clip gives a
    representation of 256 x 32 x 26 (channels, frequency', time').

    Args:
        labels: Names of the classes.
        frontend: Front-end that computes the spectrograms.
        width: Channels of every layer.
        depth: Number of convolutions of stride 2.
        head_width: Dimension of the vectors whose cosine the head takes.
        scale: Factor on the cosines.
        train_scale: Whether to learn the factor.

    Reference:
        Paissan et al. 2023, arXiv 2303.12659. Departure from the published head: a scale, without which
        probabilities stay almost flat.

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
        if self.frontend.bins < 2**depth:
            raise ConfigurationError(
                f"conv2d: depth {depth} needs {2**depth} frequency bins or more, the front-end has "
                f"{self.frontend.bins}; raise frontend.n_fft"
            )
        self.width, self.depth, self.head_width = width, depth, head_width
        self.scale, self.train_scale = scale, train_scale
        self.blocks = nn.ModuleList(
            ConvolutionLayer(Convolution2d(1 if position == 0 else width, width, 4, stride=2, padding=1))
            for position in range(depth)
        )
        self.residual = ResidualBlock(width)
        self.head = CosineHead(width, len(self.labels), head_width, scale, train_scale)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it

    @property
    @override
    def cosine_logits(self) -> bool:
        return self.scale == 1 and not self.train_scale

    @property
    def representation_channels(self) -> tuple[int, ...]:
        """One representation, of ``width`` channels."""
        return (self.width,)

    @property
    def representation_names(self) -> tuple[str, ...]:
        """Name of the block that it comes from."""
        return ("residual",)

    @override
    def largest_activation(self, frames: int) -> int:
        # that of the first block, which halves time and frequency
        return max(1, self.width * (self.frontend.bins // 2) * (frames // 2))

    @override
    def layers(self) -> list[nn.Module]:
        return [*self.blocks, self.residual, self.head]

    @override
    def forward(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Prediction:
        hidden, frames = self._through(self.blocks, *self._input(log_magnitude, frames))
        return self._decide(hidden, frames)

    @override
    def local_layers(self) -> Sequence[LocalLayers]:
        # A single block would save a tenth of the time. Kernels of 4 and strides of 2, padded by 1: output j of a
        # block sees its inputs 2 j - 1 to 2 j + 2, and through all of them before it twice as many and so on.
        if not is_as_shipped(self, Conv2dClassifier):
            return ()
        return [self._local_layers(count) for count in range(self.depth, 1, -1)]

    def _local_layers(self, count: int) -> LocalLayers:
        """Return the first blocks as local layers."""

        def run(log_magnitude: Tensor) -> Tensor:
            with self.autocast(log_magnitude):
                hidden, _ = self._through(self.blocks[:count], *self._input(log_magnitude, None))
            return hidden.permute(0, 2, 3, 1)

        def rest(maps: Tensor) -> Tensor:
            with self.autocast(maps):
                return self._decide(*self._through(self.blocks[count:], maps.permute(0, 3, 1, 2), None)).logits

        step = 2**count
        return LocalLayers(run, rest, step, before=step - 1, after=2 * (step - 1))

    def _input(self, log_magnitude: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the input of the first block, shape (batch, 1, time, frequency), and the valid frames."""
        hidden, frames = self._long_enough(log_magnitude, frames)
        # the published network has time before frequency
        hidden = hidden.transpose(1, 2).unsqueeze(1)
        return hidden.contiguous(memory_format=torch.channels_last), frames

    def _through(
        self, blocks: Iterable[nn.Module], hidden: Tensor, frames: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the feature map behind some blocks, and its valid frames."""
        for block in blocks:
            hidden = block(hidden)
            # Every block halves time. The kernels reach beyond the end of a clip: without zeros, the values that
            # they write there would come back through the next block.
            frames = None if frames is None else frames // 2
            hidden = zero_padding(hidden, frames, axis=-2)
        return hidden, frames

    def _decide(self, hidden: Tensor, frames: Tensor | None) -> Prediction:
        """Return the decision on the feature map behind all blocks."""
        hidden = zero_padding(self.residual(hidden), frames, axis=-2)
        if frames is None:
            embedding = hidden.mean((-1, -2))
        else:
            # the padding is zero: the sum over all frames is that over the valid ones
            embedding = hidden.sum((-1, -2)) / (frames * hidden.shape[-1])[:, None]
        return Prediction(in_float32(self.head, embedding), (hidden.transpose(-1, -2),), sources=(hidden,))

    def _long_enough(self, log_magnitude: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Zero-pad clips that are shorter than the network's receptive field, and set all padding to zero."""
        # each block halves the number of frames: fewer than this would leave none
        reach = 2 ** len(self.blocks)
        missing = reach - log_magnitude.shape[-1]
        if missing > 0:
            log_magnitude = nn.functional.pad(log_magnitude, (0, missing))
        if frames is None:
            return log_magnitude, None
        return zero_padding(log_magnitude, frames), frames.to(log_magnitude.device).clamp(min=reach)
