"""Which clips of a data set are explained: a stratified sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from otoscope.data.clips import ClipFiles
from otoscope.seeding import generator_for


def targets_of(clips: Any) -> list[int]:
    """Return the class of each clip of a data set, without decoding files where it is known.

    Args:
        clips: Data set: anything with a length that returns a `Clip` for an index.
    """
    if isinstance(clips, ClipFiles):
        return [file.target for file in clips.files]
    return [int(clips[index].target) for index in range(len(clips))]


def recordings_of(clips: Any) -> list[str]:
    """Return the recording that each clip of a data set was cut from; clips of unknown origin count as their own.

    Args:
        clips: Data set; see `targets_of`.
    """
    if isinstance(clips, ClipFiles):
        return [file.recording or str(file.path) for file in clips.files]
    origins = [clips[index] for index in range(len(clips))]
    return [clip.recording or clip.name for clip in origins]


def sample_clips(
    targets: Sequence[int],
    recordings: Sequence[str],
    clips_per_class: int,
    seed: int,
    preferred: Sequence[bool] | None = None,
) -> dict[int, list[int]]:
    """Return a random sample of the clips of each class, spread over as many recordings as possible.

    Args:
        targets: Class of each clip.
        recordings: Recording of each clip.
        clips_per_class: Largest number of clips of each class.
        seed: Seed of the sample.
        preferred: Whether each clip is taken before the others of its class (default: none is).

    Returns:
        Rising positions of the chosen clips by class.

    Example:
        >>> sample_clips([0, 0, 0, 1], ["a", "a", "b", "c"], clips_per_class=2, seed=0)[0][-1]
        2
    """
    chosen = {}
    for target in sorted(set(targets)):
        members = [position for position, other in enumerate(targets) if other == target]
        order = torch.randperm(len(members), generator=generator_for(seed, "audit", target)).tolist()
        turns: dict[str, int] = {}
        ranked = []
        for position in (members[place] for place in order):
            # the first clip of each recording comes before all second ones
            turn = turns[recordings[position]] = turns.get(recordings[position], -1) + 1
            ranked.append((not (preferred is None or preferred[position]), turn, position))
        # sorting is stable, so that clips of equal rank keep their random order
        ranked.sort(key=lambda item: item[:2])
        chosen[target] = sorted(position for _, _, position in ranked[:clips_per_class])
    return chosen
