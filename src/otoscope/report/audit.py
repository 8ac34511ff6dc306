"""Audits as a report reads them: what the page says first, the suspects, and the evidence of each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otoscope.audio import load_audio
from otoscope.audit.evidence import Example
from otoscope.audit.result import RESULT_NAME, VERDICTS, AuditResult, ClassFigures, Suspect, Verdict
from otoscope.errors import DataError, listed
from otoscope.explanation.stored import FolderExplanation
from otoscope.player import Clip, Track
from otoscope.report.clips import ClipResult, fitted, log_magnitude_of
from otoscope.report.contents import Content
from otoscope.report.masks import energy_share
from otoscope.report.typed import fault_of

MOST_EXAMPLES = 40
"""Number of examples of an audit whose sounds are embedded; classes with the worst verdicts come first."""
SHORTCUT: Verdict = "shortcut"
UNCLEAR: Verdict = "unclear"
TOO_FEW: Verdict = "too few clips to tell"
CLEAN: Verdict = "clean"
CUE_MASK = "share of the cue"
# Names of the sounds of a suspect, see `otoscope.audit.result.Suspect`.
CLIP, WITHOUT, REMOVED, OTHER, WITH = (
    "clip",
    "without the cue",
    "what was removed",
    "other clip",
    "other clip with the cue",
)
_RATE_HZ = 16_000
_AUDIBLE = 0.003
"""Level of a bin relative to the loudest one of a cue from which on it is shown as a part of it: -50 dB."""
# Names of `otoscope.audit.compare`, whose import takes longer than writing a report.
COMPARISON_NAME = "comparison.json"
FIRST, SECOND = "first", "second"


@dataclass
class AuditReading:
    """Audit that was read from its folder.

    Attributes:
        folder: Folder of the audit.
        result: Result.
        name: What it is called where two are compared.
    """

    folder: Path
    result: AuditResult
    name: str = ""

    @property
    def ranked(self) -> list[Suspect]:
        """Suspects that a reader must know, in the order of the result: all but clean ones, and the user's own."""
        return [suspect for suspect in self.result.suspects if suspect.verdict != CLEAN or suspect.from_user]

    @property
    def classes(self) -> list[ClassFigures]:
        """Classes, those with the worst verdicts first."""
        return sorted(self.result.classes, key=lambda figures: VERDICTS.index(figures.verdict))

    def clips_of(self, suspect: Suspect) -> Iterator[tuple[str, Clip]]:
        """Yield the players of a suspect with their headings.

        Args:
            suspect: Suspect.

        Raises:
            DataError: A sound is missing or damaged, or lies outside the folder.
        """
        rate_hz = self._rate_hz(suspect)
        sounds = {name: self._sound(path, rate_hz) for name, path in suspect.sounds.items()}
        names = suspect.sound_clips
        if CLIP in sounds and WITHOUT in sounds:
            tracks = [("recording", "Original", CLIP), ("remainder", "Cue removed", WITHOUT)]
            tracks += [("evidence", "The cue alone", REMOVED)] if REMOVED in sounds else []
            heading = f"A clip of {suspect.label}: {names.get(CLIP, 'example')}"
            yield heading, _player(heading, sounds, tracks, rate_hz, sounds.get(REMOVED))
        if OTHER in sounds and WITH in sounds:
            tracks = [("recording", "Original", OTHER), ("evidence", "Cue transplanted", WITH)]
            heading = f"A clip of another class, pictured with the cue: {names.get(OTHER, 'example')}"
            length = len(sounds[OTHER])
            added = fitted(sounds[WITH], length) - sounds[OTHER]
            yield heading, _player(heading, sounds, tracks, rate_hz, added)

    def _rate_hz(self, suspect: Suspect) -> int:
        import soundfile

        for path in suspect.sounds.values():
            place = self._inside(path)
            if place.is_file():
                try:
                    return int(soundfile.info(place).samplerate)
                except RuntimeError as error:  # libsndfile's errors are RuntimeErrors
                    raise DataError(f"{place}: cannot be read as a sound; audit again") from error
        return _RATE_HZ

    def _sound(self, path: str, rate_hz: int) -> np.ndarray:
        place = self._inside(path)
        if not place.is_file():
            raise DataError(f"{place}: is missing; audit again")
        return np.asarray(load_audio(place, rate_hz).numpy(), np.float32)

    def _inside(self, path: str) -> Path:
        place = (self.folder / path).resolve()
        if not place.is_relative_to(self.folder.resolve()):
            # a file of any origin must not bring other files of this machine into a page
            raise DataError(f"{self.folder / RESULT_NAME}: the path {path!r} leads out of the folder; audit again")
        return place

    def explanation(self, example: Example) -> ClipResult:
        """Return the explanation of an example.

        Raises:
            DataError: It is missing or damaged.
        """
        folder = self._inside(example.folder)
        stored = FolderExplanation(folder)
        return ClipResult.of(Content(folder, stored.content), lambda: stored)

    def chosen_examples(self) -> set[tuple[str, str]]:
        """Return label and name of the examples whose sounds are embedded."""
        examples = [
            (figures.label, example.name)
            for figures in self.classes
            if figures.evidence is not None
            for example in figures.evidence.examples
        ]
        return set(examples[:MOST_EXAMPLES])


