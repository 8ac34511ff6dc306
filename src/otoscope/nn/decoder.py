"""From a classifier's representation back to the resolution of the spectrogram.

Both decoders take a representation (batch, channels, frequency', time') of any size and return one
value a bin, (batch, frequency, time), for every frame. Inside they run with time before frequency,
as the published network does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from otoscope.audio.padding import valid_frames
from otoscope.errors import ConfigurationError
from otoscope.nn.transposed import SingleOutputTransposed, Transposed2d

DecoderName = Literal["light", "published"]
_REDUCTION = 16  # both decoders double the resolution four times


def make_decoder(name: DecoderName, channels: int, stretched: bool = False) -> Decoder:
    """Makes a decoder by name.

    Args:
        name: ``light`` (channels shrink as resolution grows) or ``published``.
        channels: Channels of the representation.
        stretched: The representation spans each clip whole, as those of pictures do; another network was
            published for it.

    Raises:
        ConfigurationError: No decoder has that name.
    """
    published = PublishedPictureDecoder if stretched else PublishedDecoder
    kinds: dict[str, type[Decoder]] = {"light": LightDecoder, "published": published}
    if name not in kinds:
        raise ConfigurationError(f"decoder: {name!r} is unknown; choose one of {', '.join(kinds)}")
    return kinds[name](channels)


def initialize_convolutions(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases, the published initialisation; for `nn.Module.apply`."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Decoder(nn.Module, ABC):
    """Common ground: brings the representation to 1/16 of the spectrogram, decodes, fits the result."""

    layers: nn.Sequential

    def forward(self, hidden: Tensor, bins: int, frames: int, valid: Tensor | None = None) -> Tensor:
        """Decodes.

        Args:
            hidden: Shape (batch, channels, frequency', time').
            bins: Frequency bins of the result.
            frames: Frames of the result.
            valid: Frames of the result that belong to each clip, where clips were padded. Shape (batch,).

        Returns:
            Shape (batch, bins, frames). Not yet squashed into [0, 1].
        """
        size = [max(frames // _REDUCTION, 1), max(bins // _REDUCTION, 1)]
        hidden = hidden.transpose(-1, -2)
        if valid is not None:
            valid = valid.to(hidden.device)
        if list(hidden.shape[-2:]) != size:
            hidden = _resized(hidden, size, frames, valid)
        decoded, valid = self.decode(hidden, bins, frames, valid)
        return fit_frames(decoded.squeeze(1), bins, frames, valid).transpose(-1, -2)

    @abstractmethod
    def decode(self, hidden: Tensor, bins: int, frames: int, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Returns (batch, 1, about frames, about bins), and the rows of it that belong to each clip."""


