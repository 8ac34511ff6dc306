"""From all of a classifier's representations to one value a bin of the spectrogram.

Each network takes representations (batch, channels, frequency', time'), the deepest last, and returns logits
(batch, frequency, time) for every frame; what it returns for padding means nothing. Inside they run with time
before frequency, as the published network does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.audio.padding import valid_frames
from otoscope.errors import ConfigurationError
from otoscope.nn.activations import Pyramid, cnn14_columns, halvings_of, raised_rows, resized_columns
from otoscope.nn.decoder import DecoderName, fit_frames, initialize_convolutions
from otoscope.nn.transposed import Transposed2d

_WIDEST = 128
_ENTERING = 128


def make_mask_decoder(name: DecoderName, shapes: Sequence[Sequence[int]], bins: int) -> MaskDecoder:
    """Makes a network by name.

    Args:
        name: ``light`` for any representations, or ``published`` for the four of CNN14.
        shapes: (channels, frequency', time') of each representation of 512 frames, the deepest last.
        bins: Frequency bins of the spectrogram.

    Raises:
        ConfigurationError: The name is unknown, there is no representation, or no network was published for them.
    """
    if not shapes:
        raise ConfigurationError("decoder: this classifier gives no representation to decode")
    if name == "light":
        return LightMask(shapes, bins)
    if name != "published":
        raise ConfigurationError(f"decoder: {name!r} is unknown; choose one of light, published")
    channels = [shape[0] for shape in shapes]
    deepest = channels[-1]
    if channels != [deepest // 8, deepest // 4, deepest // 2, deepest]:
        raise ConfigurationError(
            f"decoder: L-MAC's was published for CNN14, not for representations of {channels} channels; choose "
            "light, which fits any"
        )
    return PyramidMask(deepest, bins)


class MaskDecoder(nn.Module, ABC):
    """Common ground of the networks."""

    bins: int

    @abstractmethod
    def forward(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None = None) -> Tensor:
        """Decodes.

        Args:
            representations: Shape each (batch, channels, frequency', time'), the deepest last.
            frames: Frames of the spectrogram.
            valid: Frames that belong to each clip, where clips were padded. Shape (batch,).

        Returns:
            Shape (batch, frequency, frames). Not yet squashed into [0, 1].
        """


class PyramidMask(MaskDecoder):
    """The published network for CNN14: a `Pyramid`, and a last transposed convolution over frequency.

    Parameter-compatible with SpeechBrain's ``CNN14PSI_stft``. There is no rectifier between the last two layers,
    so they are computed as the one linear map that they are, which spares a quarter of the work.

    Args:
        channels: Channels of the deepest representation.
        bins: Frequency bins of the spectrogram. Published for 513; for others bins are cut, or the last one held.
    """

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.pyramid = Pyramid(channels)
        self.last = Transposed2d(channels // 8, 1, (1, 5), (1, 4))

    def forward(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None = None) -> Tensor:
        """See `MaskDecoder.forward`."""
        valid = None if valid is None else valid.to(representations[-1].device)
        hidden, rows = self.pyramid.body(representations, cnn14_columns(representations, frames, valid))
        before = self.pyramid.layers[7]
        assert isinstance(before, Transposed2d)
        decoded = two_in_one(hidden, before, self.last)
        rows = None if rows is None else raised_rows(before, rows)
        return fit_frames(decoded, self.bins, frames, rows).transpose(-1, -2)


def two_in_one(hidden: Tensor, first: nn.ConvTranspose2d, second: nn.ConvTranspose2d) -> Tensor:
    """Two transposed convolutions in sequence, of which the second leaves time alone and makes one channel.

    Their composition is a transposed convolution itself, but that the first one's padding takes away positions
    which the second would have spread: what the outermost of these give to the outermost bins is taken off.

    Args:
        hidden: Shape (batch, channels, time, frequency).
        first: Any, without output padding; its padding in frequency is less than its kernel there.
        second: Of one output channel and a kernel and stride of 1 in time, without padding; its kernel in
            frequency is at most one longer than its stride.

    Returns:
        Shape (batch, time', frequency').
    """
    rows, columns = first.kernel_size
    stride, padding = first.stride[1], int(first.padding[1])
    wide, step = second.kernel_size[1], second.stride[1]
    taps = second.weight[:, 0, 0]
    pairs = torch.einsum("icrk,cm->irkm", first.weight, taps)
    kernel = pairs.new_zeros(*pairs.shape[:2], (columns - 1) * step + wide)
    for column in range(columns):
        kernel = kernel + F.pad(pairs[:, :, column], (step * column, kernel.shape[-1] - step * column - wide))
    products = kernel.flatten(1).t() @ hidden.flatten(2)
    height, width = hidden.shape[-2:]
    made = (width - 1) * stride - 2 * padding + columns
    size = [(height - 1) * first.stride[0] - 2 * int(first.padding[0]) + rows, (made - 1) * step + wide]
    settings = {"stride": (first.stride[0], stride * step), "padding": (first.padding[0], padding * step)}
    decoded = F.fold(products, size, (rows, kernel.shape[-1]), **settings)[:, 0]  # type: ignore[arg-type]
    if wide > step and padding > 0:
        low = _lost(hidden, pairs[..., -1], first, padding - 1)
        high = _lost(hidden, pairs[..., 0], first, padding + made)
        decoded = decoded - F.pad(low[..., None], (0, size[1] - 1)) - F.pad(high[..., None], (size[1] - 1, 0))
    assert first.bias is not None
    assert second.bias is not None
    level = F.conv_transpose1d(first.bias.new_ones(1, 1, made), (first.bias @ taps)[None, None], stride=step)
    return decoded + level[0] + second.bias


def _lost(hidden: Tensor, weight: Tensor, layer: nn.ConvTranspose2d, position: int) -> Tensor:
    """What a position in frequency would get from a transposed convolution, shape (batch, time').

    Args:
        hidden: Shape (batch, channels, time, frequency).
        weight: Shape (channels, kernel in time, kernel in frequency).
        layer: The convolution, for strides and padding.
        position: Counted before the padding is cut off.
    """
    total: Tensor | None = None
    for tap in range(position % layer.stride[1], weight.shape[-1], layer.stride[1]):
        column = (position - tap) // layer.stride[1]
        if not 0 <= column < hidden.shape[-1]:
            continue
        part = F.conv_transpose1d(
            hidden[..., column], weight[:, None, :, tap], stride=layer.stride[0], padding=int(layer.padding[0])
        )[:, 0]
        total = part if total is None else total + part
    assert total is not None
    return total


class LightMask(MaskDecoder):
    """A pyramid for any representations, whose channels halve as the resolution doubles.

    Each representation enters where its frames are as many as the pyramid's, the others at 1/16. Where its rows
    are no linear frequencies (a mel bank's, or a picture's), a linear map over channels and rows makes them such.
    Below 1/100 of the multiply-adds of `PyramidMask`, and nothing but the logits exists at full resolution.

    Args:
        shapes: (channels, frequency', time') of each representation of 512 frames, the deepest last.
        bins: Frequency bins of the spectrogram.
        narrowest: Channels at half of the spectrogram's resolution; twice as many at a quarter, up to 128.
    """

    def __init__(self, shapes: Sequence[Sequence[int]], bins: int, narrowest: int = 16) -> None:
        super().__init__()
        self.bins = bins
        self.halvings = [max(halvings_of(shape[2]), 1) for shape in shapes]
        self.top = max(self.halvings)
        widths = [min(narrowest << level, _WIDEST) for level in range(self.top)]
        self.inputs = nn.ModuleList(
            _Entering(shape[0], shape[1], widths[halvings - 1], self._rows(halvings))
            for shape, halvings in zip(shapes, self.halvings, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.ups = nn.ModuleList(
            Transposed2d(widths[level], widths[level - 1], 4, stride=2, padding=1) for level in range(1, self.top)
        )
        self.last = nn.ConvTranspose2d(widths[0], 1, 6, stride=2, padding=2)
        self.apply(initialize_convolutions)

    def forward(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None = None) -> Tensor:
        """See `MaskDecoder.forward`."""
        length = max(frames, 1 << self.top)
        valid = None if valid is None else valid.to(representations[-1].device).clamp(min=1 << self.top)
        hidden: Tensor | None = None
        for level in range(self.top, 0, -1):
            parts = self._entering(level, representations, frames, length, valid)
            if hidden is not None:
                parts.append(self.ups[level - 1](hidden, output_size=[length >> level, self._rows(level)]))
            norm = self.norms[level - 1]
            hidden = F.relu(norm(torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]), inplace=True)
            keep = None if valid is None else valid_frames(valid >> level, hidden.transpose(-1, -2))
            hidden = hidden if keep is None else hidden * keep.transpose(-1, -2)
        decoded: Tensor = self.last(hidden, output_size=[length, self._rows(0)])
        return decoded[:, 0, :frames, : self.bins].transpose(-1, -2)

    def _rows(self, halvings: int) -> int:
        """Frequencies at this resolution."""
        return max(self.bins, 1 << self.top) >> halvings

    def _entering(
        self, level: int, representations: Sequence[Tensor], frames: int, length: int, valid: Tensor | None
    ) -> list[Tensor]:
        """The representations that enter at this resolution, shape each (batch, width, time, frequency)."""
        parts = []
        for own, layer, values in zip(self.halvings, self.inputs, representations, strict=True):
            if own == level:
                assert isinstance(layer, _Entering)
                narrowed = layer.narrow(values)
                if narrowed.shape[-1] != length >> level:
                    rows = narrowed.shape[-2]
                    flat = resized_columns(narrowed.flatten(1, 2), length >> level, frames, valid, level)
                    narrowed = flat.unflatten(1, (-1, rows))  # type: ignore[no-untyped-call]
                parts.append(layer.place(narrowed).transpose(-1, -2))
        return parts


class _Entering(nn.Module):
    """Brings a representation to so many channels and rows."""

    def __init__(self, channels: int, rows: int, width: int, wanted: int) -> None:
        super().__init__()
        self.aligned = rows == wanted
        self.wanted = wanted
        narrower = width if self.aligned else min(channels, _ENTERING)
        self.narrow = nn.Conv2d(channels, narrower, 1)
        self.spread = None if self.aligned else nn.Conv1d(narrower * rows, width * wanted, 1)

    def place(self, narrowed: Tensor) -> Tensor:
        """Shape (batch, channels', rows', time) in, (batch, width, rows, time) out."""
        if self.spread is None:
            return narrowed
        placed: Tensor = self.spread(F.relu(narrowed).flatten(1, 2))
        return placed.unflatten(1, (-1, self.wanted))  # type: ignore[no-untyped-call, no-any-return]
