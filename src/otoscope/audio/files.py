"""Sound files in and out: anything libsndfile reads, to mono float32 at the wanted rate."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from otoscope.errors import AudioError
from otoscope.files.atomic import replace_file

SAMPLE_RATES_HZ = (1_000, 1_000_000)
"""Sample rates outside this range are taken for a damaged header."""

MAX_CHANNELS = 256
_BLOCK_FRAMES = 1 << 18
_SUBTYPES = {".wav": "FLOAT", ".flac": "PCM_24"}
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # what a recorder writes before it knows, and some never mend


@dataclass(frozen=True)
class AudioInfo:
    """What a file says of itself: rate in Hz, channels, frames (samples per channel)."""

    sample_rate_hz: int
    channels: int
    frames: int


def audio_info(path: str | os.PathLike[str]) -> AudioInfo:
    """Reads a file's header only.

    Args:
        path: A sound file.

    Raises:
        AudioError: The file is missing, no sound file, or its header makes no sense.
    """
    path = _existing_file(path)
    with _opened(path) as file:
        return _checked_info(path, file)


def load_audio(path: str | os.PathLike[str], sample_rate_hz: int = 16_000) -> Tensor:
    """Loads a sound file as a mono waveform; channels are averaged, other rates resampled (soxr HQ).

    Args:
        path: wav (8 to 32 bits, float), flac, ogg, mp3: whatever libsndfile reads.
        sample_rate_hz: Rate of the result.

    Returns:
        Waveform, float32, nominally in [-1, 1]. Shape (samples,).

    Raises:
        AudioError: The file is missing, empty, truncated, not audio, has a header that makes no
            sense, or holds NaN or infinite samples. The message names the file and a remedy. Truncation
            is noticed in wav, flac and ogg, whose headers or last pages tell.
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
        mono = soxr.resample(mono, info.sample_rate_hz, sample_rate_hz, quality="HQ")
    if len(mono) == 0:
        raise AudioError(f"{path}: too short to hold a sample at {sample_rate_hz} Hz; use a longer recording")
    return torch.from_numpy(np.ascontiguousarray(mono, dtype=np.float32))


def save_audio(path: str | os.PathLike[str], waveform: Tensor, sample_rate_hz: int = 16_000) -> Path:
    """Saves a mono waveform as wav (32-bit float) or flac (24 bits), written whole or not at all.

    Args:
        path: Ends in ``.wav`` or ``.flac``.
        waveform: Shape (samples,).
        sample_rate_hz: Its rate.

    Raises:
        AudioError: Another ending, a waveform of another shape, NaN samples, samples beyond 1 in a
            flac, or the disk refuses.
    """
    path = Path(path)
    subtype = _SUBTYPES.get(path.suffix.lower())
    samples = waveform.detach().cpu().float().numpy()
    if subtype is None:
        raise AudioError(f"{path}: can save .wav and .flac, not {path.suffix or 'a name without an ending'}")
    if samples.ndim != 1 or samples.size == 0:
        raise AudioError(f"{path}: expected one mono waveform with samples, got shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: the waveform holds NaN or infinite samples, which no file should")
    if subtype != "FLOAT" and samples.size and np.abs(samples).max() > 1:
        raise AudioError(f"{path}: flac cannot hold samples beyond 1; save as .wav or scale the waveform")

    def write(temporary: Path) -> None:
        try:
            soundfile.write(temporary, samples, sample_rate_hz, subtype=subtype)
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


def _opened(path: Path) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(path)
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
            f"{path}: its header makes no sense ({info.sample_rate_hz} Hz, {info.channels} channels, "
            f"{info.frames} frames); convert or export the recording again"
        )
    if info.frames == 0:
        raise AudioError(f"{path}: holds no samples; record or export it again")
    return info


def _read_mono(path: Path, file: soundfile.SoundFile, info: AudioInfo) -> np.ndarray:
    """Reads block by block, so that a header which promises terabytes cannot exhaust memory."""
    blocks = []
    try:
        while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
            blocks.append(block[:, 0] if info.channels == 1 else block.mean(axis=1))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path}: damaged or truncated ({error}); copy or export it again") from error
    mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    exact = file.format not in ("MP3", "MPEG")  # their headers only estimate the length
    if len(mono) == 0 or (exact and len(mono) < info.frames):
        raise AudioError(
            f"{path}: truncated, holds {len(mono)} of the {info.frames} frames that its header promises; "
            "copy or export it again"
        )
    return mono


def _refuse_short_container(path: Path, container: str) -> None:
    """Finds truncation that libsndfile passes over: it cuts the header's promise to what is there."""
    missing = 0
    if container in ("WAV", "WAVEX"):
        missing = _bytes_missing_from_wav(path)
    elif container == "OGG" and not _ogg_ends(path):
        raise AudioError(f"{path}: truncated, the stream's last page is missing; copy or export it again")
    if missing > 0:
        raise AudioError(f"{path}: truncated, {missing} bytes of sound are missing; copy or export it again")


def _bytes_missing_from_wav(path: Path) -> int:
    size = path.stat().st_size
    with path.open("rb") as file:
        order = "little" if file.read(12)[:4] != b"RIFX" else "big"
        while len(header := file.read(8)) == 8:
            length = int.from_bytes(header[4:], order)  # type: ignore[arg-type]
            if header[:4] == b"data":
                return 0 if length in _UNKNOWN_SIZES else file.tell() + length - size
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0


def _ogg_ends(path: Path) -> bool:
    """Whether the last page carries the end-of-stream flag (RFC 3533); a page is at most 65 307 bytes."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 66_000))
        tail = file.read()
    start = tail.rfind(b"OggS")
    if start < 0 or start + 27 > len(tail):
        return False
    segments = tail[start + 26]
    table = tail[start + 27 : start + 27 + segments]
    whole = start + 27 + segments + sum(table) <= len(tail)
    return whole and bool(tail[start + 5] & 4)
