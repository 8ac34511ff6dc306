"""Clips that are audited: a sample of each class, and its halves for the search and for the tests."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from otoscope.classifiers import Classifier
from otoscope.data.clips import Clip, ClipFiles
from otoscope.errors import DataError, listed


@dataclass(frozen=True, eq=False)
class AuditClip:
    """A clip as the classifier is given it.

    Attributes:
        name: Name, unique among the clips.
        key: Short text that changes with the sound.
        target: Index of its class among the labels of the classifier.
        recording: Recording that it was cut from, or its own name.
        half: 0 or 1: the half of the recordings that it belongs to.
        waveform: Sound, shape (samples,); at a peak of 1 if the classifier takes clips so, else at its own level.
    """

    name: str
    key: str
    target: int
    recording: str
    half: int
    waveform: Tensor


def choose_clips(
    clips: Any, labels: Sequence[str], classifier: Classifier, clips_per_class: int | None, seed: int
) -> list[AuditClip]:
    """Return a sample of the clips, equally many of each class, with whole recordings in one half each.

    Args:
        clips: Data set: anything with a length that returns a `Clip` for an index.
        labels: Names of the classes that the targets of these clips count.
        classifier: Classifier, which must know these names.
        clips_per_class: Largest number of clips of a class (default: all).
        seed: Seed of the choice.

    Raises:
        DataError: There are no clips, or no class that the classifier knows.
    """
    names = classifier.labels
    index_of = {index: names.index(label) for index, label in enumerate(labels) if label in names}
    if not index_of:
        raise DataError(
            f"the data has the classes {listed(labels)}, the classifier {listed(names)}: they have none in common; "
            "rename the folders or the labels of the table after the classes of the classifier"
        )
    by_class: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for index in range(len(clips)):
        target, recording = _target_and_recording(clips, index)
        if target in index_of:
            by_class[target].append((recording, index))
    if not by_class:
        raise DataError("there is no clip of a class that the classifier knows; check the data folder")
    chosen: list[AuditClip] = []
    half_of: dict[str, int] = {}
    for target, entries in sorted(by_class.items()):
        for recording, index in _sample(entries, clips_per_class, seed):
            clip: Clip = clips[index]
            half = half_of.setdefault(recording, _smaller_half(chosen, index_of[target]))
            level = 1.0 if classifier.normalize else clip.peak
            key = hashlib.sha256(f"{clip.key}|{level}".encode()).hexdigest()[:16]
            waveform = clip.waveform.float() * level
            chosen.append(AuditClip(clip.name, key, index_of[target], recording, half, waveform))
    return chosen


def half_sizes(clips: Sequence[AuditClip], target: int) -> tuple[int, int]:
    """Return the number of recordings of a class in each half."""
    members = [clip for clip in clips if clip.target == target]
    first, second = (len({clip.recording for clip in members if clip.half == half}) for half in (0, 1))
    return first, second


def recordings_of(clips: Sequence[AuditClip]) -> Mapping[str, str]:
    """Return the recording of each clip by its name."""
    return {clip.name: clip.recording for clip in clips}


def _target_and_recording(clips: Any, index: int) -> tuple[int, str]:
    # files need not be decoded to know their class
    if isinstance(clips, ClipFiles):
        file = clips.files[index]
        return file.target, file.recording or str(file.path)
    clip: Clip = clips[index]
    return clip.target, clip.recording or clip.name


def _sample(entries: Sequence[tuple[str, int]], count: int | None, seed: int) -> list[tuple[str, int]]:
    """Return a number of clips: as many recordings as possible, and all clips of one recording side by side."""
    by_recording: dict[str, list[int]] = defaultdict(list)
    for recording, index in entries:
        by_recording[recording].append(index)
    # An order by hash depends on nothing but the recording and the seed: a larger sample holds a smaller one.
    order = sorted(by_recording, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())
    count = len(entries) if count is None else count
    taken: dict[str, list[int]] = {name: [] for name in order}
    rounds = max(map(len, by_recording.values()))
    for place in range(rounds):
        for name in order:
            if place < len(by_recording[name]) and sum(map(len, taken.values())) < count:
                taken[name].append(by_recording[name][place])
    return [(name, index) for name, indices in taken.items() for index in indices]


def _smaller_half(chosen: Sequence[AuditClip], target: int) -> int:
    sizes = half_sizes(chosen, target)
    # odd classes begin with the other half, so that the halves of all classes together are equal
    return target % 2 if sizes[0] == sizes[1] else int(sizes[0] > sizes[1])
