"""Choice of a decoder by name."""

from __future__ import annotations

from collections.abc import Sequence

from otoscope.errors import ConfigurationError
from otoscope.nn.decoders.common import ActivationDecoder, Decoder, DecoderName, MaskDecoder
from otoscope.nn.decoders.light import LightActivations, LightDecoder, LightMask
from otoscope.nn.decoders.published import PublishedActivations, PublishedDecoder, PublishedPictureDecoder
from otoscope.nn.decoders.pyramid import PyramidActivations, PyramidMask


def make_decoder(name: DecoderName, channels: int, stretched: bool = False) -> Decoder:
    """Make a decoder of one representation.

    Args:
        name: ``light`` (channels shrink as resolution grows) or ``published``.
        channels: Channels of the representation.
        stretched: Whether the representation spans each clip as a whole, as those of picture networks do; their
            published decoder differs.

    Raises:
        ConfigurationError: The name is unknown.
    """
    _check(name)
    if name == "light":
        return LightDecoder(channels)
    return PublishedPictureDecoder(channels) if stretched else PublishedDecoder(channels)


def make_activation_decoder(
    name: DecoderName, shapes: Sequence[Sequence[int]], bins: int, components: int, width: int | None = None
) -> ActivationDecoder:
    """Make a decoder to the activations of a dictionary.

    Args:
        name: ``light`` for any representations; ``published`` for one (Conv2d) or for the four of CNN14.
        shapes: (channels, frequency', time') of each representation of 512 frames, the deepest last.
        bins: Frequency bins of the spectrogram.
        components: Components of the dictionary.
        width: Channels of the light decoder (default: 256).

    Raises:
        ConfigurationError: The name is unknown, there is no representation, or no network was published for them.
    """
    channels = _channels(name, shapes)
    _check_width(name, width)
    if name == "light":
        return LightActivations(shapes, components, **({} if width is None else {"width": width}))
    if len(channels) == 1:
        return PublishedActivations(channels[0], bins, components)
    if _are_cnn14s(channels):
        return PyramidActivations(channels[-1], components)
    raise ConfigurationError(
        f"decoder: none was published for representations of {channels} channels; choose light, which fits any"
    )


def make_mask_decoder(
    name: DecoderName, shapes: Sequence[Sequence[int]], bins: int, width: int | None = None
) -> MaskDecoder:
    """Make a decoder of all representations to the logits of a mask.

    Args:
        name: ``light`` for any representations, or ``published`` for the four of CNN14.
        shapes: (channels, frequency', time') of each representation of 512 frames, the deepest last.
        bins: Frequency bins of the spectrogram.
        width: Channels of the light decoder at half of the spectrogram's resolution (default: 16).

    Raises:
        ConfigurationError: The name is unknown, there is no representation, or no network was published for them.
    """
    channels = _channels(name, shapes)
    _check_width(name, width)
    if name == "light":
        return LightMask(shapes, bins, **({} if width is None else {"narrowest": width}))
    if _are_cnn14s(channels):
        return PyramidMask(channels[-1], bins)
    raise ConfigurationError(
        f"decoder: L-MAC's was published for CNN14, not for representations of {channels} channels; choose "
        "light, which fits any"
    )


def _check(name: str) -> None:
    if name not in ("light", "published"):
        raise ConfigurationError(f"decoder: {name!r} is unknown; choose one of light, published")


def _check_width(name: str, width: int | None) -> None:
    if width is not None and (name != "light" or width < 1):
        raise ConfigurationError(
            f"decoder_width: {width} must be positive, and only the light decoder has a width to choose"
        )


def _channels(name: str, shapes: Sequence[Sequence[int]]) -> list[int]:
    if not shapes:
        raise ConfigurationError("decoder: this classifier gives no representation to decode")
    _check(name)
    return [shape[0] for shape in shapes]


def _are_cnn14s(channels: list[int]) -> bool:
    """Whether channels double from block to block, as those of CNN14's last four blocks do."""
    deepest = channels[-1]
    return channels == [deepest // 8, deepest // 4, deepest // 2, deepest]
