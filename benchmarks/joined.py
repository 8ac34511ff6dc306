"""Recordings joined from the clips of ESC-50, with the sounds in them, and the comparison of events with these."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from otoscope.errors import DataError

_CLIP_S = 5.0


@dataclass(frozen=True)
class Sound:
    """Sound of one class in a recording.

    Attributes:
        label: Class.
        begin_s: Begin in the recording.
        end_s: End in the recording.
    """

    label: str
    begin_s: float
    end_s: float


def join_clips(
    data_folder: Path, folds: Sequence[int], path: Path, minutes: float, rate_hz: int, channels: int, seed: int = 0
) -> list[Sound]:
    """Write a recording of clips in random order, again and again if it is longer than all of them.

    Args:
        data_folder: ESC-50, or a part of it in the same layout.
        folds: Folds that the clips come from.
        path: Sound file to write, 16 bits.
        minutes: Length of the recording, in whole clips.
        rate_hz: Sample rate.
        channels: Number of equal channels.
        seed: Seed of the order.

    Returns:
        The sounds: consecutive clips of one class are one.

    Raises:
        DataError: The folder holds no clips of these folds.
    """
    rows = _rows(data_folder, folds)
    rng = np.random.default_rng(seed)
    sounds: list[Sound] = []
    order: list[int] = []
    with soundfile.SoundFile(path, "w", rate_hz, channels, "PCM_16") as recording:
        for position in range(max(round(60 * minutes / _CLIP_S), 1)):
            order = order or rng.permutation(len(rows)).tolist()
            row = rows[order.pop()]
            recording.write(np.stack([_clip(_path_of(data_folder, row), rate_hz)] * channels, 1))
            begin_s = _CLIP_S * position
            if sounds and sounds[-1].label == row["category"]:
                begin_s = sounds.pop().begin_s
            sounds.append(Sound(row["category"], begin_s, _CLIP_S * (position + 1)))
    return sounds


def sparse_clips(
    data_folder: Path, folds: Sequence[int], path: Path, hours: float, rate_hz: int, count: int, seed: int = 0
) -> list[Sound]:
    """Write a recording of faint noise with a few clips at random times, in blocks, so that no length needs memory.

    Args:
        data_folder: ESC-50, or a part of it in the same layout.
        folds: Folds that the clips come from.
        path: FLAC file to write, mono, 16 bits.
        hours: Length of the recording.
        rate_hz: Sample rate.
        count: Number of clips.
        seed: Seed of the clips, their times and the noise.

    Returns:
        The sounds, in the order of their times.

    Raises:
        DataError: The folder holds no clips of these folds.
    """
    rows = _rows(data_folder, folds)
    rng = np.random.default_rng(seed)
    blocks = max(round(3600 * hours / _CLIP_S), 1)
    places = dict(
        zip(
            sorted(rng.choice(blocks, min(count, blocks), replace=False).tolist()),
            rng.integers(len(rows), size=count).tolist(),
            strict=False,
        )
    )
    sounds = []
    with soundfile.SoundFile(path, "w", rate_hz, 1, "PCM_16", format="FLAC") as recording:
        for block in range(blocks):
            samples = 1e-4 * rng.standard_normal(round(_CLIP_S * rate_hz)).astype(np.float32)
            if block in places:
                row = rows[places[block]]
                samples = (samples + _clip(_path_of(data_folder, row), rate_hz)).clip(-1, 1)
                sounds.append(Sound(row["category"], _CLIP_S * block, _CLIP_S * (block + 1)))
            recording.write(samples)
    return sounds


def _rows(data_folder: Path, folds: Sequence[int]) -> list[dict[str, str]]:
    with (data_folder / "meta" / "esc50.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["fold"]) in folds]
    if not rows:
        raise DataError(f"{data_folder}: holds no clips of the folds {list(folds)}")
    return rows


def _path_of(data_folder: Path, row: dict[str, str]) -> Path:
    # Some parts of the data set keep the clips in another format than the table names.
    return next((data_folder / "audio").glob(f"{Path(row['filename']).stem}.*"))


def _clip(path: Path, rate_hz: int) -> np.ndarray:
    samples, clip_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(1), clip_rate_hz, rate_hz, quality="HQ")
    length = round(_CLIP_S * rate_hz)
    return np.pad(mono[:length], (0, max(length - len(mono), 0))).clip(-1, 1)


def match(
    events: Sequence[Sound], truth: Sequence[Sound], overlap: float = 0.0, tolerance_s: float = float("inf")
) -> dict[str, float]:
    """Return precision, recall and their harmonic mean of events.

    Args:
        events: Events.
        truth: Sounds. Each counts for one event.
        overlap: Smallest intersection over union of the times of an event and a sound of its class.
        tolerance_s: Largest distance of their begins, and of their ends.

    Example:
        >>> truth = [Sound("dog", 0, 5), Sound("hen", 5, 10)]
        >>> match([Sound("dog", 1, 5), Sound("dog", 5, 10)], truth, 0.5)
        {'precision': 0.5, 'recall': 0.5, 'f1': 0.5}
        >>> match([Sound("dog", 1, 5), Sound("hen", 8, 10)], truth, tolerance_s=2)
        {'precision': 0.5, 'recall': 0.5, 'f1': 0.5}
    """
    free = list(truth)
    hits = 0
    for event in events:
        fitting = [sound for sound in free if _fits(event, sound, overlap, tolerance_s)]
        if fitting:
            free.remove(max(fitting, key=lambda sound: _iou(event, sound)))
            hits += 1
    return {
        "precision": round(hits / max(len(events), 1), 3),
        "recall": round(hits / max(len(truth), 1), 3),
        "f1": round(2 * hits / max(len(events) + len(truth), 1), 3),
    }


def causes(events: Sequence[Sound], truth: Sequence[Sound], overlap: float) -> dict[str, int]:
    """Return why events are wrong and sounds are missed: by their borders, or by the label.

    Args:
        events: Events.
        truth: Sounds.
        overlap: Smallest intersection over union of a right event.

    Returns:
        Numbers of ``events`` and ``sounds``: ``right``; wrong ``borders``, where a sound and an event of one label
        overlap too little; wrong ``label``, where none of the same label overlaps.

    Example:
        >>> truth = [Sound("dog", 0, 5), Sound("cat", 5, 10)]
        >>> counts = causes([Sound("dog", 0, 2), Sound("hen", 5, 6)], truth, 0.5)
        >>> [name for name, count in counts.items() if count]
        ['events borders', 'events label', 'sounds borders', 'sounds label']
    """
    counts = {f"{name} {cause}": 0 for name in ("events", "sounds") for cause in ("right", "borders", "label")}
    for name, items, others in (("events", events, truth), ("sounds", truth, events)):
        for item in items:
            best = max((_iou(item, other) for other in others if other.label == item.label), default=0.0)
            cause = "right" if best >= overlap else "borders" if best > 0 else "label"
            counts[f"{name} {cause}"] += 1
    return counts


def _fits(event: Sound, sound: Sound, overlap: float, tolerance_s: float) -> bool:
    distance_s = max(abs(event.begin_s - sound.begin_s), abs(event.end_s - sound.end_s))
    return event.label == sound.label and _iou(event, sound) >= overlap and distance_s <= tolerance_s


def _iou(event: Sound, sound: Sound) -> float:
    shared = min(event.end_s, sound.end_s) - max(event.begin_s, sound.begin_s)
    return max(shared, 0.0) / (max(event.end_s, sound.end_s) - min(event.begin_s, sound.begin_s))