class PublishedDecoder(Decoder):
    """The published decoder: four transposed convolutions at full width, then a 12x12 one.

    Its layers are parameter-compatible with the ``decoder`` of SpeechBrain's ``VectorQuantizedPSI_Audio``.
    From 26 columns it makes 417 of the 431 frames; the published code drops the rest, here the last
    frame is held.

    Args:
        channels: Channels of the representation, kept until the last layer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for kernel in (3, 4, 4, 4):
            stages += [
                Transposed2d(channels, channels, kernel, stride=2, padding=1),
                nn.ReLU(inplace=True),
                nn.BatchNorm2d(channels),
            ]
        self.layers = nn.Sequential(*stages, SingleOutputTransposed(channels, 12, padding=1))
        self.apply(initialize_convolutions)

    def decode(self, hidden: Tensor, bins: int, frames: int, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `Decoder.decode`."""
        if valid is not None:
            valid = (valid // _REDUCTION).clamp(min=1)
        for layer in self.layers:
            hidden = layer(hidden)
            if valid is None:
                continue
            if isinstance(layer, nn.ConvTranspose2d):
                kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
                valid = (valid - 1) * stride - 2 * padding + kernel
            hidden = _zero_padding_rows(hidden, valid)
        return hidden, valid


class PublishedPictureDecoder(Decoder):
    """The published decoder of a picture's representation, FocalNet's or ViT's: five transposed convolutions.

    Its layers are parameter-compatible with the ``decoder`` of SpeechBrain's ``VectorQuantizedPSIFocalNet_Audio``
    and ``VectorQuantizedPSIViT_Audio``. From 14 x 14 it makes 431 frames of 513 bins, a clip of 5 s; for other
    clips what it makes is stretched, as the picture was.

    Args:
        channels: Channels of the representation, kept until the last layer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for kernel, stride in (((3, 3), (4, 5)), ((4, 1), (2, 2)), ((4, 1), (2, 2)), ((4, 2), (2, 2))):
            stages += [
                Transposed2d(channels, channels, kernel, stride=stride, padding=1),
                nn.ReLU(inplace=True),
                nn.BatchNorm2d(channels),
            ]
        self.layers = nn.Sequential(*stages, SingleOutputTransposed(channels, (10, 8), padding=1))
        self.apply(initialize_convolutions)

    def forward(self, hidden: Tensor, bins: int, frames: int, valid: Tensor | None = None) -> Tensor:
        """See `Decoder.forward`."""
        if valid is not None:
            return decode_each(lambda clip, own: self(hidden[clip], bins, own), frames, valid)
        decoded, _ = self.decode(hidden.transpose(-1, -2), bins, frames, None)
        if list(decoded.shape[-2:]) != [frames, bins]:
            decoded = nn.functional.interpolate(decoded, [frames, bins], mode="bilinear", align_corners=False)
        return decoded.squeeze(1).transpose(-1, -2)

    def decode(self, hidden: Tensor, bins: int, frames: int, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `Decoder.decode`."""
        return self.layers(hidden), None


class LightDecoder(Decoder):
    """Four transposed convolutions whose channels halve as the resolution doubles; the last makes the logits.

    About 1/57 of the multiply-adds of `PublishedDecoder` at 256 channels, and it lands on every frame.
    Nothing but the logits exists at full resolution, where memory traffic would cost most of the time.

    Args:
        channels: Channels of the representation.
        narrowest: Channels never fall below this.
        widest: The first stage never makes more; of the wide maps of FocalNet (1024) and ViT (768) it keeps the
            cost near that of Conv2d's (256).
    """

    def __init__(self, channels: int, narrowest: int = 16, widest: int = 128) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for _ in range(3):
            narrower = max(min(channels // 2, widest), narrowest)
            stages.append(_UpStage(channels, narrower))
            channels = narrower
        self.layers = nn.Sequential(*stages, nn.ConvTranspose2d(channels, 1, 6, stride=2, padding=2))
        self.apply(initialize_convolutions)

    def decode(self, hidden: Tensor, bins: int, frames: int, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `Decoder.decode`."""
        rows, columns = max(frames, _REDUCTION), max(bins, _REDUCTION)
        for shift, stage in zip((3, 2, 1, 0), self.layers, strict=True):
            hidden = stage(hidden, [rows >> shift, columns >> shift])
            if valid is not None:
                hidden = _zero_padding_rows(hidden, valid.clamp(min=_REDUCTION) >> shift)
        return hidden, valid


class _UpStage(nn.Module):
    def __init__(self, channels: int, narrower: int) -> None:
        super().__init__()
        self.up = Transposed2d(channels, narrower, 4, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(narrower)

    def forward(self, hidden: Tensor, size: list[int]) -> Tensor:
        return nn.functional.relu(self.norm(self.up(hidden, output_size=size)), inplace=True)


def decode_each(
    decode: Callable[[slice, int], Tensor], frames: int, valid: Tensor, training: bool = False
) -> Tensor:
    """Decodes each clip of a padded batch alone: for representations that span each clip whole.

    Args:
        decode: From the clips to decode, as a slice of the batch, and their frames to (clips, channels, frames).
        frames: Frames of the result.
        valid: Frames that belong to each clip. Shape (batch,).
        training: Norms need the whole batch: decode all clips at the longest's length, and shorten each.

    Returns:
        Shape (batch, channels, frames), 0 on padding.
    """
    counts = valid.tolist()
    if training:
        whole = decode(slice(None), frames)
        parts = [
            nn.functional.interpolate(clip[None], own, mode="linear")
            for clip, own in zip(whole, counts, strict=True)
        ]
    else:
        parts = [decode(slice(i, i + 1), own) for i, own in enumerate(counts)]
    return torch.cat([nn.functional.pad(part, (0, frames - part.shape[-1])) for part in parts])


def valid_columns(width: int, time: int, frames: Tensor | None) -> Tensor | None:
    """Columns of a representation that belong to each clip.

    Strides and pools halve the frames and round down each time; a resized map has the clip's share.

    Args:
        width: Columns of the representation.
        time: Frames of the spectrogram.
        frames: Frames that belong to each clip. Shape (batch,). None gives None.
    """
    if frames is None:
        return None
    halvings = max(time // width, 1).bit_length() - 1
    if width == time >> halvings:
        columns = frames >> halvings
    else:
        columns = torch.div(frames * width + time - 1, time, rounding_mode="floor")
    return columns.clamp(1, width)


def _resized(hidden: Tensor, size: list[int], frames: int, valid: Tensor | None) -> Tensor:
    """Resizes (batch, channels, rows, columns), a padded clip as it would be alone."""
    rows = valid_columns(hidden.shape[-2], frames, valid)
    if rows is None or valid is None:
        return nn.functional.interpolate(hidden, size, mode="bilinear", align_corners=False)
    resized = hidden.new_zeros(*hidden.shape[:2], *size)
    for i, (own, target) in enumerate(zip(rows.tolist(), (valid // _REDUCTION).clamp(min=1).tolist(), strict=True)):
        clip, target_size = hidden[i : i + 1, :, :own], [target, size[1]]
        resized[i, :, :target] = nn.functional.interpolate(clip, target_size, mode="bilinear", align_corners=False)[
            0
        ]
    return resized


def _zero_padding_rows(hidden: Tensor, valid: Tensor) -> Tensor:
    keep = valid_frames(valid, hidden.transpose(-1, -2))
    assert keep is not None
    return hidden * keep.transpose(-1, -2)


def fit_frames(decoded: Tensor, bins: int, frames: int, valid: Tensor | None) -> Tensor:
    """Cuts (batch, rows, columns) to (batch, frames, bins), holding the last row or column where short."""
    rows, columns = decoded.shape[-2:]
    decoded = decoded[..., :frames, :bins]
    if columns < bins:
        decoded = torch.cat([decoded, decoded[..., -1:].expand(-1, -1, bins - columns)], -1)
    if valid is None:
        if rows < frames:
            decoded = torch.cat([decoded, decoded[:, -1:].expand(-1, frames - rows, -1)], 1)
        return decoded
    index = torch.arange(frames, device=decoded.device).minimum(valid[:, None].to(decoded.device) - 1)
    return decoded.gather(1, index[..., None].expand(-1, -1, bins))
