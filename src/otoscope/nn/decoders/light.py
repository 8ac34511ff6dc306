"""Light decoders, which fit any representations: channels halve as the resolution doubles."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio.padding import zero_padding
from otoscope.nn.decoders.common import ActivationDecoder, Decoder, MaskDecoder, initialize_convolutions
from otoscope.nn.decoders.levels import Entrance, at_level, entering, shifted, sum_of
from otoscope.nn.decoders.sizes import REDUCTION, double_columns, halvings_of, resize_columns
from otoscope.nn.transposed import Transposed2d

_WIDEST = 128
"""Most channels of any level of `LightMask`."""


class LightDecoder(Decoder):
    """Decoder of one representation by four transposed convolutions; the last one makes the logits.

    It needs about 1/57 of the multiply-adds of `PublishedDecoder` at 256 channels, and makes every frame. Only the
    logits exist at full resolution, where memory traffic would cost most of the time.

    Args:
        channels: Channels of the representation.
        narrowest: Least channels of any stage.
        widest: Most channels of the first stage. With the wide maps of FocalNet (1024) and ViT (768) the cost stays
            near that of Conv2d's (256).
    """

    def __init__(self, channels: int, narrowest: int = 16, widest: int = 128) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for _ in range(3):
            narrower = max(min(channels // 2, widest), narrowest)
            stages.append(_UpStage(channels, narrower))
            channels = narrower
        # kernel 6 is a multiple of stride 2, so that all outputs have the same number of taps and no grid appears
        self.layers = nn.Sequential(*stages, nn.ConvTranspose2d(channels, 1, 6, stride=2, padding=2))
        self.apply(initialize_convolutions)

    @override
    def decode(self, hidden: Tensor, bins: int, frames: int, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        rows, columns = max(frames, REDUCTION), max(bins, REDUCTION)
        for shift, stage in zip((3, 2, 1, 0), self.layers, strict=True):
            # the sizes 1/8, 1/4, 1/2 and 1 of the spectrogram, rounded down, leave no frame without a value
            hidden = stage(hidden, [rows >> shift, columns >> shift])
            hidden = zero_padding(hidden, shifted(valid, shift, least=REDUCTION), axis=-2)
        return hidden, valid


class _UpStage(nn.Module):
    def __init__(self, channels: int, narrower: int) -> None:
        super().__init__()
        self.up = Transposed2d(channels, narrower, 4, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(narrower)

    def forward(self, hidden: Tensor, size: list[int]) -> Tensor:
        return F.relu(self.norm(self.up(hidden, output_size=size)), inplace=True)


class LightActivations(ActivationDecoder):
    """Decoder to activations by a pyramid over time alone.

    Activations have no frequency, so each representation first gives up its own (each frame becomes one vector),
    and a sequence is raised to the frames of the spectrogram. This needs well below 1/100 of the multiply-adds of
    the published networks.

    Args:
        shapes: (channels, frequency', time') of each representation of 512 frames, the deepest last.
        components: Components of the dictionary.
        width: Channels of the sequence.
    """

    def __init__(self, shapes: Sequence[Sequence[int]], components: int, width: int = 256) -> None:
        super().__init__()
        self.halvings = [halvings_of(shape[2]) for shape in shapes]
        self.inputs = nn.ModuleList(nn.Conv1d(channels * rows, width, 1) for channels, rows, _ in shapes)
        self.norm = nn.BatchNorm1d(width)
        steps = max(self.halvings)
        # repeated, then convolved: transposed convolutions leave a grid, and the mask flickers with it
        self.ups = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2) for _ in range(steps))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(steps))
        self.last = nn.Conv1d(width, components, 7, padding=3)
        self.apply(initialize_convolutions)

    @override
    def decode(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None) -> Tensor:
        top = max(self.halvings)
        # a clip shorter than one column of the deepest representation is decoded as if it had this length
        length = max(frames, 1 << top)
        valid = shifted(valid, 0, least=1 << top)
        hidden = F.relu(self.norm(self._entering(top, representations, frames, length, valid)))
        hidden = zero_padding(hidden, shifted(valid, top))
        for halvings, up, norm in zip(range(top - 1, -1, -1), self.ups, self.norms, strict=True):
            # one level: double the columns, convolve, add the representations of this resolution
            hidden = up(double_columns(hidden, length >> halvings, shifted(valid, halvings)))
            if halvings in self.halvings:
                hidden = hidden + self._entering(halvings, representations, frames, length, valid)
            hidden = zero_padding(F.relu(norm(hidden)), shifted(valid, halvings))
        # only a clip that is shorter than one deepest column has more than `frames` columns here
        activations: Tensor = self.last(hidden).relu()
        return activations[..., :frames]

    def _entering(
        self, halvings: int, representations: Sequence[Tensor], frames: int, length: int, valid: Tensor | None
    ) -> Tensor:
        """Sum the representations that enter at this level, each frame as a vector."""
        parts = []
        for layer, values in at_level(halvings, self.halvings, self.inputs, representations):
            sequence = values.flatten(1, 2)
            if sequence.shape[-1] != length >> halvings:
                sequence = resize_columns(sequence, length >> halvings, frames, valid, halvings)
            parts.append(layer(sequence))
        return sum_of(parts)


class LightMask(MaskDecoder):
    """Decoder to the logits of a mask by a pyramid over time and frequency.

    Each representation enters at the level that has as many frames, or else at 1/16. Where its rows are no linear
    frequencies (those of a mel bank, or of a picture), a linear map over channels and rows makes them linear. This
    needs less than 1/100 of the multiply-adds of `PyramidMask`, and only the logits exist at full resolution.

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
        # widths[level - 1] belongs to 1 / 2^level of the resolution: channels double as the resolution halves
        widths = [min(narrowest << level, _WIDEST) for level in range(self.top)]
        self.inputs = nn.ModuleList(
            Entrance(shape[0], shape[1], widths[halvings - 1], self._rows(halvings))
            for shape, halvings in zip(shapes, self.halvings, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.ups = nn.ModuleList(
            Transposed2d(widths[level], widths[level - 1], 4, stride=2, padding=1) for level in range(1, self.top)
        )
        self.last = nn.ConvTranspose2d(widths[0], 1, 6, stride=2, padding=2)
        self.apply(initialize_convolutions)

    @override
    def forward(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None = None) -> Tensor:
        # a clip shorter than one deepest column is decoded at that length, and the result is cut
        length = max(frames, 1 << self.top)
        valid = None if valid is None else valid.to(representations[-1].device).clamp(min=1 << self.top)
        hidden: Tensor | None = None
        for level in range(self.top, 0, -1):
            parts = entering(level, self.halvings, self.inputs, representations, frames, length, valid)
            if hidden is not None:
                parts.append(self.ups[level - 1](hidden, output_size=[length >> level, self._rows(level)]))
            hidden = F.relu(self.norms[level - 1](sum_of(parts)), inplace=True)
            hidden = zero_padding(hidden, shifted(valid, level), axis=-2)
        decoded: Tensor = self.last(hidden, output_size=[length, self._rows(0)])
        return decoded[:, 0, :frames, : self.bins].transpose(-1, -2)

    def _rows(self, level: int) -> int:
        """Return the number of frequencies at this level."""
        return max(self.bins, 1 << self.top) >> level
