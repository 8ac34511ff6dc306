"""CNN14, the convolutional network of PANNs, on a mel spectrogram."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio import Frontend, MelBank, mel_centers_hz, zero_padding
from otoscope.classifiers.base import Classifier, Prediction
from otoscope.classifiers.rows import divide_rows
from otoscope.errors import ConfigurationError
from otoscope.nn.convolution import Convolution2d, convolve_normalized
from otoscope.nn.precision import in_float32

_BLOCKS = 6
_POOLS = (2, 2, 2, 2, 2, 1)
_HALVINGS = 5
_REACH = 32
"""Number of mel bins below which pooling would leave nothing, the product of the pools."""


class Cnn14Classifier(Classifier):
    """Mel spectrogram, six blocks of two 3x3 convolutions, maximum plus mean over time, linear head.

    The defaults are the published sizes: 64 channels in the first block, twice as many in each next one. A
    5 s clip gives representations of 256 x 10 x 53 (``block3``: channels, mel', time'), 512 x 5 x 26
    (``block4``), 1024 x 2 x 13 (``block5``) and 2048 x 2 x 13 (``block6``).

    Args:
        labels: Names of the classes.
        frontend: Front-end that computes the spectrograms.
        width: Channels of the first block.
        mel_bins: Number of filters of the mel bank; at least 32.
        dropout: Share of the values that is dropped between blocks in training.
        max_width: Largest number of channels of a block, for small networks (default: no limit, as published).
        frame_pool: Number of neighbouring frames whose mel magnitudes are averaged before the first block; more
            than 1 saves time and memory.
        time_halvings: Number of blocks that halve the time, from the first on; the others halve frequency alone.
            Fewer than 5 make finer representations, from which interpreters make finer masks.

    Raises:
        ConfigurationError: A number is out of range.

    Reference:
        Kong et al. 2020, PANNs, arXiv 1912.10211. Departure, as in SpeechBrain: 80 mel bins of the published
        bank and no normalisation of the waveform. Parameters match SpeechBrain's ``Cnn14`` and a linear head.

    Example:
        >>> classifier = Cnn14Classifier(["dog", "rain"], width=4).freeze()
        >>> prediction = classifier(torch.zeros(1, 513, 431))
        >>> named = dict(zip(classifier.representation_names, prediction.representations))
        >>> named["block6"].shape, prediction.logits.shape
        (torch.Size([1, 128, 2, 13]), torch.Size([1, 2]))
    """

    def __init__(
        self,
        labels: Sequence[str],
        frontend: Frontend | None = None,
        width: int = 64,
        mel_bins: int = 80,
        dropout: float = 0.2,
        max_width: int | None = None,
        frame_pool: int = 1,
        time_halvings: int = _HALVINGS,
    ) -> None:
        super().__init__(labels, frontend)
        if width < 1 or mel_bins < _REACH or not 0 <= dropout < 1:
            raise ConfigurationError(
                f"cnn14: width ({width}) must be positive, mel_bins ({mel_bins}) at least {_REACH}, dropout "
                f"({dropout}) in [0, 1)"
            )
        if (max_width is not None and max_width < 1) or frame_pool < 1:
            raise ConfigurationError(
                f"cnn14: max_width ({max_width}) and frame_pool ({frame_pool}) must be positive"
            )
        self.width, self.mel_bins, self.dropout = width, mel_bins, dropout
        if not 0 <= time_halvings <= _HALVINGS:
            raise ConfigurationError(f"cnn14: time_halvings ({time_halvings}) must lie in 0..{_HALVINGS}")
        self.max_width, self.frame_pool, self.time_halvings = max_width, frame_pool, time_halvings
        self.mel = MelBank(mel_bins, self.frontend.bins, self.frontend.sample_rate_hz)
        self.norm = nn.BatchNorm1d(mel_bins)
        widths = [1, *self._widths()]
        self.blocks = nn.ModuleList(ConvBlock(a, b) for a, b in itertools.pairwise(widths))
        self.head = nn.Linear(widths[-1], len(self.labels))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it

    @property
    def representation_channels(self) -> tuple[int, ...]:
        """Channels of blocks 3, 4, 5 and 6."""
        return tuple(self._widths()[2:])

    @property
    def representation_names(self) -> tuple[str, ...]:
        """Names of the blocks that they come from."""
        return ("block3", "block4", "block5", "block6")

    def _widths(self) -> list[int]:
        """Return the output channels of the blocks: each has twice as many as the last, up to the limit."""
        widths = [self.width << block for block in range(_BLOCKS)]
        return widths if self.max_width is None else [min(width, self.max_width) for width in widths]

    @override
    def largest_activation(self, frames: int) -> int:
        # That of the first block before its pooling; a narrow network's spectrogram is larger.
        return max(1, frames * max(self._widths()[0] * self.mel_bins // self.frame_pool, self.frontend.bins))

    @override
    def layers(self) -> list[nn.Module]:
        return [self.norm, *self.blocks, self.head]

    @override
    def row_frequencies(self, index: int, rows: int) -> Tensor:
        # every block but the last halves the mel bands
        step = math.prod(_POOLS[: index + 1 + _BLOCKS - len(self.representation_names)])
        return divide_rows(mel_centers_hz(self.mel_bins, self.frontend.sample_rate_hz), rows, step)

    @override
    def forward(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Prediction:
        # the number of frames below which pooling would leave nothing
        reach = self.frame_pool << self.time_halvings
        missing = reach - log_magnitude.shape[-1]
        if missing > 0:
            log_magnitude = F.pad(log_magnitude, (0, missing))
        if frames is not None:
            # a clip shorter than the receptive field is continued with silence, whatever the padding holds
            log_magnitude = zero_padding(log_magnitude, frames)
            frames = frames.to(log_magnitude.device).clamp(min=reach) // self.frame_pool
        # The published network has time before frequency and normalises (batch, mel, time, 1), for which PyTorch
        # 2.13 returns a wrong gradient on a CPU; normalising (batch, mel, time) gives the same values.
        # The mel bank takes magnitudes, hence expm1 before and log1p behind it.
        mel = self.mel(log_magnitude.expm1())
        # pooling leaves out an incomplete last group of frames, as the floor of `frames` does
        mel = _pool_frames(mel, self.frame_pool) if self.frame_pool > 1 else mel
        hidden = self.norm(mel.log1p()).transpose(1, 2)[:, None]
        hidden = zero_padding(hidden.contiguous(memory_format=torch.channels_last), frames, axis=-2)
        outputs = []
        for number, (block, pool) in enumerate(zip(self.blocks, _POOLS, strict=True)):
            time_pool = pool if number < self.time_halvings else 1
            hidden = block(hidden, (time_pool, pool), frames)
            # pooling leaves out an incomplete last window, hence the floor
            frames = None if frames is None else frames // time_pool
            outputs.append(hidden)
            hidden = F.dropout(hidden, self.dropout, self.training)
        # mean over frequency, then maximum plus mean over time
        pooled = _pool_time(hidden.mean(-1), frames)
        # the logits are computed from the outputs as the network has them, not from their transposed copies
        sources = tuple(outputs[2:])
        representations = tuple(source.transpose(-1, -2) for source in sources)
        return Prediction(in_float32(self.head, pooled), representations, sources=sources)


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and ReLU, then average pooling.

    Args:
        channels: Input channels.
        width: Output channels.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = Convolution2d(channels, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = Convolution2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        for conv in (self.conv1, self.conv2):
            nn.init.xavier_uniform_(conv.weight)

    def forward(self, hidden: Tensor, pool: tuple[int, int], frames: Tensor | None = None) -> Tensor:
        """Convolve, and pool time and frequency, (batch, channels, time, frequency) to (batch, width, ...)."""
        # batch norm shifts the zeros of the padding, which the next convolution would carry into the clip
        hidden = zero_padding(
            F.relu(convolve_normalized(self.conv1, self.norm1, hidden), inplace=True), frames, axis=-2
        )
        hidden = F.relu(convolve_normalized(self.conv2, self.norm2, hidden), inplace=True)
        hidden = F.avg_pool2d(hidden, pool) if max(pool) > 1 else hidden
        return zero_padding(hidden, None if frames is None else frames // pool[0], axis=-2)


def _pool_frames(values: Tensor, count: int) -> Tensor:
    """Return the means of groups of neighbouring frames, (batch, bins, frames) to (batch, bins, frames // count).

    `F.avg_pool1d` takes ten times as long for 16 clips on a CPU, and its gradient four times.
    """
    used = values.shape[-1] // count * count
    return reduce(torch.add, (values[..., first:used:count] for first in range(count))) / count


def _pool_time(hidden: Tensor, frames: Tensor | None) -> Tensor:
    """Return maximum plus mean over the frames of each clip, (batch, channels, time) to (batch, channels)."""
    if frames is None:
        return hidden.amax(-1) + hidden.mean(-1)
    # nothing is negative after a ReLU, so that the zeros of the padding change neither maximum nor sum
    return hidden.amax(-1) + hidden.sum(-1) / frames[:, None]
