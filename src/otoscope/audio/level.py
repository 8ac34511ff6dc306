"""Copies for listening: evidence and remainder as loud as the recording."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

LARGEST_GAIN_DB = 40.0
"""Largest gain of `levelled`. A gain without limit would raise rounding noise to a hiss."""

_WINDOW_S = 0.1
_ACTIVE_RANGE_DB = 10.0
_FRAME_S, _SILENT_RANGE_DB = 0.01, 60.0


def levelled(waveform: Tensor, reference: Tensor, sample_rate_hz: int = 16_000) -> Tensor:
    """Return a waveform as loud as a reference, for listening.

    Evidence is often far quieter than its recording. At equal loudness the two can be compared by ear; files at the
    true level must be saved beside these copies. The result has no sample beyond full scale: the gain is limited
    instead of clipping. It is at most `LARGEST_GAIN_DB`.

    Args:
        waveform: Mono waveform, such as the evidence. Shape (samples,).
        reference: Mono waveform whose loudness is wanted, such as the recording. Shape (samples',).
        sample_rate_hz: Sample rate of both.

    Returns:
        Waveform times one gain, in [-1, 1]. Silence remains silent, and a silent reference changes nothing but
        samples beyond full scale. Shape (samples,).

    Example:
        >>> import torch
        >>> tone = torch.sin(torch.arange(16_000) * 0.2)
        >>> quiet = levelled(0.01 * tone, 0.5 * tone)
        >>> round(float(quiet.abs().max()), 3)
        0.5
    """
    peak = float(waveform.abs().max()) if waveform.numel() else 0.0
    if peak == 0:
        return waveform.clone()
    wanted, present = active_level(reference, sample_rate_hz), active_level(waveform, sample_rate_hz)
    gain = wanted / present if wanted > 0 and present > 0 else 1.0
    gain = min(gain, 10 ** (LARGEST_GAIN_DB / 20), 1 / peak)
    # The limits only remove the rounding of the product: the gain already keeps the peak at or below 1.
    return (gain * waveform).clamp(-1, 1)


def active_level(waveform: Tensor, sample_rate_hz: int = 16_000) -> float:
    """Return the root mean square of a waveform's active parts.

    Active are the windows of 100 ms that are at most 10 dB below the loudest one. Evidence of two barks then has
    the level of the barks, whatever the length of the silence around them, and a recording with a quiet background
    has the level of what stands out of it. Loudness by ITU-R BS.1770 has a similar gate; but its windows of 400 ms
    and its absolute threshold of -70 dB leave short and quiet clips without a value, and its weighting moves the
    level of ordinary sounds by few dB.

    Args:
        waveform: Mono waveform. Shape (samples,).
        sample_rate_hz: Sample rate.

    Returns:
        Root mean square, 0 for silence.

    Example:
        >>> import torch
        >>> sound = torch.zeros(80_000)
        >>> sound[16_000:32_000] = 0.5
        >>> round(active_level(sound), 2)
        0.49
    """
    if waveform.numel() == 0:
        return 0.0
    # In float64, where the squares of the quietest samples do not vanish.
    squares = waveform.detach().double().square()
    # A clip shorter than a window is one window. Windows overlap by half, so that most events are whole in one.
    window = min(max(round(_WINDOW_S * sample_rate_hz), 1), len(squares))
    hop = max(window // 2, 1)
    # Zeros complete the last window; without them the end of a clip would not count.
    squares = functional.pad(squares, (0, (window - len(squares)) % hop))
    power = squares.unfold(0, window, hop).mean(1)
    active = power[power >= power.max() * 10 ** (-_ACTIVE_RANGE_DB / 10)]
    return math.sqrt(float(active.mean()))


def sounding_level(waveform: Tensor, sample_rate_hz: int = 16_000) -> float:
    """Return the root mean square of a waveform where it is not silent.

    Frames of 10 ms that are more than 60 dB below the loudest one are silent. Unlike in `active_level`, the
    background counts.

    Args:
        waveform: Mono waveform. Shape (samples,).
        sample_rate_hz: Sample rate.

    Returns:
        Root mean square, 0 for silence.

    Example:
        >>> import torch
        >>> sound = torch.full((16_000,), 0.1)
        >>> sound[8_000:] = 0
        >>> round(sounding_level(sound), 2)
        0.1
    """
    if waveform.numel() == 0:
        return 0.0
    frame = max(1, round(_FRAME_S * sample_rate_hz))
    squares = functional.pad(waveform.detach().double().square(), (0, -waveform.numel() % frame))
    power = squares.reshape(-1, frame).mean(1)
    return math.sqrt(float(power[power >= power.max() * 10 ** (-_SILENT_RANGE_DB / 10)].mean()))
