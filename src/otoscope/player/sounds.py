"""Sounds as compressed data that browsers play: Vorbis in Ogg, written by libsndfile."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import soundfile
import soxr
import torch

from otoscope.audio.level import levelled

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8_000, 48_000
"""Sample rates between which sounds keep their own. Browsers play at most 48 kHz on most machines."""
_PEAK = 0.9
_COMPRESSION = 0.5
_BLOCK = 65_536
"""Samples that are written at once: libsndfile's encoder takes long arrays from the stack."""


@dataclass(frozen=True)
class EncodedSound:
    """Sound as compressed data.

    Attributes:
        data: Content of an Ogg file, at a peak of 0.9.
        gain: Factor that restores the level.
        equal_gain: Further factor that makes the sound as loud as its reference.
    """

    data: bytes
    gain: float
    equal_gain: float = 1.0

    @property
    def url(self) -> str:
        """Data URL, for ``<audio src>``."""
        return f"data:audio/ogg;base64,{base64.b64encode(self.data).decode()}"


def encode_sound(waveform: np.ndarray, sample_rate_hz: int, reference: np.ndarray | None = None) -> EncodedSound:
    """Encode a sound as Vorbis in Ogg.

    Vorbis was chosen over Opus because it takes any sample rate. Both are decoded without delay, so that several
    sounds stay aligned. The sound is encoded at a peak of 0.9, so that the noise of
    the codec is relative to the sound, however quiet that is.

    Args:
        waveform: Mono waveform. Shape (samples,).
        sample_rate_hz: Sample rate. Outside of 8 to 48 kHz, the sound is resampled.
        reference: Waveform whose loudness ``equal_gain`` reaches (default: that of the sound itself).

    Example:
        >>> tone = 0.01 * np.sin(np.arange(16_000) * 0.2)
        >>> sound = encode_sound(tone, 16_000, reference=2 * tone)
        >>> sound.data[:4], round(sound.gain, 4), round(sound.equal_gain, 2)
        (b'OggS', 0.0111, 2.0)
    """
    waveform = np.asarray(waveform, np.float32)
    peak = float(np.abs(waveform).max(initial=0.0))
    equal_gain = 1.0 if reference is None or peak == 0 else _equal_gain(waveform, reference, sample_rate_hz, peak)
    gain = peak / _PEAK if peak > 0 else 1.0
    samples = waveform / np.float32(gain)
    rate_hz = int(min(max(sample_rate_hz, LOWEST_RATE_HZ), HIGHEST_RATE_HZ))
    if rate_hz != sample_rate_hz:
        samples = soxr.resample(samples, sample_rate_hz, rate_hz)
    buffer = BytesIO()
    with soundfile.SoundFile(
        buffer, "w", rate_hz, 1, format="OGG", subtype="VORBIS", compression_level=_COMPRESSION
    ) as file:
        for begin in range(0, max(len(samples), 1), _BLOCK):
            # a file without a sample would be no valid one
            file.write(samples[begin : begin + _BLOCK] if len(samples) else np.zeros(1, np.float32))
    return EncodedSound(buffer.getvalue(), gain, equal_gain)


def _equal_gain(waveform: np.ndarray, reference: np.ndarray, sample_rate_hz: int, peak: float) -> float:
    sound, other = torch.from_numpy(waveform), torch.from_numpy(np.asarray(reference, np.float32))
    return float(levelled(sound, other, sample_rate_hz).abs().max()) / peak
