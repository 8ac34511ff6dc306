"""Opening sound files: checks of path, container and header."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile

from otoscope.audio.containers import Container, PatchedFile
from otoscope.audio.formats import conversion_command, needs_conversion
from otoscope.audio.waveforms import MAX_CHANNELS, SAMPLE_RATES_HZ
from otoscope.errors import AudioError


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


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that exists, may be read and is not empty.

    Raises:
        AudioError: It does not, may not or is; the message names a remedy.
    """
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


def plain_path(path: Path) -> str | bytes:
    """Return a path as soundfile takes it; a name of bytes that are no text only as bytes."""
    text = str(path)
    is_text = not any("\udc80" <= character <= "\udcff" for character in text)
    return text if is_text or os.name == "nt" else os.fsencode(path)


@contextlib.contextmanager
def opened(path: Path, container: Container) -> Iterator[soundfile.SoundFile]:
    """Open a sound file, with a corrected header if that is necessary.

    Raises:
        AudioError: libsndfile cannot read the format, or the file is damaged.
    """
    with contextlib.ExitStack() as stack:
        source = (
            stack.enter_context(PatchedFile(path, container.patches)) if container.patches else plain_path(path)
        )
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


def checked_info(path: Path, file: soundfile.SoundFile) -> AudioInfo:
    """Return the header of an open sound file.

    Raises:
        AudioError: It is implausible, or announces no samples.
    """
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


def ogg_ends(path: Path) -> bool:
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
