"""Result of an audit: what was tested on each class, what it did to the decisions, and how sure that is.

Shares of clips are numbers in [0, 1]. JSON holds them as they are here; sentences state per cent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

from otoscope.audit.evidence import ClassEvidence
from otoscope.errors import DataError
from otoscope.files.json import json_values, read_json, write_json

RESULT_NAME = "audit.json"
"""Name of the file that `AuditResult.save` writes in the output folder."""

FORMAT = 1
"""Version of the format of the file."""

Verdict = Literal["shortcut", "unclear", "too few clips to tell", "clean"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""Verdicts, the worst first."""


@dataclass(frozen=True)
class Effect:
    """Share of clips whose decision an intervention changes, beside the same share under a control.

    Attributes:
        before: Share without the intervention. Of a removal: clips of the class that are taken for it (accuracy).
            Of a transplant: clips of other classes that are taken for the class.
        after: The same share with it.
        low: Lower end of the 95 % interval of the change, ``after - before``, over recordings.
        high: Upper end of this interval.
        control: The same share with the control: an intervention of equal size elsewhere. None without a control.
        clips: Number of clips.
        recordings: Number of recordings that they were cut from.
        p_value: Probability of a change that is this large, or larger, if neither the intervention nor the control
            changed the decisions more than the other; one-sided. None if it cannot be tested.
    """

    before: float
    after: float
    low: float
    high: float
    control: float | None
    clips: int
    recordings: int
    p_value: float | None

    @property
    def change(self) -> float:
        """Change of the share; negative for a removal that hurts, positive for a transplant that convinces."""
        return self.after - self.before


@dataclass(frozen=True)
class Place:
    """Where a cue lies: a band, a part of the clip, both, or neither (silence, level, a function).

    Attributes:
        low_hz: Lower border; None if the cue has no band.
        high_hz: Upper border.
        start_s: Begin, counted from the begin of the clip; negative counts from its end. None if the cue is not
            limited in time.
        end_s: End, counted alike; 0 is the end of the clip where ``start_s`` is negative.
    """

    low_hz: float | None = None
    high_hz: float | None = None
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Suspect:
    """A cue that was tested on a class.

    Attributes:
        label: Class that the cue may stand for.
        kind: Kind of the cue, such as ``band`` or ``hum``; see `otoscope.audit.cues.KINDS`.
        name: Name of the cue in plain words, such as ``the band 95-105 Hz``.
        place: Where it lies.
        removal: What its removal from clips of the class does; None if it was not tested.
        transplant: What it does in clips of other classes; None if it was not tested.
        level_db: Level of the cue over that of the rest of the clip, median over clips of the class; None if the
            cue is no sound.
        p_value: The larger p value of both directions: both must hold. None if a direction cannot be tested.
        q_value: The same after correction for the number of tests (Benjamini-Hochberg).
        verdict: Verdict.
        sentence: The result in one sentence of plain words.
        from_user: Whether the user asked for this cue.
        sounds: Example sounds by their name (``clip``, ``without the cue``, ``what was removed``, ``other clip``,
            ``other clip with the cue``): paths relative to the folder of the result.
        sound_clips: Names of the clips of these sounds.
        side_effect_db: Largest change of level outside the cue by its removal, over clips of the class; None if
            nothing is outside.
    """

    label: str
    kind: str
    name: str
    place: Place
    removal: Effect | None
    transplant: Effect | None
    level_db: float | None
    p_value: float | None
    q_value: float | None
    verdict: Verdict
    sentence: str
    from_user: bool = False
    sounds: Mapping[str, str] = field(default_factory=dict)
    sound_clips: Mapping[str, str] = field(default_factory=dict)
    side_effect_db: float | None = None


