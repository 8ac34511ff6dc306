"""Limits of what visitors of the app may upload, and the words that refuse it."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from otoscope.audio import MonoWaveform
from otoscope.audio.blocks import MonoBlocks
from otoscope.audio.waveforms import finish
from otoscope.errors import AudioError, ConfigurationError, OtoscopeError

LONGEST_S = 120.0
"""Longest recording that a player shows."""
UPLOADS = "uploads"
"""Folder of the uploaded files, relative to the folder of the server."""
_UPLOAD = re.compile(rf"{UPLOADS}/[0-9a-f]{{64}}/(?P<name>[^/\\\x00-\x1f]+)")
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Limits:
    """Limits of the app.

    Args:
        upload_mb: Largest file, in megabytes of 10^6 bytes.
        duration_s: Longest recording.
        queue: Largest number of requests that wait.
        keep_min: Minutes after which results and uploads are removed.

    Raises:
        ConfigurationError: A limit is not positive, or recordings could be longer than a player shows.
    """

    upload_mb: float = 50.0
    duration_s: float = 60.0
    queue: int = 50
    keep_min: float = 60.0

    def __post_init__(self) -> None:
        names = {
            "upload_mb": "max_upload_mb",
            "duration_s": "max_duration_s",
            "queue": "queue",
            "keep_min": "keep_min",
        }
        for name, option in names.items():
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigurationError(f"--{option} {getattr(self, name)}: must be positive")
        if self.duration_s > LONGEST_S:
            raise ConfigurationError(
                f"--max_duration_s {self.duration_s:g}: must be at most {LONGEST_S:g}, the longest recording "
                "that a player shows; explain longer ones with `otoscope explain`, which makes a timeline"
            )

    @property
    def upload_bytes(self) -> int:
        """Largest file, in bytes."""
        return round(self.upload_mb * 1e6)

    @property
    def storage_bytes(self) -> int:
        """Room for the uploads of all visitors together, in bytes."""
        return self.upload_bytes * 40

    def too_large(self) -> str:
        """Return the refusal of a file that is too large."""
        return f"The file is too large: this app accepts at most {self.upload_mb:g} MB."

    def too_long(self, name: str, duration_s: float) -> str:
        """Return the refusal of a recording that is too long.

        Args:
            name: Name of the file.
            duration_s: Its length; infinite if it is not known.
        """
        length = f"lasts {duration_s:.1f} s" if duration_s < float("inf") else "is too long"
        limit = f"this app explains recordings of at most {self.duration_s:g} s"
        return f"{name}: {length}; {limit}. Cut out a part of it."


def upload_name(path: str) -> str | None:
    """Return the name of an uploaded file; None if a path does not name an upload.

    Args:
        path: Path as a request states it, relative to the folder of the server.

    Example:
        >>> upload_name(f"uploads/{64 * 'a'}/dog.wav"), upload_name("../../etc/passwd")
        ('dog.wav', None)
    """
    match = _UPLOAD.fullmatch(path)
    return None if match is None or match["name"] in (".", "..") else match["name"]


def foreign_path(content: Any) -> bool:
    """Return whether a request names a file that is no upload.

    Args:
        content: Content of a request: what JSON can hold.

    Example:
        >>> foreign_path({"data": [{"path": "/etc/passwd"}]}), foreign_path({"data": ["dog"]})
        (True, False)
    """
    if isinstance(content, Mapping):
        path = content.get("path")
        if path is not None and not (isinstance(path, str) and upload_name(path)):
            return True
        return any(foreign_path(value) for value in content.values())
    if isinstance(content, Sequence) and not isinstance(content, str):
        return any(foreign_path(value) for value in content)
    return False


def shown_name(path: str | os.PathLike[str]) -> str:
    r"""Return the name of a recording as results show it: without folders, ending and control characters.

    Example:
        >>> shown_name("a/b/my\ndog.wav"), shown_name("../..")
        ('mydog', 'recording')
    """
    name = os.fspath(path).replace("\\", "/").rpartition("/")[2]
    stem = "".join(letter for letter in Path(name).stem if unicodedata.category(letter)[0] != "C").strip(". ")
    return stem[:_LONGEST_NAME] or "recording"


def read_upload(path: str | os.PathLike[str], sample_rate_hz: int, limits: Limits) -> MonoWaveform:
    """Read an uploaded file as a mono waveform; its content decides whether it is sound, not its name.

    Args:
        path: File.
        sample_rate_hz: Sample rate of the result.
        limits: Limits.

    Raises:
        AudioError: It is no sound, damaged, or longer than the limit. No message holds the path.
    """
    path = Path(path)
    name = path.name
    try:
        if path.stat().st_size > limits.upload_bytes:
            raise AudioError(limits.too_large())
        blocks = MonoBlocks(path)
        rate_hz = blocks.info.sample_rate_hz
        duration_s = blocks.info.frames / rate_hz
        if duration_s > limits.duration_s:
            raise AudioError(limits.too_long(name, duration_s))
        parts: list[np.ndarray] = []
        samples = 0
        # A header may state a shorter length than what follows it, so that the samples are counted too.
        for block in blocks:
            samples += len(block)
            if samples > limits.duration_s * rate_hz:
                raise AudioError(limits.too_long(name, float("inf")))
            parts.append(block)
        mono = torch.from_numpy(np.concatenate(parts))
        return finish(mono, rate_hz, sample_rate_hz, blocks.notes, name)
    except FileNotFoundError as error:
        raise AudioError(f"{name}: is no longer there; upload it again") from error
    except OtoscopeError as error:
        raise AudioError(public_message(error, path)) from error


def public_message(error: BaseException, *paths: str | os.PathLike[str]) -> str:
    r"""Return the message of an error in one line, without paths of the server.

    Args:
        error: Error.
        *paths: Paths that the message may hold; their last part replaces them.

    Example:
        >>> public_message(ValueError("/srv/x/dog.wav: no sound;\n cut /srv/x"), "/srv/x/dog.wav", "/srv/x")
        'dog.wav: no sound; cut x'
    """
    text = " ".join(str(error).split())
    forms = {form for path in map(Path, paths) for form in (path, path.absolute(), path.resolve())}
    for form in sorted(forms, key=lambda form: len(str(form)), reverse=True):
        text = text.replace(str(form), form.name)
    # Other absolute paths, such as that of a file inside of a model's folder.
    return re.sub(r"(?<![\w:/.])/(?:[^\s/:;,'\"]+/)+([^\s/:;,'\"]*)", r"\1", text)
