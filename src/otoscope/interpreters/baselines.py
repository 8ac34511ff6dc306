"""Real recordings as baselines: the sounds that a clip is compared with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from otoscope.audio import open_recording
from otoscope.audio.formats import SUFFIXES
from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.seeding import generator_for

LONGEST_S = 10.0
"""Duration of the part of a longer recording that is taken."""


@dataclass(frozen=True)
class Baselines:
    """Log magnitudes of recordings, zero-padded at the end to the length of the longest.

    Attributes:
        log_magnitude: Shape (recordings, frequency, time).
        frames: Number of frames of each recording. Shape (recordings,), int64.
    """

    log_magnitude: Tensor
    frames: Tensor


@torch.no_grad()
def read_baselines(source: Any, classifier: Classifier, most: int, seed: int) -> Baselines:
    """Read recordings as the classifier hears them.

    Args:
        source: Sound file, folder of them, pattern such as ``clips/1-*.wav``, or a list of these; items of the list
            may also be sound in memory, as `to_mono` takes it.
        classifier: Classifier whose front-end computes the spectrograms.
        most: Largest number of recordings; of more, this number is drawn.
        seed: Seed of the draws: of recordings, and of the part of one that is longer than `LONGEST_S`.

    Raises:
        AudioError: A recording cannot be read.
        ConfigurationError: There is none.
    """
    items = _items_of(source)
    generator = generator_for("baselines", seed)
    if len(items) > most:
        chosen = torch.randperm(len(items), generator=generator)[:most].sort().values
        items = [items[int(index)] for index in chosen]
    clips = [_heard(item, classifier, generator) for item in items]
    frames = torch.tensor([clip.shape[-1] for clip in clips])
    log_magnitude = torch.zeros(len(clips), clips[0].shape[0], int(frames.max()))
    for row, clip in zip(log_magnitude, clips, strict=True):
        row[:, : clip.shape[-1]] = clip
    return Baselines(log_magnitude, frames)


def fit_to_length(values: Tensor, frames: int, place: float) -> Tensor:
    """Cut a part out of a recording, or repeat it, so that it has a number of frames.

    Args:
        values: Values of the recording, shape (frequency, time).
        frames: Number of frames of the result.
        place: Place of the part, from 0 (the first one) to, but not including, 1.

    Example:
        >>> ramp = torch.arange(4.0)[None]
        >>> [fit_to_length(ramp, frames, 0.5).int().tolist()[0] for frames in (2, 4, 6)]
        [[1, 2], [0, 1, 2, 3], [2, 3, 0, 1, 2, 3]]
    """
    length = values.shape[-1]
    if length == frames:
        return values
    # A part of a longer recording has no seam; a shorter one is repeated, from any of its frames on.
    start = int(place * (length - frames + 1)) if length > frames else int(place * length)
    return values[:, (start + torch.arange(frames, device=values.device)) % length]


def _items_of(source: Any) -> list[Any]:
    """Return the files and waveforms of a source."""
    if isinstance(source, str | os.PathLike):
        return _files_of(Path(source))
    if not isinstance(source, Sequence):
        raise ConfigurationError(
            f"baselines: expected a folder, a sound file, a pattern or a list of these, got {type(source).__name__}"
        )
    items = [
        item for entry in source for item in (_files_of(Path(entry)) if isinstance(entry, str | Path) else [entry])
    ]
    if not items:
        raise ConfigurationError("baselines: the list is empty; give one or more recordings")
    return items


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    # A pattern has its signs in the last parts of the path: `clips/*/1-*.wav`.
    fixed = next((parent for parent in (path, *path.parents) if not set("*?[") & set(str(parent))), Path())
    matches = path.rglob("*") if path == fixed else fixed.glob(str(path.relative_to(fixed)))
    files = sorted(
        file for file in matches if file.suffix.lower() in SUFFIXES and file.name[0] != "." and file.is_file()
    )
    if not files:
        raise ConfigurationError(
            f"baselines: {path} holds no sound file; give a folder of recordings, a pattern such as "
            "'clips/*.wav', or a list"
        )
    return files


def _heard(item: Any, classifier: Classifier, generator: torch.Generator) -> Tensor:
    """Return the log magnitude of a recording on the CPU, shape (frequency, time)."""
    rate_hz = classifier.frontend.sample_rate_hz
    waveform = open_recording(item, rate_hz).samples
    longest = int(LONGEST_S * rate_hz)
    if len(waveform) > longest:
        start = int(torch.randint(len(waveform) - longest + 1, (), generator=generator))
        waveform = waveform[start : start + longest]
    heard = classifier.hear(waveform[None].to(classifier.frontend.window.device), with_phase=False)
    return heard.log_magnitude[0].cpu()