@dataclass(frozen=True)
class ComparedCue:
    """Cue in two audits.

    Attributes:
        label: Class.
        name: Cue.
        change: Which audits call it a shortcut, in words.
        verdicts: Verdict of each audit; empty where it was not tested.
        sentence: The comparison in plain words.
    """

    label: str
    name: str
    change: str
    verdicts: tuple[str, str]
    sentence: str


@dataclass
class ComparisonReading:
    """Comparison of two audits.

    Attributes:
        names: What the audits are called.
        cues: Cues of both.
    """

    names: tuple[str, str]
    cues: list[ComparedCue]

    @property
    def title(self) -> str:
        """What has changed, in a sentence."""
        counts = {change: sum(cue.change == change for cue in self.cues) for change in _CHANGES}
        parts = [f"{counts[change]} {words.format(*self.names)}" for change, words in _CHANGES.items()]
        return f"Shortcuts: {', '.join(parts)}"


_CHANGES = {"in both": "in both", "only in the first": "only in {0}", "only in the second": "only in {1}"}


@dataclass(frozen=True)
class Lead:
    """What a page says first.

    Attributes:
        verdict: Worst verdict.
        title: Statement in a few words.
        sentences: What follows from it.
    """

    verdict: str
    title: str
    sentences: list[str]


def open_audit(folder: Path) -> AuditReading:
    """Read an audit.

    Args:
        folder: Folder of its results.

    Raises:
        DataError: The file is damaged, or holds something else.
    """
    result = AuditResult.load(folder)
    if (fault := fault_of(result)) is not None:
        raise DataError(f"{folder / RESULT_NAME}: {fault}; audit again")
    return AuditReading(folder, result)


def open_comparison(folder: Path) -> tuple[ComparisonReading, list[AuditReading]]:
    """Read two audits that were compared.

    Args:
        folder: Folder of the comparison.

    Returns:
        The comparison and the audits.

    Raises:
        DataError: A file is damaged, or holds something else.
    """
    content = Content.read(folder / COMPARISON_NAME)
    names = content.texts("names")
    if len(names) != 2:
        raise DataError(f"{content.path}: 'names' are not two; compare again")
    cues = []
    for part in content.parts("suspects"):
        verdicts = (part.part(FIRST).text("verdict", ""), part.part(SECOND).text("verdict", ""))
        label, name, change, sentence = (part.text(key) for key in ("label", "name", "change", "sentence"))
        cues.append(ComparedCue(label, name, change, verdicts, sentence))
    audits = [
        AuditReading(folder / place, open_audit(folder / place).result, name)
        for place, name in zip((FIRST, SECOND), names, strict=True)
    ]
    return ComparisonReading((names[0], names[1]), cues), audits


