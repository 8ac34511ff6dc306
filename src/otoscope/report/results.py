"""Results in files and folders: what kinds there are, where they lie, and how each is opened.

A new kind of result is a line in `KINDS` and a section in the page.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import filter as fnmatch_filter
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from otoscope.audit.result import RESULT_NAME as AUDIT_NAME
from otoscope.errors import DataError, OtoscopeError
from otoscope.explanation.shard import SHARD_PATTERN, iterate_rows, read_row, shards_of
from otoscope.explanation.stored import FolderExplanation
from otoscope.recordings.files import EXPLANATION_NAME, TIMELINE_NAME
from otoscope.recordings.manifest import MANIFEST_NAME, read_manifest
from otoscope.report.audit import COMPARISON_NAME, AuditReading, ComparisonReading, open_audit, open_comparison
from otoscope.report.clips import ClipResult
from otoscope.report.contents import Content
from otoscope.report.evaluation import EvaluationResult, open_evaluation
from otoscope.report.recording import RecordingResult, open_recording_result

EVALUATION_NAME = "results.json"
AnyResult = ClipResult | RecordingResult | EvaluationResult | AuditReading | ComparisonReading


@dataclass
class Results:
    """Everything that a report shows.

    Attributes:
        clips: Explanations of clips.
        recordings: Long recordings.
        evaluations: Evaluations.
        audits: Audits.
        comparisons: Comparisons of two of these audits.
        skipped: Results that cannot be read, and recordings that could not be explained, with the reason.
        broken: Number of results among ``skipped``.
    """

    clips: list[ClipResult] = field(default_factory=list)
    recordings: list[RecordingResult] = field(default_factory=list)
    evaluations: list[EvaluationResult] = field(default_factory=list)
    audits: list[AuditReading] = field(default_factory=list)
    comparisons: list[ComparisonReading] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    broken: int = 0

    def add(self, result: AnyResult) -> None:
        """Add a result to the list of its kind."""
        match result:
            case ClipResult():
                self.clips.append(result)
            case RecordingResult():
                self.recordings.append(result)
            case EvaluationResult():
                self.evaluations.append(result)
            case AuditReading():
                self.audits.append(result)
            case ComparisonReading():
                self.comparisons.append(result)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.clips or self.recordings or self.evaluations or self.audits)


@dataclass(frozen=True)
class Kind:
    """Kind of result.

    Attributes:
        marker: File that a folder of this kind holds; a pattern of names.
        open: Function that yields the results in such a folder.
    """

    marker: str
    open: Callable[[Path], Iterator[AnyResult]]


def explanations_of(folder: Path) -> Iterator[ClipResult]:
    """Yield the explanation of a clip in its folder.

    Args:
        folder: Folder of an explanation.

    Raises:
        DataError: The explanation cannot be read.
    """
    content = Content.read(folder / EXPLANATION_NAME)
    yield ClipResult.of(content, partial(FolderExplanation, folder))


def explanations_in_shards(folder: Path) -> Iterator[ClipResult]:
    """Yield the explanations in the shards of a folder; their sounds are read when a page needs them.

    Args:
        folder: Folder of shards.

    Raises:
        DataError: A shard cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    for shard in shards_of(folder):
        for row in iterate_rows(shard, ["name", "record"]):
            place = shard / str(row["name"])
            try:
                values = json.loads(row["record"])
            except (ValueError, TypeError) as error:
                raise DataError(f"{place}: its record is damaged; explain the recording again") from error
            yield ClipResult.of(Content(place, values), partial(read_row, shard, row["name"]))


def _recording(folder: Path) -> Iterator[RecordingResult]:
    yield open_recording_result(folder)


def _evaluation(folder: Path) -> Iterator[EvaluationResult]:
    yield open_evaluation(folder / EVALUATION_NAME)


def _audit(folder: Path) -> Iterator[AuditReading]:
    yield open_audit(folder)


def _comparison(folder: Path) -> Iterator[AuditReading | ComparisonReading]:
    comparison, audits = open_comparison(folder)
    yield comparison
    yield from audits


KINDS: Sequence[Kind] = (
    Kind(AUDIT_NAME, _audit),
    Kind(COMPARISON_NAME, _comparison),
    Kind(EXPLANATION_NAME, explanations_of),
    Kind(SHARD_PATTERN, explanations_in_shards),
    Kind(TIMELINE_NAME, _recording),
    Kind(EVALUATION_NAME, _evaluation),
)
"""The kinds of results. A folder that holds the marker of a kind is not searched further."""


def read_results(sources: Sequence[str | os.PathLike[str]]) -> Results:
    """Read the results in folders, at any depth.

    Args:
        sources: Folders that ``otoscope explain``, ``otoscope evaluate`` or ``otoscope audit`` wrote, or folders of
            them.

    Raises:
        DataError: A source does not exist or holds no result.
    """
    results = Results()
    places = [Path(os.path.realpath(source)) for source in sources]
    seen: set[Path] = set()
    for source, place in zip(sources, places, strict=True):
        number = 0
        for folder, kind in _folders_of(source, place):
            number += 1
            if folder not in seen:
                seen.add(folder)
                _open(kind, folder, results)
        if not number:
            raise DataError(
                f"{source}: holds no result of `otoscope explain`, `otoscope evaluate` or `otoscope audit`; name "
                "the folder that one of them wrote (--out)"
            )
    results.skipped += [reason for place in dict.fromkeys(places) for reason in _failures(place)]
    return results


def _folders_of(source: str | os.PathLike[str], place: Path) -> Iterator[tuple[Path, Kind]]:
    """Yield the folders of results at or below a place, in the order of their names, with their kinds."""
    if not place.exists():
        raise DataError(f"{source}: does not exist; name a folder that `otoscope explain` wrote (--out)")
    if not place.is_dir():  # such as explanation.json itself
        place = place.parent if any(fnmatch(place.name, kind.marker) for kind in KINDS) else place
    for folder, folders, files in os.walk(place):
        # hidden folders hold what a run has not finished
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        kind = next((kind for kind in KINDS if fnmatch_filter(files, kind.marker)), None)
        if kind is not None:
            folders.clear()
            yield Path(folder), kind


def _open(kind: Kind, folder: Path, results: Results) -> None:
    try:
        for result in kind.open(folder):
            results.add(result)
    except OtoscopeError as error:
        results.skipped.append(str(error))
        results.broken += 1


def _failures(folder: Path) -> Iterator[str]:
    """Yield the errors of recordings that could not be explained, as the manifest of a run lists them."""
    for line in read_manifest(folder / MANIFEST_NAME) if folder.is_dir() else []:
        if line.get("status") == "failed":
            yield f"not explained: {line.get('error')}"
