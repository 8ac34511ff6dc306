"""Reading sound files as mono float32 waveforms at a given rate, and saving waveforms."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from otoscope.errors import AudioError
from otoscope.files.atomic import replace_file

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif")
"""Suffixes that mark sound files in a folder. `load_audio` also reads other formats of libsndfile."""

SAMPLE_RATES_HZ = (1_000, 1_000_000)
"""Sample rates outside this range are regarded as a damaged header."""

MAX_CHANNELS = 256
_BLOCK_FRAMES = 1 << 18
_SUBTYPES = {".wav": "FLOAT", ".flac": "PCM_24"}
# Sizes that recorders write as placeholders before they know the size, and that some never replace.
_PLACEHOLDER_SIZES = (0, 0xFFFFFFFF)


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
    with _opened(path) as file:
        return _checked_info(path, file)


def load_audio(path: str | os.PathLike[str], sample_rate_hz: int = 16_000) -> Tensor:
    """Load a sound file as a mono waveform; channels are averaged, other rates resampled (soxr HQ).

    Args:
        path: Sound file in any format that libsndfile reads; see `SUFFIXES`.
        sample_rate_hz: Sample rate of the result.

    Returns:
        Waveform, float32, nominally in [-1, 1]. Shape (samples,).

    Raises:
        AudioError: The file is missing, empty, truncated or not audio, has an implausible header, or holds NaN
            or infinite samples. The message names the file and a remedy. Truncation is detected in wav, aiff,
            flac, ogg and opus, but not in mp3, whose header only estimates the length.
    """
    path = _existing_file(path)
    with _opened(path) as file:
        info = _checked_info(path, file)
        _refuse_short_container(path, file.format)
        mono = _read_mono(path, file, info)
    if not np.isfinite(mono).all():
        bad = int(np.count_nonzero(~np.isfinite(mono)))
        raise AudioError(f"{path}: {bad} samples are NaN or infinite; export the recording again or cut them")
    if info.sample_rate_hz != sample_rate_hz:
        # HQ is a linear-phase filter with a stop band of 120 dB: nothing audible is aliased or delayed.
        mono = soxr.resample(mono, info.sample_rate_hz, sample_rate_hz, quality="HQ")
    if len(mono) == 0:
        raise AudioError(f"{path}: too short to hold a sample at {sample_rate_hz} Hz; use a longer recording")
    return torch.from_numpy(np.ascontiguousarray(mono, dtype=np.float32))


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


def _opened(path: Path) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(_plain(path))
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        cause = getattr(error, "error_string", str(error)).rstrip(".")
        raise AudioError(
            f"{path}: not a sound file that can be read, or damaged ({cause}); convert it to wav or flac"
        ) from error


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


def _read_mono(path: Path, file: soundfile.SoundFile, info: AudioInfo) -> np.ndarray:
    # Block by block, so that a damaged header that announces terabytes cannot exhaust the memory.
    blocks = []
    try:
        while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
            blocks.append(block[:, 0] if info.channels == 1 else block.mean(axis=1))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path}: damaged or truncated ({error}); copy or export it again") from error
    mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    # The header of an mp3 only estimates the length, so fewer frames than announced are no fault there.
    exact = file.format not in ("MP3", "MPEG")
    if len(mono) == 0 or (exact and len(mono) < info.frames):
        raise AudioError(
            f"{path}: truncated, holds {len(mono)} of the {info.frames} frames that its header announces; "
            "copy or export it again"
        )
    return mono


def _refuse_short_container(path: Path, container: str) -> None:
    """Detect truncation that libsndfile does not report: it silently lowers the length to what the file holds."""
    missing = 0
    if container in ("WAV", "WAVEX", "AIFF"):
        missing = _bytes_missing_from_chunks(path)
    elif container == "OGG" and not _ogg_ends(path):
        raise AudioError(f"{path}: truncated, the stream's last page is missing; copy or export it again")
    if missing > 0:
        raise AudioError(f"{path}: truncated, {missing} bytes of sound are missing; copy or export it again")


def _bytes_missing_from_chunks(path: Path) -> int:
    """Return how many bytes of the sample chunk of a wav or aiff lie beyond the end of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        # Container header: "RIFF" (wav, little-endian), "RIFX" or "FORM" (aiff, both big-endian), size, type.
        order: Literal["little", "big"] = "big" if file.read(12)[:4] in (b"RIFX", b"FORM") else "little"
        # Then chunks: a name and a length of 4 bytes each, the content, and a zero byte if the length is odd.
        while len(header := file.read(8)) == 8:
            length = int.from_bytes(header[4:], order)
            if header[:4] in (b"data", b"SSND"):
                return 0 if length in _PLACEHOLDER_SIZES else file.tell() + length - size
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0


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
