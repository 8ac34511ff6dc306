"""Real clips of ESC-50, which all sides of a benchmark process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.command import Options
from torch import Tensor, nn

from otoscope.data import ESC50, Batch, Clip, collate
from otoscope.errors import DataError

SAMPLES = 80_000
"""Length of a clip: 5 s, as every clip of ESC-50."""


def real_clips(options: Options, cache_folder: Path, count: int | None = None) -> list[Clip]:
    """Return clips of fold 1, spread over the classes, cut or padded to 5 s.

    Args:
        options: Options with the folder of the data.
        cache_folder: Folder for the decoded clips.
        count: Number of clips (default: ``options.clips``).

    Raises:
        DataError: Fold 1 has fewer clips.
    """
    count = count or options.clips
    data = ESC50(options.data_folder, (1,), (2,), (3,), download=False, cache_folder=cache_folder)
    data.setup("fit")
    available = len(data.train_set)  # type: ignore[arg-type]
    if count > available:
        raise DataError(f"{options.data_folder}: {count} clips are needed, fold 1 has {available}; lower --clips")
    clips = [data.train_set[index * available // count] for index in range(count)]
    return [replace(clip, waveform=_five_seconds(clip.waveform)) for clip in clips]


def real_batches(options: Options, cache_folder: Path, size: int) -> list[Batch]:
    """Return as many whole batches as the clips fill, at least one; see `real_clips`.

    Args:
        options: Options with the folder of the data and the number of clips.
        cache_folder: Folder for the decoded clips.
        size: Number of clips in a batch.
    """
    count = max(options.clips, size)
    clips = real_clips(options, cache_folder, count)
    return [collate(clips[start : start + size]) for start in range(0, count - size + 1, size)]


def _five_seconds(waveform: Tensor) -> Tensor:
    return nn.functional.pad(waveform, (0, max(0, SAMPLES - len(waveform))))[:SAMPLES]
