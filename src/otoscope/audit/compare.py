"""Two audits compared: two models on the same data, or one model on two data sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from otoscope.audit.absences import FALLING_DB, EdgeCue, SilenceCue
from otoscope.audit.cues import BandCue, CandidateCue, ClickCue, HumCue, SegmentCue
from otoscope.audit.own import Suspicion
from otoscope.audit.result import AuditResult, Suspect
from otoscope.audit.run import AuditInput, run_audit
from otoscope.files.json import json_values, write_json

COMPARISON_NAME = "comparison.json"
FIRST, SECOND = "first", "second"

Change = Literal["in both", "only in the first", "only in the second", "in neither"]


@dataclass(frozen=True)
class ComparedSuspect:
    """A suspect in two audits.

    Attributes:
        label: Class.
        name: Name of the cue.
        change: Which of the audits call it a shortcut.
        first: Result in the first audit; None if it was not tested there.
        second: Result in the second audit.
        sentence: The comparison in plain words.
    """

    label: str
    name: str
    change: Change
    first: Suspect | None
    second: Suspect | None
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """Two audits and what became of their suspects.

    Attributes:
        first: Result of the first audit.
        second: Result of the second audit.
        suspects: Suspects of both.
        names: What the audits are called in sentences.
    """

    first: AuditResult
    second: AuditResult
    suspects: Sequence[ComparedSuspect]
    names: tuple[str, str] = (FIRST, SECOND)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON object."""
        content: dict[str, Any] = json_values(
            {
                "names": list(self.names),
                "verdicts": [self.first.verdict, self.second.verdict],
                "accuracy": [result.conditions.get("accuracy") for result in (self.first, self.second)],
                "suspects": [asdict(suspect) for suspect in self.suspects],
            }
        )
        return content

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the comparison as JSON into a folder.

        Raises:
            OtoscopeError: It cannot be written.
        """
        return write_json(Path(folder) / COMPARISON_NAME, self.to_dict())


def compare(first: AuditResult, second: AuditResult, names: tuple[str, str] = (FIRST, SECOND)) -> Comparison:
    """Compare the suspects of two audits: those of one class and kind whose places overlap are the same.

    Args:
        first: Result of an audit.
        second: Result of another one, in which the suspects of the first one were tested too.
        names: What the audits are called in sentences.
    """
    remaining = list(second.suspects)
    rows = []
    for suspect in first.suspects:
        partners = [other for other in remaining if same_suspect(suspect, other)]
        partner = partners[0] if partners else None
        # the others are the same cue by other names; the strongest stands for them
        remaining = [other for other in remaining if other not in partners]
        rows.append(_row(suspect, partner, names))
    rows += [_row(None, suspect, names) for suspect in remaining]
    seen: set[tuple[str, str]] = set()
    unique = [row for row in rows if (row.label, row.name) not in seen and not seen.add((row.label, row.name))]  # type: ignore[func-returns-value]
    return Comparison(first, second, unique, names)


def run_comparison(
    inputs: tuple[AuditInput, AuditInput],
    names: tuple[str, str],
    folder: Path | None = None,
    suspicions: Sequence[Suspicion] = (),
    **options: Any,
) -> Comparison:
    """Audit twice, and test the suspects of each audit in the other one too.

    Args:
        inputs: Models and data.
        names: What the audits are called in sentences.
        folder: Folder of both results, in the subfolders ``first`` and ``second`` (default: none).
        suspicions: Suspicions of the user, which are tested in both.
        **options: Options of `run_audit`.
    """
    folders = [folder and folder / name for name in (FIRST, SECOND)]

    def audit(place: int, others: AuditResult | None) -> AuditResult:
        of = inputs[place]
        also = [*suspicions, *(suspicions_of(others) if others is not None else ())]
        return run_audit(
            of.classifier, of.clips, of.labels, folders[place], suspicions=also, conditions=of.conditions, **options
        )

    first = audit(0, None)
    second = audit(1, first)
    # What the second one has found is tested in the first one; all other answers are known from the file.
    if suspicions_of(second):
        first = audit(0, second)
    return compare(first, second, names)


def same_suspect(first: Suspect, second: Suspect) -> bool:
    """Return whether two suspects are the same cue of the same class."""
    if first.label != second.label or first.kind != second.kind:
        return False
    places = first.place, second.place
    limits = [(place.low_hz or 0.0, place.high_hz or float("inf")) for place in places]
    spans = [(place.start_s, place.end_s) for place in places]
    if first.kind in ("sound", "function", "hum"):
        return first.name == second.name
    overlaps = limits[0][0] <= 1.05 * limits[1][1] and limits[1][0] <= 1.05 * limits[0][1]
    same_side = None in spans[0] or None in spans[1] or ((spans[0][0] or 0) < 0) == ((spans[1][0] or 0) < 0)
    return overlaps and same_side


def suspicions_of(result: AuditResult) -> list[Suspicion]:
    """Return the shortcuts and unclear suspects that the search of an audit has found, for another one to test."""
    relevant = [
        suspect
        for suspect in result.suspects
        if suspect.verdict in ("shortcut", "unclear") and not suspect.from_user
    ]
    pairs = [(cue_of(suspect), suspect.label) for suspect in relevant]
    return [Suspicion(cue, label) for cue, label in pairs if cue is not None]


def cue_of(suspect: Suspect) -> CandidateCue | None:
    """Return the cue that a suspect describes; None for sounds and functions of the user, and for levels."""
    place = suspect.place
    if suspect.kind == BandCue.kind and place.low_hz is not None and place.high_hz is not None:
        return BandCue(place.low_hz, place.high_hz, place.start_s, place.end_s)
    if suspect.kind == HumCue.kind and place.low_hz is not None:
        return HumCue(60.0 if place.low_hz > 55 else 50.0)
    if suspect.kind == SegmentCue.kind and place.start_s is not None and place.end_s is not None:
        return SegmentCue(place.start_s, place.end_s)
    if suspect.kind == EdgeCue.kind and (edge_hz := place.low_hz or place.high_hz):
        return EdgeCue(edge_hz, place.low_hz is not None, FALLING_DB)
    simple: dict[str, type[CandidateCue]] = {ClickCue.kind: ClickCue, SilenceCue.kind: SilenceCue}
    return simple[suspect.kind]() if suspect.kind in simple else None


def _row(first: Suspect | None, second: Suspect | None, names: tuple[str, str]) -> ComparedSuspect:
    either = first or second
    assert either is not None
    shortcut = [suspect is not None and suspect.verdict == "shortcut" for suspect in (first, second)]
    change: Change = (
        "in both"
        if all(shortcut)
        else "only in the first"
        if shortcut[0]
        else "only in the second"
        if shortcut[1]
        else "in neither"
    )
    parts = []
    for name, suspect in zip(names, (first, second), strict=True):
        if suspect is None or suspect.removal is None or suspect.transplant is None:
            parts.append(f"{name}: not found")
            continue
        removal, transplant = suspect.removal, suspect.transplant
        parts.append(
            f"{name}: {suspect.verdict} (removal takes accuracy from {round(100 * removal.before)} to "
            f"{round(100 * removal.after)} %, transplant turns {round(100 * transplant.after)} %)"
        )
    return ComparedSuspect(
        either.label, either.name, change, first, second, f"class {either.label}, {either.name}: {'; '.join(parts)}"
    )
