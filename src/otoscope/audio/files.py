"""Reading sound files as mono float32 waveforms at a given rate, and saving waveforms."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from otoscope.audio.containers import Container, PatchedFile, check_container
from otoscope.audio.formats import SUFFIXES as SUFFIXES
from otoscope.audio.formats import conversion_command, needs_conversion
from otoscope.audio.mpeg import missing_end
from otoscope.audio.waveforms import (
    MAX_CHANNELS,
    SAMPLE_RATES_HZ,
    MonoWaveform,
    cancellation_error,
    cancels,
    finish,
    mixing_note,
    require_channel,
    to_mono,
)
from otoscope.errors import AudioError, ConfigurationError
from otoscope.files.atomic import replace_file

_BLOCK_FRAMES = 1 << 18
_SUBTYPES = {".wav": "FLOAT", ".flac": "PCM_24"}


@dataclass(frozen=True)
class AudioInfo:
    """Contents of a sound file's header.

    Attributes:
        sample_rate_hz: Sample rate.
        channels: Number of channels.
        frames: Samples per channel.
    """

    sample_rate_hz: int
    channels: int
    frames: int


def audio_info(path: str | os.PathLike[str]) -> AudioInfo:
    """Read the header of a sound file.

    Args:
        path: Sound file.

    Raises:
        AudioError: The file is missing, not a sound file, or its header is implausible.
    """
    path = _existing_file(path)
    try:
        container = check_container(path)
    except AudioError:  # a truncated file still has a header
        container = Container()
    with _opened(path, container) as file:
        return _checked_info(path, file)


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
    path = _existing_file(path)
    container = check_container(path)
    with _opened(path, container) as file:
        info = _checked_info(path, file)
        if file.format == "OGG" and not _ogg_ends(path):
            raise AudioError(f"{path}: truncated, the stream's last page is missing; copy or export it again")
        mono = _read_mono(path, file, info, channel)
        notes = [*container.notes]
        if file.format in ("MP3", "MPEG") and (fault := missing_end(path)):
            notes.append(f"the recording seems to be truncated: it {fault}")
    if info.channels > 1 and channel is None:
        notes.append(mixing_note(info.channels))
    if not np.isfinite(mono).all():
        bad = int(np.count_nonzero(~np.isfinite(mono)))
        raise AudioError(f"{path}: {bad} samples are NaN or infinite; export the recording again or cut them")
    return finish(torch.from_numpy(mono), info.sample_rate_hz, sample_rate_hz, notes, str(path))


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
            soundfile.write(_plain(temporary), samples, sample_rate_hz, subtype=subtype)
        except soundfile.LibsndfileError as error:
            raise OSError(str(error)) from error

    return replace_file(path, write, AudioError)


def _existing_file(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioError(f"{path}: no such file; check the name and the current folder") from error
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise AudioError(f"{path}: cannot be reached ({cause}); check its name and permissions") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path}: is a folder, not a sound file; name a file in it")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{path}: may not be read; check its permissions")
    if status.st_size == 0:
        raise AudioError(f"{path}: is empty (0 bytes); copy or record it again")
    return path


def _plain(path: Path) -> str | bytes:
    """Return a path as soundfile takes it; a name of bytes that are no text only as bytes."""
    text = str(path)
    is_text = not any("\udc80" <= character <= "\udcff" for character in text)
    return text if is_text or os.name == "nt" else os.fsencode(path)


@contextlib.contextmanager
def _opened(path: Path, container: Container) -> Iterator[soundfile.SoundFile]:
    """Open a sound file, with a corrected header if that is necessary."""
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(PatchedFile(path, container.patches)) if container.patches else _plain(path)
        try:
            file = stack.enter_context(soundfile.SoundFile(source))
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            if needs_conversion(path):
                raise AudioError(
                    f"{path}: this format cannot be read; convert it with {conversion_command(path)}"
                ) from error
            cause = getattr(error, "error_string", str(error)).rstrip(".")
            raise AudioError(
                f"{path}: not a sound file that can be read, or damaged ({cause}); convert it to wav or flac"
            ) from error
        yield file


def _checked_info(path: Path, file: soundfile.SoundFile) -> AudioInfo:
    info = AudioInfo(int(file.samplerate), int(file.channels), int(file.frames))
    low, high = SAMPLE_RATES_HZ
    if not low <= info.sample_rate_hz <= high or not 1 <= info.channels <= MAX_CHANNELS or info.frames < 0:
        raise AudioError(
            f"{path}: its header is implausible ({info.sample_rate_hz} Hz, {info.channels} channels, "
            f"{info.frames} frames); convert or export the recording again"
        )
    if info.frames == 0:
        raise AudioError(f"{path}: holds no samples; record or export it again")
    return info


def _read_mono(path: Path, file: soundfile.SoundFile, info: AudioInfo, channel: int | None) -> np.ndarray:
    """Return the mean of the channels, or one of them, in single precision, or double if the file holds floats."""
    if channel is not None:
        require_channel(channel, info.channels, str(path))
    # Floats may be as large as their format allows, so that sums overflow in single precision.
    dtype = "float64" if file.subtype in ("FLOAT", "DOUBLE") else "float32"
    blocks = []
    levels = np.zeros(2)  # summed absolute samples of the mixture and of the channels
    # Block by block, so that a damaged header that announces terabytes cannot exhaust the memory.
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            while len(block := file.read(_BLOCK_FRAMES, dtype=dtype, always_2d=True)):
                is_mixed = info.channels > 1 and channel is None
                mono = block.mean(axis=1) if is_mixed else block[:, channel or 0].copy()
                if is_mixed:
                    levels += np.abs(mono, dtype="float64").sum(), np.abs(block, dtype="float64").mean(axis=1).sum()
                blocks.append(mono)
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        raise AudioError(f"{path}: damaged or truncated ({error}); copy or export it again") from error
    mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    # The header of an mp3 only estimates the length, so fewer frames than announced are no fault there.
    exact = file.format not in ("MP3", "MPEG")
    if len(mono) == 0 or (exact and len(mono) < info.frames):
        raise AudioError(
            f"{path}: truncated, holds {len(mono)} of the {info.frames} frames that its header announces; "
            "copy or export it again"
        )
    if cancels(*levels):
        raise cancellation_error(str(path), info.channels)
    return mono


def _ogg_ends(path: Path) -> bool:
    """Return whether the last page is complete and carries the end-of-stream flag (RFC 3533)."""
    with path.open("rb") as file:
        # A page has at most 65 307 bytes, so the last one begins within these.
        file.seek(max(0, path.stat().st_size - 66_000))
        tail = file.read()
    start = tail.rfind(b"OggS")
    if start < 0 or start + 27 > len(tail):
        return False
    # Byte 5 holds flags, byte 26 the number of segments; their lengths follow, then their contents.
    segments = tail[start + 26]
    lengths = tail[start + 27 : start + 27 + segments]
    complete = start + 27 + segments + sum(lengths) <= len(tail)
    end_of_stream = bool(tail[start + 5] & 4)
    return complete and end_of_stream
