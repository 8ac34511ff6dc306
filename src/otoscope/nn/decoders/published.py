"""Published decoders of one representation: PIQ's, and that of L2I for the Conv2d classifier."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio.padding import zero_padding
from otoscope.nn.decoders.common import ActivationDecoder, Decoder, initialize_convolutions
from otoscope.nn.decoders.sizes import REDUCTION, decode_each, raised_rows
from otoscope.nn.transposed import SingleOutputTransposed, Transposed2d


class PublishedDecoder(Decoder):
    """The published decoder of Conv2d: four transposed convolutions at full width, then a 12x12 one.

    Its layers are parameter-compatible with the ``decoder`` of SpeechBrain's ``VectorQuantizedPSI_Audio``. From 26
    columns it makes 417 of the 431 frames of a 5 s clip. The published code drops the other frames; here the last
    one is held.

    Args:
        channels: Channels of the representation, kept until the last layer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = _layers(channels, [(3, 2), (4, 2), (4, 2), (4, 2)], last_kernel=12)
        self.apply(initialize_convolutions)

    @override
    def decode(self, hidden: Tensor, bins: int, frames: int, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if valid is not None:
            # rows of the representation that belong to each clip, rounded as in `resize_map`
            valid = (valid // REDUCTION).clamp(min=1)
        *layers, norm, last = self.layers
        for layer in layers:
            hidden = layer(hidden)
            if valid is not None and isinstance(layer, nn.ConvTranspose2d):
                valid = raised_rows(layer, valid)
            # biases and norms make the padding non-zero, and the next kernel would carry it into the clip
            hidden = zero_padding(hidden, valid, axis=-2)
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(last, SingleOutputTransposed)
        if valid is None:
            return last.after_norm(hidden, norm), None
        hidden = last(zero_padding(norm(hidden), valid, axis=-2))
        valid = raised_rows(last, valid)
        return zero_padding(hidden, valid, axis=-2), valid


class PublishedPictureDecoder(Decoder):
    """The published decoder of FocalNet's and ViT's representations: five transposed convolutions.

    Its layers are parameter-compatible with the ``decoder`` of SpeechBrain's ``VectorQuantizedPSIFocalNet_Audio``
    and ``VectorQuantizedPSIViT_Audio``. From 14 x 14 positions it makes 431 frames of 513 bins, a clip of 5 s. For
    other clips the result is stretched, as the picture was.

    Args:
        channels: Channels of the representation, kept until the last layer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        stages = [((3, 3), (4, 5)), ((4, 1), (2, 2)), ((4, 1), (2, 2)), ((4, 2), (2, 2))]
        self.layers = _layers(channels, stages, last_kernel=(10, 8))
        self.apply(initialize_convolutions)

    @override
    def forward(self, hidden: Tensor, bins: int, frames: int, valid: Tensor | None = None) -> Tensor:
        # a picture spans its clip as a whole, so clips of different lengths are fitted one by one
        if valid is not None:
            return decode_each(lambda clip, count: self(hidden[clip], bins, count), frames, valid)
        decoded, _ = self.decode(hidden.transpose(-1, -2), bins, frames, None)
        if list(decoded.shape[-2:]) != [frames, bins]:
            decoded = F.interpolate(decoded, [frames, bins], mode="bilinear", align_corners=False)
        return decoded.squeeze(1).transpose(-1, -2)

    @override
    def decode(self, hidden: Tensor, bins: int, frames: int, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        *layers, norm, last = self.layers
        for layer in layers:
            hidden = layer(hidden)
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(last, SingleOutputTransposed)
        return last.after_norm(hidden, norm), None


class PublishedActivations(ActivationDecoder):
    """The published network of L2I for Conv2d: PIQ's decoder, then a linear layer over frequency.

    Parameter-compatible with the ``decoder`` of SpeechBrain's ``PsiOptimized``. Like `PublishedDecoder` it makes
    417 of the 431 frames of a 5 s clip and holds the last one.

    Args:
        channels: Channels of the representation.
        bins: Frequency bins of the spectrogram.
        components: Components of the dictionary.
    """

    def __init__(self, channels: int, bins: int, components: int) -> None:
        super().__init__()
        self.bins = bins
        self.decoder = PublishedDecoder(channels)
        self.linear = nn.Linear(bins, components)

    @override
    def decode(self, representations: Sequence[Tensor], frames: int, valid: Tensor | None) -> Tensor:
        spectrum = self.decoder(representations[-1], self.bins, frames, valid).relu()
        # contiguous: for other inputs PyTorch's product rounds differently with and without gradients
        activations: Tensor = self.linear(spectrum.transpose(1, 2).contiguous()).relu().transpose(1, 2)
        return activations


def _layers(
    channels: int,
    stages: Sequence[tuple[int | tuple[int, int], int | tuple[int, int]]],
    last_kernel: int | tuple[int, int],
) -> nn.Sequential:
    """Make stages of a transposed convolution, ReLU and batch norm, in this published order, and the last layer.

    Args:
        channels: Channels of all stages.
        stages: Kernel and stride of each transposed convolution.
        last_kernel: Kernel of the last layer, which makes one channel.
    """
    layers: list[nn.Module] = []
    for kernel, stride in stages:
        layers += [
            Transposed2d(channels, channels, kernel, stride=stride, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(channels),
        ]
    return nn.Sequential(*layers, SingleOutputTransposed(channels, last_kernel, padding=1))