def lead_of(result: AuditResult) -> Lead:
    """Return what the page of an audit says first.

    Args:
        result: Result of the audit.
    """
    by_verdict: dict[Verdict, list[str]] = {verdict: [] for verdict in VERDICTS}
    for item in result.classes:
        by_verdict[item.verdict].append(item.label)
    total = len(result.classes)
    sentences = []
    if labels := by_verdict[SHORTCUT]:
        title = f"Shortcut found in {_count(len(labels), total)}: {listed(labels)}"
        sentences.append(
            "Removing the cue takes decisions for the class away, and adding it to other sounds brings them about. "
            "Listen: a cue that belongs to the sound of the class is no shortcut."
        )
    elif labels := by_verdict[UNCLEAR]:
        title = f"No shortcut is proven, but {_count(len(labels), total)} {_verb(labels)} unclear: {listed(labels)}"
        sentences.append(
            "A cue has an effect, but in one direction only, or one that could be chance, or it may be the sound "
            "of the class itself, or its removal changes more than the cue; each suspect says which."
        )
    elif by_verdict[TOO_FEW] and not by_verdict[CLEAN]:
        return Lead(TOO_FEW, "Too few clips to tell", [_too_few(by_verdict[TOO_FEW])])
    else:
        clean = len(by_verdict[CLEAN])
        title = "No shortcut found" if clean == total else f"No shortcut found in {_count(clean, total)}"
        tried = result.conditions.get("candidates")
        cues = f"{tried} cues" if isinstance(tried, int) and tried else "cues"
        sentences.append(
            f"None of the {cues} that were tried both takes decisions for a class away when it is removed and "
            "brings them about when it is added."
        )
    if by_verdict[SHORTCUT] and (unclear := by_verdict[UNCLEAR]):
        sentences.append(f"Unclear: {listed(unclear)}.")
    if too_few := by_verdict[TOO_FEW]:
        sentences.append(_too_few(too_few))
    return Lead(result.verdict, title, sentences)


def facts_of(result: AuditResult) -> str:
    """Return what was audited, in a line; what the conditions do not state is left out.

    Args:
        result: Result of the audit.
    """
    stated = result.conditions
    names = [str(stated[key]) for key in ("model", "data_folder") if isinstance(stated.get(key), str)]
    parts = [" on ".join(names)] if names else []
    clips = sum(item.clips for item in result.classes)
    parts.append(f"{clips} clips of {len(result.classes)} classes")
    if isinstance(accuracy := stated.get("accuracy"), int | float):
        parts.append(f"{100 * accuracy:.0f} % recognised")
    if isinstance(tried := stated.get("candidates"), int):
        parts.append(f"{tried} cues tried on each class")
    return " · ".join(parts)


def verdict_counts(result: AuditResult) -> Mapping[str, int]:
    """Return the number of classes by verdict, the worst first, without those that do not occur."""
    counts = {verdict: sum(item.verdict == verdict for item in result.classes) for verdict in VERDICTS}
    return {verdict: count for verdict, count in counts.items() if count}


def _count(count: int, total: int) -> str:
    return f"{count} of {total} class{'' if total == 1 else 'es'}"


def _verb(labels: Sequence[str]) -> str:
    return "is" if len(labels) == 1 else "are"


def _too_few(labels: Sequence[str]) -> str:
    return f"Too few clips to tell: {listed(labels)}. Audit them again with more clips."


def _player(
    name: str,
    sounds: Mapping[str, np.ndarray],
    tracks: Sequence[tuple[str, str, str]],
    rate_hz: int,
    cue: np.ndarray | None,
) -> Clip:
    """Return the content of a player whose mask shows where the cue lies."""
    recording = sounds[tracks[0][2]]
    length = len(recording)
    waveforms = [Track(kind, title, fitted(sounds[sound], length)) for kind, title, sound in tracks]
    mask = None
    if cue is not None:
        cue = fitted(cue, length)
        mask = energy_share(cue, recording - cue if tracks[1][0] == "remainder" else recording, rate_hz)
        # Where the clip is silent, the faintest rest of the cue would be all there is.
        level = np.expm1(log_magnitude_of(cue, rate_hz))
        mask = np.where(level > _AUDIBLE * level.max(), mask, 0.0)
    # the picture of the sound that holds the cue: in a clip that has none, the cue would be a black band of silence
    shown = log_magnitude_of(recording if tracks[1][0] == "remainder" else waveforms[1].waveform, rate_hz)
    return Clip(name, rate_hz, waveforms, shown, mask, CUE_MASK, mask_meaning="the cue")
