"""From a classifier's representations to the activations of a dictionary over time.

Each network takes representations (batch, channels, frequency', time'), the deepest last, and returns
activations (batch, components, frames), not negative, for every frame and 0 on padding. Inside they run
with time before frequency, as the published networks do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.audio.padding import valid_frames
from otoscope.errors import ConfigurationError, ShapeError
from otoscope.nn.decoder import PublishedDecoder, initialize_convolutions, valid_columns
from otoscope.nn.transposed import Transposed2d

ActivationDecoderName = Literal["light", "published"]
_PROBED_FRAMES = 512
_RESIZED_HALVINGS = 4  # representations that are no power of two coarser than the spectrogram come in at 1/16
_MOST_HALVINGS = 6
_CNN14_REACH = 32


def make_activation_decoder(
    name: ActivationDecoderName, shapes: Sequence[Sequence[int]], bins: int, components: int
) -> ActivationDecoder:
    """Makes a network by name.

    Args:
        name: ``light`` for any representations; ``published`` for one (Conv2d) or for the four of CNN14.
        shapes: (channels, frequency', time') of each representation of 512 frames, the deepest last.
        bins: Frequency bins of the spectrogram.
        components: Of the dictionary.

    Raises:
        ConfigurationError: The name is unknown, or no network was published for such representations.
    """
    if not shapes:
        raise ConfigurationError("decoder: this classifier gives no representation to decode")
    channels = [shape[0] for shape in shapes]
    if name == "light":
        return LightActivations(shapes, components)
    if name != "published":
        raise ConfigurationError(f"decoder: {name!r} is unknown; choose one of light, published")
    if len(channels) == 1:
        return PublishedActivations(channels[0], bins, components)
    deepest = channels[-1]
    if channels == [deepest // 8, deepest // 4, deepest // 2, deepest]:
        return PyramidActivations(deepest, components)
    raise ConfigurationError(
        f"decoder: none was published for representations of {channels} channels; choose light, which fits any"
    )


class ActivationDecoder(nn.Module, ABC):
    """Common ground of the networks."""

    def forward(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None = None) -> Tensor:
        """Decodes.

        Args:
            representations: Shape each (batch, channels, frequency', time'), the deepest last.
            frames: Frames of the spectrogram.
            valid: Frames that belong to each clip, where clips were padded. Shape (batch,).

        Returns:
            Shape (batch, components, frames), not negative.
        """
        valid = None if valid is None else valid.to(representations[-1].device)
        decoded: Tensor = self.decode(representations, frames, valid)
        keep = valid_frames(valid, decoded)
        return decoded if keep is None else decoded * keep

    @abstractmethod
    def decode(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None) -> Tensor:
        """The same, with anything on the padding."""


class PublishedActivations(ActivationDecoder):
    """The published network for the Conv2d classifier: PIQ's decoder, then a linear layer over frequency.

    Parameter-compatible with the ``decoder`` of SpeechBrain's ``PsiOptimized``. Like `PublishedDecoder` it
    makes 417 of the 431 frames of a 5 s clip; the last one is held.

    Args:
        channels: Channels of the representation.
        bins: Frequency bins of the spectrogram.
        components: Of the dictionary.
    """

    def __init__(self, channels: int, bins: int, components: int) -> None:
        super().__init__()
        self.bins = bins
        self.decoder = PublishedDecoder(channels)
        self.linear = nn.Linear(bins, components)

    def decode(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None) -> Tensor:
        """See `ActivationDecoder.decode`."""
        spectrum = self.decoder(representations[-1], self.bins, frames, valid).relu()
        activations: Tensor = self.linear(spectrum.transpose(1, 2)).relu().transpose(1, 2)
        return activations


class Pyramid(nn.Module):
    """Transposed convolutions that raise CNN14's deepest representation, adding the next at each step.

    The common body of the published networks of L2I and L-MAC for CNN14. Published for clips of which each
    step fits the next exactly, such as 431 frames; here what is added is cut or filled with zeros.

    Args:
        channels: Channels of the deepest representation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        full, half, quarter, eighth = (channels // share for share in (1, 2, 4, 8))
        self.layers = nn.ModuleList(
            [
                Transposed2d(full, full, 3, (2, 4), 1),
                Transposed2d(half, full, 3, (2, 4), 1),
                Transposed2d(full, full, (7, 4), (2, 4), 1),
                Transposed2d(quarter, full, (5, 4), (2, 4), 1),
                Transposed2d(full, half, (3, 5), (2, 2), 1),
                Transposed2d(eighth, half, 3, (2, 4), 1),
                Transposed2d(half, quarter, (4, 3), (2, 2), (0, 5)),
                Transposed2d(quarter, eighth, (3, 4), (2, 2), (0, 2)),
            ]
        )

    def forward(
        self, representations: Sequence[Tensor], valid: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Raises.

        Args:
            representations: Those of blocks 3, 4, 5 and 6. Shape each (batch, channels, frequency', time').
            valid: Columns of each that belong to each clip, where clips were padded. Shape each (batch,).

        Returns:
            Shape (batch, channels / 8, time, frequency), not negative, and the rows that belong to each clip.
        """
        hidden, rows = self.body(representations, valid)
        return self._raise(7, hidden, rows)

    def body(
        self, representations: Sequence[Tensor], valid: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The same without the last layer: shape (batch, channels / 4, time', frequency')."""
        third, fourth, fifth, sixth = (value.transpose(-1, -2) for value in representations)
        if sixth.shape[-1] < 2:
            raise ShapeError(
                f"the published decoder of CNN14 needs 64 mel bins or more ({sixth.shape[-1]} column of frequency "
                "was left of them); choose the light one"
            )
        a, b, c, d = [None] * 4 if valid is None else valid
        skips = [self._raise(1, fifth, c), self._raise(3, fourth, b), self._raise(5, third, a)]
        hidden, rows = self._raise(0, sixth, d)
        hidden = _add(hidden, skips[0][0], rows)
        hidden, rows = self._raise(2, hidden, rows)
        hidden = _add(hidden, skips[1][0], rows)
        hidden, rows = self._raise(4, hidden, rows)
        hidden = _add(hidden, skips[2][0], rows)
        return self._raise(6, hidden, rows)

    def _raise(self, layer: int, hidden: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        up = self.layers[layer]
        hidden = hidden if valid is None else _zero_padding_rows(hidden, valid)
        hidden = F.relu(up(hidden), inplace=True)
        if valid is None:
            return hidden, None
        assert isinstance(up, nn.ConvTranspose2d)
        valid = raised_rows(up, valid)
        return _zero_padding_rows(hidden, valid), valid


class PyramidActivations(ActivationDecoder):
    """The published network for CNN14: a `Pyramid`, a last transposed convolution, the mean over frequency.

    Parameter-compatible with SpeechBrain's ``CNN14PSI_stft_2d``.

    Args:
        channels: Channels of the deepest representation.
        components: Of the dictionary.
    """

    def __init__(self, channels: int, components: int) -> None:
        super().__init__()
        self.pyramid = Pyramid(channels)
        self.last = Transposed2d(channels // 8, components, (7, 5), (1, 4))

    def decode(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None) -> Tensor:
        """See `ActivationDecoder.decode`."""
        hidden, rows = self.pyramid(representations, cnn14_columns(representations, frames, valid))
        decoded = self.last.rectified_mean(hidden)
        rows = None if rows is None else raised_rows(self.last, rows)
        return _hold(decoded, frames, rows)


class LightActivations(ActivationDecoder):
    """A pyramid over time alone, for any representations.

    A dictionary's activations have no frequency, so each representation first gives its frequency up (each
    frame becomes one vector), and what is raised to the spectrogram's frames is a sequence: well below 1/100
    of the multiply-adds of the published networks.

    Args:
        shapes: (channels, frequency', time') of each representation of 512 frames, the deepest last.
        components: Of the dictionary.
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

    def decode(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None) -> Tensor:
        """See `ActivationDecoder.decode`."""
        top = max(self.halvings)
        length = max(frames, 1 << top)
        valid = None if valid is None else valid.clamp(min=1 << top)
        hidden = F.relu(self.norm(self._entering(top, representations, frames, length, valid)))
        hidden = _zero_padding_columns(hidden, valid, top)
        for halvings, up, norm in zip(range(top - 1, -1, -1), self.ups, self.norms, strict=True):
            hidden = up(_doubled(hidden, length >> halvings, None if valid is None else valid >> halvings))
            if halvings in self.halvings:
                hidden = hidden + self._entering(halvings, representations, frames, length, valid)
            hidden = _zero_padding_columns(F.relu(norm(hidden)), valid, halvings)
        activations: Tensor = self.last(hidden).relu()
        return activations[..., :frames]

    def _entering(
        self, halvings: int, representations: Sequence[Tensor], frames: int, length: int, valid: Tensor | None
    ) -> Tensor:
        """Sum of the representations that have this resolution, each frame a vector."""
        parts = []
        for own, layer, values in zip(self.halvings, self.inputs, representations, strict=True):
            if own != halvings:
                continue
            sequence = values.flatten(1, 2)
            if sequence.shape[-1] != length >> halvings:
                sequence = resized_columns(sequence, length >> halvings, frames, valid, halvings)
            parts.append(layer(sequence))
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def cnn14_columns(representations: Sequence[Tensor], frames: int, valid: Tensor | None) -> list[Tensor] | None:
    """Columns of each of CNN14's representations that belong to each clip, where clips were padded."""
    if valid is None:
        return None
    # CNN14 takes a clip shorter than its reach with silence after it
    longest, whole = max(frames, _CNN14_REACH), valid.clamp(min=_CNN14_REACH)
    return [_known(valid_columns(hidden.shape[-1], longest, whole)) for hidden in representations]


def raised_rows(layer: nn.ConvTranspose2d, rows: Tensor) -> Tensor:
    """Rows that a transposed convolution makes of so many."""
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    return (rows - 1) * stride - 2 * padding + kernel


def halvings_of(columns: int) -> int:
    """How often the frames were halved on the way to a representation of 512 of them."""
    exact = _PROBED_FRAMES // max(columns, 1)
    power = max(exact.bit_length() - 1, 0)
    whole = columns << power == _PROBED_FRAMES and power <= _MOST_HALVINGS
    return power if whole else _RESIZED_HALVINGS


def resized_columns(sequence: Tensor, length: int, frames: int, valid: Tensor | None, halvings: int) -> Tensor:
    """Resizes (batch, channels, columns), a padded clip as it would be alone."""
    if valid is None:
        return F.interpolate(sequence, length, mode="linear", align_corners=False)
    # the sample points of each clip, as F.interpolate places them
    own = _known(valid_columns(sequence.shape[-1], frames, valid.clamp(max=frames)))[:, None]
    target = (valid >> halvings)[:, None]
    place = (torch.arange(length, device=sequence.device) + 0.5) * own / target - 0.5
    place = place.clamp(min=0).minimum(own - 1)
    low = place.floor().long()
    high = (low + 1).minimum(own - 1)
    share = (place - low)[:, None]

    def at(index: Tensor) -> Tensor:
        return sequence.gather(2, index[:, None].expand(-1, sequence.shape[1], -1))

    return _zero_padding_columns(at(low) * (1 - share) + at(high) * share, valid, halvings)


def _doubled(sequence: Tensor, length: int, valid: Tensor | None) -> Tensor:
    """Repeats each column of (batch, channels, columns), the last one of each clip as often as it takes."""
    if valid is None:
        doubled = sequence.repeat_interleave(2, -1)
        return doubled if length % 2 == 0 else torch.cat([doubled, doubled[..., -1:]], -1)
    index = (torch.arange(length, device=sequence.device) // 2).minimum(valid[:, None] // 2 - 1)
    doubled = sequence.gather(2, index[:, None].expand(-1, sequence.shape[1], -1))
    return doubled * _known(valid_frames(valid, doubled))


def _add(hidden: Tensor, skip: Tensor, valid: Tensor | None) -> Tensor:
    """Adds what is cut or filled with zeros to the same size, on (batch, channels, time, frequency)."""
    rows, columns = hidden.shape[-2:]
    skip = skip[..., :rows, :columns]
    missing = (0, columns - skip.shape[-1], 0, rows - skip.shape[-2])
    hidden = hidden + (F.pad(skip, missing) if any(missing) else skip)
    return hidden if valid is None else _zero_padding_rows(hidden, valid)


def _hold(decoded: Tensor, frames: int, valid: Tensor | None) -> Tensor:
    """Cuts (batch, components, columns) to so many frames, holding the last one of each clip where short."""
    last = torch.full((len(decoded),), decoded.shape[-1], device=decoded.device) if valid is None else valid
    if valid is None and decoded.shape[-1] >= frames:
        return decoded[..., :frames]
    index = torch.arange(frames, device=decoded.device).minimum(last[:, None] - 1)
    return decoded.gather(2, index[:, None].expand(-1, decoded.shape[1], -1))


def _zero_padding_rows(hidden: Tensor, valid: Tensor) -> Tensor:
    return hidden * _known(valid_frames(valid, hidden.transpose(-1, -2))).transpose(-1, -2)


def _zero_padding_columns(hidden: Tensor, valid: Tensor | None, halvings: int) -> Tensor:
    return hidden if valid is None else hidden * _known(valid_frames(valid >> halvings, hidden))


def _known(value: Tensor | None) -> Tensor:
    assert value is not None
    return value
