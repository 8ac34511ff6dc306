"""Reading sound files as mono float32 waveforms at a given rate, and saving waveforms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from otoscope.audio.blocks import MonoBlocks
from otoscope.audio.containers import Container, check_container
from otoscope.audio.formats import SUFFIXES as SUFFIXES
from otoscope.audio.opening import AudioInfo, checked_info, existing_file, opened, plain_path
from otoscope.audio.waveforms import MonoWaveform, finish, to_mono
from otoscope.errors import AudioError, ConfigurationError
from otoscope.files.atomic import replace_file

_SUBTYPES = {".wav": "FLOAT", ".flac": "PCM_24"}


def audio_info(path: str | os.PathLike[str]) -> AudioInfo:
    """Read the header of a sound file.

    Args:
        path: Sound file.

    Raises:
        AudioError: The file is missing, not a sound file, or its header is implausible.
    """
    path = existing_file(path)
    try:
        container = check_container(path)
    except AudioError:  # a truncated file still has a header
        container = Container()
    with opened(path, container) as file:
        return checked_info(path, file)


def load_audio(path: str | os.PathLike[str], sample_rate_hz: int = 16_000, channel: int | None = None) -> Tensor:
    """Load a sound file as a mono waveform; channels are averaged, other rates resampled (soxr HQ).

    Args:
        path: Sound file in any format that libsndfile reads; see `SUFFIXES`.
        sample_rate_hz: Sample rate of the result.
        channel: Channel to take instead of the average, counted from 0.

    Returns:
        Waveform, float32, nominally in [-1, 1]. Shape (samples,).

    Raises:
        AudioError: See `read_recording`.
    """
    return read_recording(path, sample_rate_hz, channel).samples


def open_recording(
    audio: Any,
    sample_rate_hz: int = 16_000,
    source_rate_hz: float | None = None,
    channel: int | None = None,
    name: str = "waveform",
) -> MonoWaveform:
    """Return a recording as a mono waveform, whatever it is given as: a sound file, or sound in memory.

    Args:
        audio: Path of a sound file, or sound in memory as `to_mono` takes it.
        sample_rate_hz: Sample rate of the result.
        source_rate_hz: Sample rate of sound in memory that does not state it.
        channel: Channel to take instead of the average, counted from 0.
        name: Name of a waveform, for messages.

    Raises:
        AudioError: See `read_recording` and `to_mono`.
        ConfigurationError: A sample rate is given for a file, which states its own, or is implausible.
        ShapeError: A waveform is empty, or holds no samples that could be understood.
    """
    if not isinstance(audio, str | os.PathLike):
        return to_mono(audio, sample_rate_hz, source_rate_hz, channel, name)
    if source_rate_hz is not None:
        raise ConfigurationError(f"sample_rate_hz: {audio} states its own sample rate; leave out sample_rate_hz")
    return read_recording(audio, sample_rate_hz, channel)


def read_recording(
    path: str | os.PathLike[str], sample_rate_hz: int = 16_000, channel: int | None = None
) -> MonoWaveform:
    """Read a sound file as a mono waveform, with notes on what is unusual about it.

    Headers with placeholder sizes, as pipes and interrupted recorders leave them, are read to the end of the file.

    Args:
        path: Sound file in any format that libsndfile reads.
        sample_rate_hz: Sample rate of the result.
        channel: Channel to take instead of the average, counted from 0.

    Raises:
        AudioError: The file is missing, empty, truncated or not audio, has an implausible header, holds NaN or
            infinite samples, its channels cancel out when they are mixed down, or it has no such channel. The
            message names the file and a remedy. An mp3 without its end is read up to there, with a note. Truncation
            is detected in wav, RF64, aiff, 8svx, Wave64, caf, au, flac, ogg, opus and mp3.
    """
    recording = MonoBlocks(path, channel)
    mono = np.concatenate(list(recording))
    rate_hz = recording.info.sample_rate_hz
    return finish(torch.from_numpy(mono), rate_hz, sample_rate_hz, recording.notes, str(path))


def save_audio(path: str | os.PathLike[str], waveform: Tensor, sample_rate_hz: int = 16_000) -> Path:
    """Save a mono waveform as wav (32-bit float) or flac (24 bits), completely or not at all.

    Args:
        path: File name that ends in ``.wav`` or ``.flac``.
        waveform: Mono waveform. Shape (samples,).
        sample_rate_hz: Sample rate of the waveform.

    Raises:
        AudioError: The suffix is another one, the waveform has another shape or holds NaN, a flac would hold
            samples beyond 1, or the file cannot be written.
    """
    path = Path(path)
    subtype = _SUBTYPES.get(path.suffix.lower())
    samples = waveform.detach().cpu().float().numpy()
    if subtype is None:
        raise AudioError(f"{path}: can save .wav and .flac, not {path.suffix or 'a name without a suffix'}")
    if samples.ndim != 1 or samples.size == 0:
        raise AudioError(f"{path}: expected one mono waveform with samples, got shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: the waveform holds NaN or infinite samples and cannot be saved")
    if subtype != "FLOAT" and samples.size and np.abs(samples).max() > 1:
        raise AudioError(f"{path}: flac cannot hold samples beyond 1; save as .wav or scale the waveform")

    def write(temporary: Path) -> None:
        try:
            soundfile.write(plain_path(temporary), samples, sample_rate_hz, subtype=subtype)
        except soundfile.LibsndfileError as error:
            raise OSError(str(error)) from error

    return replace_file(path, write, AudioError)
