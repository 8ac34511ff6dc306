"""Clips to listen to: one in the middle of each cluster, and those whose evidence is unlike that of all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otoscope.audit.clusters import Grouping
from otoscope.audit.evidence import Example
from otoscope.audit.profiles import EVIDENCE_AREA, ClipProfile
from otoscope.data.clips import Clip
from otoscope.errors import DataError
from otoscope.explain import Explainer
from otoscope.explanation.stored import FolderExplanation
from otoscope.recordings.files import UniqueNames, folder_name

EXAMPLES_FOLDER = "examples"
"""Folder of the explanations, in that of the audit."""
TYPICAL, OUTLYING = "typical", "outlying"
_PARTS = ("recording", "evidence", "remainder", "mask")
_STAMP = "audit"
"""Key of ``explanation.json`` that says which explainer made it."""


@dataclass(frozen=True)
class Choice:
    """Clip that was chosen as an example.

    Attributes:
        position: Position among the profiles of its class.
        role: ``typical`` or ``outlying``.
        cluster: Number of its cluster, from 1.
        clips: Number of clips that it stands for.
        distance: Distance of its profile from that of the middle of its cluster.
    """

    position: int
    role: str
    cluster: int
    clips: int
    distance: float


def choose_examples(grouping: Grouping, typical: int, outlying: int) -> list[Choice]:
    """Return the medoids of the largest clusters, then the clips that are farthest from all medoids.

    Args:
        grouping: Clusters.
        typical: Largest number of medoids.
        outlying: Largest number of outlying clips.
    """
    choices = [
        Choice(medoid, TYPICAL, number, len(members), 0.0)
        for number, (members, medoid) in enumerate(zip(grouping.clusters, grouping.medoids, strict=True), start=1)
    ][:typical]
    for position in grouping.outliers()[:outlying]:
        number = grouping.cluster_of(position)
        distance = float(grouping.distances[position, grouping.medoids[number]])
        choices.append(Choice(position, OUTLYING, number + 1, 1, round(distance, 5)))
    return choices


class ExampleFolder:
    """Folder of the examples' explanations; those that an earlier run has saved are not made again.

    Args:
        folder: Folder of the audit.
        explainer: Classifier and method.
        stamp: Text that changes with the explainer and its options.
        with_scores: Whether the explanations have scores and a verdict, which takes 32 more runs of the classifier.
    """

    def __init__(self, folder: Path, explainer: Explainer, stamp: str, with_scores: bool) -> None:
        self.folder, self.explainer, self.with_scores = folder, explainer, with_scores
        self.stamp = f"{stamp}{'-scored' if with_scores else ''}"
        self._names = UniqueNames()

    def save(self, clip: Clip, profile: ClipProfile, choice: Choice) -> Example:
        """Explain a clip, save the explanation, and return the example.

        Args:
            clip: Clip.
            profile: Its profile.
            choice: Why it was chosen.
        """
        place = self._names.take(f"{EXAMPLES_FOLDER}/{folder_name(profile.label)}/{folder_name(clip.name)}")
        if not self._is_there(self.folder / place, clip):
            explanation = self.explainer.explain(
                clip.waveform * clip.peak,
                profile.label,
                scores=self.with_scores,
                threshold=self._area,
                name=clip.name,
                sample_rate_hz=self.explainer.sample_rate_hz,
            )
            content: dict[str, Any] = {**explanation.to_dict(), _STAMP: self._stamp_of(clip)}
            explanation.save(self.folder / place, content, keep=_PARTS)
        return Example(
            name=clip.name,
            role=choice.role,
            cluster=choice.cluster,
            clips=choice.clips,
            distance=choice.distance,
            predicted=profile.predicted,
            probability=profile.probabilities[profile.label],
            folder=place,
        )

    @property
    def _area(self) -> float | None:
        """Share of the bins that are evidence; None: as an explanation searches for it, which takes many runs."""
        is_share = self.explainer.interpreter.threshold_name == "area"
        return EVIDENCE_AREA if is_share and not self.with_scores else None

    def _is_there(self, folder: Path, clip: Clip) -> bool:
        try:
            stored = FolderExplanation(folder)
        except DataError:
            return False
        return stored.content.get(_STAMP) == self._stamp_of(clip) and {*_PARTS} <= {*stored.parts}

    def _stamp_of(self, clip: Clip) -> str:
        return f"{self.stamp}|{clip.key}"


def examples_of(
    grouping: Grouping,
    profiles: Sequence[ClipProfile],
    clips: Sequence[Clip],
    folder: ExampleFolder,
    typical: int,
    outlying: int,
) -> list[Example]:
    """Save the examples of a class.

    Args:
        grouping: Clusters of its clips.
        profiles: Profiles of these clips.
        clips: The clips, in the same order; each is read when it is needed.
        folder: Folder of the examples.
        typical: Largest number of clips in the middle of a cluster.
        outlying: Largest number of outlying clips.
    """
    choices = choose_examples(grouping, typical, outlying)
    return [folder.save(clips[choice.position], profiles[choice.position], choice) for choice in choices]
