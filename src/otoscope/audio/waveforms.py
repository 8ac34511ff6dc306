"""Whatever people hold as sound, as mono float32 waveforms at one sample rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor

from otoscope.errors import AudioError, ConfigurationError, ShapeError

SAMPLE_RATES_HZ = (1_000, 1_000_000)
"""Sample rates outside this range are regarded as a mistake or a damaged header."""

MAX_CHANNELS = 256
LARGEST_SAMPLE = 1e9
"""Waveforms beyond are scaled to a peak of 1: the squares of their spectra would exceed single precision."""

_CANCELLED = 0.05
"""Level of a mixture over that of its channels below which they cancel out. 256 unrelated channels have 0.06."""


@dataclass(frozen=True)
class MonoWaveform:
    """Sound as the networks take it.

    Attributes:
        samples: Mono waveform, float32 and finite, nominally in [-1, 1]. Shape (samples,).
        notes: Remarks on what was done to it, for the user.
    """

    samples: Tensor
    notes: tuple[str, ...] = ()


def to_mono(
    audio: Any,
    sample_rate_hz: int,
    source_rate_hz: float | None = None,
    channel: int | None = None,
    name: str = "waveform",
) -> MonoWaveform:
    """Convert sound in memory to a mono waveform at a given rate.

    Integers are divided by their full scale: int16 by 32768, and uint8, uint16 and uint32 after subtracting half of
    it. Integers of 64 bits have no full scale: values up to 1 are left as they are, values up to 32768 are taken as
    16 bits, others as 32 bits, with a note. Of two axes the shorter is that of the channels, the first of equal
    ones. Channels are averaged.

    Args:
        audio: Samples: a tensor, an array, or a list, of shape (samples,), (channels, samples) or (samples,
            channels); a mapping with ``array`` and ``sampling_rate``, as in data sets of Hugging Face; a pair of
            samples and their sample rate, in either order; or a result of this function.
        sample_rate_hz: Sample rate of the result.
        source_rate_hz: Sample rate of the samples (default: what ``audio`` states, or else that of the result).
        channel: Channel to take instead of the average, counted from 0.
        name: Name of the waveform, for messages.

    Returns:
        Waveform, on the device of a tensor, else on the CPU.

    Raises:
        AudioError: The waveform holds NaN or infinite values, its channels cancel out, or it has no such channel.
        ConfigurationError: The sample rate is not a plausible one, or is stated twice, differently.
        ShapeError: It is empty, or holds no samples that could be understood.

    Example:
        >>> stereo = np.array([[8192, 16384, 0], [8192, 0, 0]], dtype=np.int16)
        >>> mono = to_mono(stereo, 16_000)
        >>> mono.samples, mono.notes
        (tensor([0.2500, 0.2500, 0.0000]), ('2 channels are mixed down',))
    """
    if isinstance(audio, MonoWaveform):
        return audio
    samples, stated_hz = _samples_and_rate(audio, name)
    if stated_hz is not None and source_rate_hz is not None and stated_hz != source_rate_hz:
        raise ConfigurationError(
            f"{name}: sample_rate_hz is {source_rate_hz:g}, but the recording states {stated_hz:g}; leave out "
            "sample_rate_hz"
        )
    rates_hz = (stated_hz, source_rate_hz, sample_rate_hz)
    rate_hz = checked_rate(next(rate for rate in rates_hz if rate is not None), name)
    notes: list[str] = []
    floats = _floats(_tensor(samples, name), notes)
    mono = _mixed_down(floats, channel, notes, name)
    if not bool(mono.isfinite().all()):
        raise AudioError(f"{name}: holds NaN or infinite values; repair or leave out the recording")
    return finish(mono, rate_hz, sample_rate_hz, notes, name)


def finish(
    mono: Tensor, source_rate_hz: float, sample_rate_hz: int, notes: Sequence[str], name: str
) -> MonoWaveform:
    """Scale excessive samples, and resample a finite mono waveform.

    Args:
        mono: Mono waveform, single or double precision. Shape (samples,).
        source_rate_hz: Its sample rate.
        sample_rate_hz: Sample rate of the result.
        notes: Notes so far.
        name: Name of the waveform, for messages.

    Raises:
        AudioError: Nothing remains at the new sample rate.
    """
    peak = float(mono.abs().max())
    if peak > LARGEST_SAMPLE:
        notes = [*notes, scaling_note(peak)]
        mono = mono.double() / peak
    mono = mono.float()
    if source_rate_hz != sample_rate_hz:
        # HQ is a linear-phase filter with a stop band of 120 dB: nothing audible is aliased or delayed.
        resampled = soxr.resample(mono.cpu().numpy(), source_rate_hz, sample_rate_hz, quality="HQ")
        mono = torch.from_numpy(np.ascontiguousarray(resampled, dtype=np.float32)).to(mono.device)
    if len(mono) == 0:
        raise too_short_error(name, sample_rate_hz)
    return MonoWaveform(mono, tuple(notes))


def scaling_note(peak: float) -> str:
    """Return the note on samples beyond `LARGEST_SAMPLE`."""
    return f"its samples reach {peak:.3g}: scaled to a peak of 1"


def too_short_error(name: str, sample_rate_hz: int) -> AudioError:
    """Return the error for a recording of which nothing remains at a sample rate."""
    return AudioError(f"{name}: too short to hold a sample at {sample_rate_hz} Hz; use a longer recording")


def checked_rate(rate_hz: Any, name: str) -> float:
    """Return a sample rate after checking it.

    Raises:
        ConfigurationError: It is no number between those of `SAMPLE_RATES_HZ`.
    """
    low, high = SAMPLE_RATES_HZ
    try:
        value = float(rate_hz)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{name}: sample_rate_hz: expected a number, got {rate_hz!r}") from error
    if not low <= value <= high:
        raise ConfigurationError(f"{name}: sample_rate_hz: {rate_hz} must lie between {low} and {high} Hz")
    return value


def require_channel(channel: int, channels: int, name: str) -> int:
    """Return the index of a channel.

    Raises:
        AudioError: There is no such channel.
    """
    if not 0 <= channel < channels:
        last = f"0 to {channels - 1}" if channels > 1 else "0"
        raise AudioError(f"{name}: has no channel {channel}; choose one of {last} with channel")
    return channel


def cancels(mixture: float, parts: float) -> bool:
    """Return whether the channels of a recording cancel out.

    Args:
        mixture: Mean absolute sample of the mixture.
        parts: Mean absolute sample of the channels.
    """
    return math.isfinite(parts) and mixture < _CANCELLED * parts


def cancellation_error(name: str, channels: int) -> AudioError:
    """Return the error for channels that cancel out."""
    return AudioError(
        f"{name}: its {channels} channels cancel out when they are mixed down (one has the opposite sign); choose "
        "one with channel=0, or --channel 0"
    )


def _samples_and_rate(audio: Any, name: str) -> tuple[Any, float | None]:
    """Return the samples, and the sample rate that comes with them."""
    if hasattr(audio, "get_all_samples"):  # decoders of newer versions of Hugging Face's datasets
        decoded = audio.get_all_samples()
        return decoded.data, checked_rate(decoded.sample_rate, name)
    if isinstance(audio, Mapping):
        if audio.get("array") is None:
            keys = ", ".join(map(str, audio)) or "nothing"
            raise ShapeError(
                f"{name}: expected a mapping with 'array' and 'sampling_rate', got one with {keys}; decode the "
                "recording first"
            )
        rate = audio.get("sampling_rate", audio.get("sample_rate"))
        return audio["array"], None if rate is None else checked_rate(rate, name)
    if (
        isinstance(audio, tuple) and len(audio) == 2
    ):  # of soundfile, librosa and torchaudio; SciPy has the rate first
        first, second = audio
        if _is_number(second) and not _is_number(first):
            return first, checked_rate(second, name)
        if _is_number(first) and not _is_number(second):
            return second, checked_rate(first, name)
    return audio, None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _tensor(samples: Any, name: str) -> Tensor:
    """Return samples as a tensor of a type that torch knows, whatever the order of bytes and the strides."""
    if isinstance(samples, Tensor):
        if samples.is_complex() or samples.dtype == torch.bool:
            raise ShapeError(f"{name}: expected samples, got {samples.dtype}; give real numbers")
        # the devices of Apple have no double precision
        return samples.detach().cpu() if samples.device.type == "mps" else samples.detach()
    if isinstance(samples, list | tuple) and any(isinstance(item, Tensor) for item in samples):
        samples = [item.detach().cpu().float().numpy() if isinstance(item, Tensor) else item for item in samples]
    try:
        array = np.asarray(samples)
    except Exception as error:  # lists of rows of different lengths, objects of other packages
        raise ShapeError(f"{name}: expected samples, got {type(samples).__name__} ({error})") from error
    if array.dtype.kind not in "iuf":
        raise ShapeError(
            f"{name}: expected samples as an array of numbers, got {type(samples).__name__} of {array.dtype}"
        )
    if array.dtype.itemsize > 8:  # extended precision, which torch does not have
        array = array.astype(np.float64)
    # Tensors have neither other orders of bytes nor negative strides, and share no memory that may not be written.
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _floats(samples: Tensor, notes: list[str]) -> Tensor:
    """Return samples as single or double precision, integers scaled to [-1, 1)."""
    if samples.dtype in (torch.float32, torch.float64):
        return samples
    if samples.is_floating_point():
        return samples.float()
    info = torch.iinfo(samples.dtype)
    # In double precision, which holds every integer of 32 bits.
    values = samples.double()
    if info.bits < 64:
        half = float(2 ** (info.bits - 1))
        return values / half if info.min < 0 else values / half - 1
    peak = float(values.abs().max()) if values.numel() else 0.0
    if peak <= 1:
        return values
    bits = 16 if peak <= 2**15 else 32
    notes.append(f"its integers of 64 bits are taken as samples of {bits} bits")
    return values / float(2 ** (bits - 1))


def _mixed_down(samples: Tensor, channel: int | None, notes: list[str], name: str) -> Tensor:
    """Return the mean of the channels, or one of them, shape (samples,)."""
    shape = tuple(samples.shape)
    # A batch of one clip, (1, samples) or (1, channels, samples), is that clip.
    while samples.ndim > 1 and 1 in samples.shape:
        samples = samples.squeeze(samples.shape.index(1))
    too_many = samples.ndim == 2 and min(samples.shape) > MAX_CHANNELS
    if samples.ndim not in (1, 2) or samples.numel() == 0 or too_many:
        raise ShapeError(
            f"{name}: expected samples of shape (samples,), (channels, samples) or (samples, channels), got {shape}"
        )
    if samples.ndim == 1:
        if channel is not None:
            require_channel(channel, 1, name)
        return samples
    channels = samples if samples.shape[0] <= samples.shape[1] else samples.T
    if channel is not None:
        return channels[require_channel(channel, len(channels), name)]
    # In double precision, in which large samples do not overflow.
    mixture = channels.double().mean(0)
    if cancels(float(mixture.abs().mean()), float(channels.double().abs().mean())):
        raise cancellation_error(name, len(channels))
    notes.append(mixing_note(len(channels)))
    return mixture


def mixing_note(channels: int) -> str:
    """Return the note on a mixture."""
    return f"{channels} channels are mixed down"