@dataclass(frozen=True)
class ClassFigures:
    """A class of the data.

    Attributes:
        label: Class.
        clips: Number of its clips that were audited.
        recordings: Number of recordings that they were cut from.
        accuracy: Share that the classifier takes for the class.
        taken_for_it: Share of the clips of other classes that the classifier takes for it.
        verdict: The worst verdict of its suspects; ``clean`` without any.
        sentence: The verdict in one sentence of plain words.
        evidence: What its evidence looks like; None if no clip was explained.
    """

    label: str
    clips: int
    recordings: int
    accuracy: float
    taken_for_it: float
    verdict: Verdict
    sentence: str
    evidence: ClassEvidence | None = None


@dataclass(frozen=True)
class AuditResult:
    """Result of an audit.

    Attributes:
        conditions: Classifier, data, options, versions, numbers of tests, and how suspects were searched and
            tested, as JSON values.
        classes: Figures of each class, in the order of the classifier's labels.
        suspects: Cues that were tested, ranked: shortcuts first, and the largest effect first.
        folder: Folder that the paths of sounds are relative to; None if nothing was saved.
    """

    conditions: Mapping[str, Any]
    classes: Sequence[ClassFigures]
    suspects: Sequence[Suspect]
    folder: Path | None = field(default=None, compare=False)

    @property
    def shortcuts(self) -> list[Suspect]:
        """Suspects with the verdict ``shortcut``."""
        return [suspect for suspect in self.suspects if suspect.verdict == "shortcut"]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all classes."""
        return worst([figures.verdict for figures in self.classes])

    def of_class(self, label: str) -> list[Suspect]:
        """Return the suspects of a class, ranked."""
        return [suspect for suspect in self.suspects if suspect.label == label]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        classes = [
            {**asdict(figures), "evidence": figures.evidence and figures.evidence.to_dict()}
            for figures in self.classes
        ]
        content: dict[str, Any] = json_values(
            {
                "format": FORMAT,
                "verdict": self.verdict,
                "conditions": dict(self.conditions),
                "classes": classes,
                "suspects": [asdict(suspect) for suspect in self.suspects],
            }
        )
        return content

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the result as JSON into a folder and return the path of the file.

        Raises:
            OtoscopeError: It cannot be written.
        """
        return write_json(Path(folder) / RESULT_NAME, self.to_dict())

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], folder: Path | None = None) -> Self:
        """Return the result that a JSON object describes.

        Raises:
            DataError: It is no result of an audit.
        """
        try:
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}, this version reads format {FORMAT}")
            classes = [_class_figures(entry) for entry in content["classes"]]
            return cls(content["conditions"], classes, [_suspect(entry) for entry in content["suspects"]], folder)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{folder or 'audit'}: is no result of an audit ({error!r})") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the result of a folder, or of its file.

        Raises:
            DataError: It cannot be read, or is no result of an audit.
        """
        path = Path(path)
        path = path / RESULT_NAME if path.is_dir() else path
        try:
            content = read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as the result of an audit ({error})") from error
        if not isinstance(content, dict):
            raise DataError(f"{path}: is no result of an audit")
        return cls.from_dict(content, path.parent)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the worst of several verdicts, ``clean`` for none; a class with too few clips is not clean.

    Example:
        >>> worst(["clean", "unclear"]), worst(["clean", "too few clips to tell"]), worst([])
        ('unclear', 'too few clips to tell', 'clean')
    """
    return min(verdicts, key=VERDICTS.index, default="clean")


def _suspect(content: Mapping[str, Any]) -> Suspect:
    removal, transplant = content["removal"], content["transplant"]
    parts: dict[str, Any] = {
        "place": Place(**content["place"]),
        "removal": removal and Effect(**removal),
        "transplant": transplant and Effect(**transplant),
    }
    names = {item.name for item in fields(Suspect)}
    return Suspect(**{name: value for name, value in content.items() if name in names} | parts)


def _class_figures(content: Mapping[str, Any]) -> ClassFigures:
    evidence = content.get("evidence")
    return ClassFigures(**{**content, "evidence": evidence and ClassEvidence.from_dict(evidence)})
