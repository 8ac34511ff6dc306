"""Summaries over clips: a line for each class, and rows of bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from otoscope.metrics import SCORES
from otoscope.plots.decision import leading_labels
from otoscope.report.clips import LEVELS, ClipResult

CLASSES = 5
_CONTROLS = ("random", "loudest")
_HIDDEN_SCORES = ("AD_published", "empty")


@dataclass(frozen=True)
class ClassSummary:
    """Summary of the explanations of a class.

    Attributes:
        label: Class.
        clips: Number of clips.
        levels: Number of clips by level of the verdict; the last has no verdict.
        confidence: Mean probability.
        area: Mean area of the masks; None without scores.
        evidence: Mean probability of the evidence alone; None without scores.
        remainder: Mean probability of the remainder; None without scores.
    """

    label: str
    clips: int
    levels: dict[str, int]
    confidence: float
    area: float | None
    evidence: float | None
    remainder: float | None


@dataclass(frozen=True)
class ScoreRow:
    """Score of an explanation beside its controls.

    Attributes:
        name: Name of the score.
        values: Value by column; None where there is none.
        largest: Value of a full bar; 0: the score has no bars.
    """

    name: str
    values: dict[str, float | None]
    largest: float


def summarise(clips: Sequence[ClipResult]) -> list[ClassSummary]:
    """Return a summary of each explained class, in the order of their names."""
    by_label: dict[str, list[ClipResult]] = {}
    for clip in clips:
        by_label.setdefault(clip.label, []).append(clip)
    return [
        ClassSummary(
            label=label,
            clips=len(members),
            levels={level: sum(clip.level == level for clip in members) for level in (*LEVELS, "")},
            confidence=sum(clip.confidence for clip in members) / len(members),
            area=_mean_score(members, "MM"),
            evidence=_mean_score(members, "p_evidence"),
            remainder=_mean_score(members, "p_remainder"),
        )
        for label, members in sorted(by_label.items())
    ]


def _mean_score(clips: Sequence[ClipResult], name: str) -> float | None:
    values = [clip.scores[name] for clip in clips if name in clip.scores]
    return sum(values) / len(values) if values else None


def score_rows(clip: ClipResult) -> list[ScoreRow]:
    """Return the heard scores of an explanation beside those of its controls."""
    rows = []
    for name, score in SCORES.items():
        if name not in clip.scores or name in _HIDDEN_SCORES:
            continue
        values: dict[str, float | None] = {"evidence": clip.scores[name]}
        values |= {control: clip.controls[control].get(name) for control in _CONTROLS if control in clip.controls}
        largest = 100.0 if score.unit == "%" else 0.0 if score.unit or name == "SI-SDRi" else 1.0
        rows.append(ScoreRow(name, values, largest))
    return rows


def probability_rows(clip: ClipResult) -> list[tuple[str, dict[str, float | None]]]:
    """Return the leading classes with their probabilities in recording, evidence and remainder."""
    evidence, remainder = clip.evidence_probabilities, clip.remainder_probabilities
    # Explanations of earlier versions have those of the explained class only.
    if not evidence and "p_evidence" in clip.scores:
        evidence = {clip.label: clip.scores["p_evidence"]}
    if not remainder and "p_remainder" in clip.scores:
        remainder = {clip.label: clip.scores["p_remainder"]}
    labels = leading_labels(clip.probabilities, evidence, remainder, clip.label, CLASSES)
    sounds = {"recording": clip.probabilities, "evidence": evidence, "remainder": remainder}
    return [(label, {name: values.get(label) for name, values in sounds.items()}) for label in labels]
