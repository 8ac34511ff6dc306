"""Published decoders of CNN14's four representations: those of L2I and of L-MAC."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio.padding import zero_padding
from otoscope.errors import ShapeError
from otoscope.nn.decoders.common import ActivationDecoder, MaskDecoder
from otoscope.nn.decoders.sizes import fit_columns, fit_frames, raised_rows, valid_columns
from otoscope.nn.transposed import Transposed2d
from otoscope.nn.transposed.composed import composed

_CNN14_REACH = 32


class Pyramid(nn.Module):
    """Transposed convolutions that raise CNN14's deepest representation and add the next one at each step.

    It is the common body of the published networks of L2I and L-MAC for CNN14. They were published for lengths at
    which each step fits the next exactly, such as 431 frames; here each summand is cut or zero-padded to fit.

    Args:
        channels: Channels of the deepest representation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # layers 0, 2, 4, 6 and 7 raise the sum; 1, 3 and 5 raise the next representation to meet it
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

    @override
    def forward(
        self, representations: Sequence[Tensor], valid: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Raise the representations to the resolution before the last layer of a network.

        Args:
            representations: Those of blocks 3, 4, 5 and 6. Shape each (batch, channels, frequency', time').
            valid: Valid columns of each representation, shape each (batch,). None: all columns are valid.

        Returns:
            Non-negative map, shape (batch, channels / 8, time, frequency), and the valid rows of each clip.
        """
        hidden, rows = self.body(representations, valid)
        return self._raise(7, hidden, rows)

    def body(
        self, representations: Sequence[Tensor], valid: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Compute `forward` without the last layer: shape (batch, channels / 4, time', frequency')."""
        third, fourth, fifth, sixth = (value.transpose(-1, -2) for value in representations)
        if sixth.shape[-1] < 2:
            raise ShapeError(
                f"the published decoder of CNN14 needs 64 mel bins or more ({sixth.shape[-1]} column of frequency "
                "remains of them); choose the light one"
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
        assert isinstance(up, nn.ConvTranspose2d)
        hidden = F.relu(up(zero_padding(hidden, valid, axis=-2)), inplace=True)
        if valid is None:
            return hidden, None
        # The kernel carried the clip into the padding and the bias is everywhere: only the rows that the clip would
        # have alone stay.
        valid = raised_rows(up, valid)
        return zero_padding(hidden, valid, axis=-2), valid


class PyramidActivations(ActivationDecoder):
    """The published network of L2I: a `Pyramid`, a last transposed convolution, the mean over frequency.

    Parameter-compatible with SpeechBrain's ``CNN14PSI_stft_2d``.

    Args:
        channels: Channels of the deepest representation.
        components: Components of the dictionary.
    """

    def __init__(self, channels: int, components: int) -> None:
        super().__init__()
        self.pyramid = Pyramid(channels)
        self.last = Transposed2d(channels // 8, components, (7, 5), (1, 4))

    @override
    def decode(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None) -> Tensor:
        hidden, rows = self.pyramid(representations, cnn14_columns(representations, frames, valid))
        decoded = self.last.rectified_mean(hidden)
        rows = None if rows is None else raised_rows(self.last, rows)
        return fit_columns(decoded, frames, rows)


class PyramidMask(MaskDecoder):
    """The published network of L-MAC: a `Pyramid`, and a last transposed convolution over frequency.

    Parameter-compatible with SpeechBrain's ``CNN14PSI_stft``.

    Args:
        channels: Channels of the deepest representation.
        bins: Frequency bins of the spectrogram. Published for 513; for others bins are cut, or the last one is
            held.
    """

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.pyramid = Pyramid(channels)
        self.last = Transposed2d(channels // 8, 1, (1, 5), (1, 4))

    @override
    def forward(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None = None) -> Tensor:
        valid = None if valid is None else valid.to(representations[-1].device)
        hidden, rows = self.pyramid.body(representations, cnn14_columns(representations, frames, valid))
        up = self.pyramid.layers[7]
        assert isinstance(up, Transposed2d)
        # published without a ReLU between the last two layers, so both are one linear map
        decoded = composed(hidden, up, self.last)
        rows = None if rows is None else raised_rows(up, rows)
        return fit_frames(decoded, self.bins, frames, rows).transpose(-1, -2)


def cnn14_columns(representations: Sequence[Tensor], frames: int, valid: Tensor | None) -> list[Tensor] | None:
    """Return the valid columns of each of CNN14's representations.

    Args:
        representations: Those of blocks 3, 4, 5 and 6. Shape each (batch, channels, frequency', time').
        frames: Frames of the spectrogram.
        valid: Valid frames of each clip, shape (batch,). None gives None.
    """
    if valid is None:
        return None
    # CNN14 appends silence to clips that are shorter than its reach
    longest, counts = max(frames, _CNN14_REACH), valid.clamp(min=_CNN14_REACH)
    return [valid_columns(hidden.shape[-1], longest, counts) for hidden in representations]


def _add(hidden: Tensor, skip: Tensor, valid: Tensor | None) -> Tensor:
    """Add a map that is cut or zero-padded to the same size. Shapes (batch, channels, time, frequency)."""
    rows, columns = hidden.shape[-2:]
    skip = skip[..., :rows, :columns]
    missing = (0, columns - skip.shape[-1], 0, rows - skip.shape[-2])
    return zero_padding(hidden + (F.pad(skip, missing) if any(missing) else skip), valid, axis=-2)
