"""Many recordings at once: past bad files, in batches, with a manifest, and to be continued after a stop."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from otoscope.audio import load_audio
from otoscope.audio.files import SUFFIXES
from otoscope.errors import AudioError, OtoscopeError
from otoscope.explain import Explainer
from otoscope.explanation import Explanation
from otoscope.files.json import read_json
from otoscope.files.json_lines import JsonLines

MANIFEST_NAME = "manifest.jsonl"
_RESULT_NAME = "explanation.json"
_LONGEST_BATCH_S = 60.0


@dataclass(frozen=True)
class Recording:
    """A sound file, and the name of the folder that its explanation goes to."""

    path: Path
    name: str


@dataclass
class Outcome:
    """What became of many recordings.

    Attributes:
        explained: How many were explained now.
        skipped: How many had been before.
        failed: Why each other one was not, by file.
    """

    explained: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """Lines for a terminal.

        Example:
            >>> print(Outcome(315, 0, {"a.wav": "a.wav: is empty (0 bytes)"}).summary())
            315 explained, 1 failed
              a.wav: is empty (0 bytes)
        """
        text = f"{self.explained} explained"
        text += f", {self.skipped} skipped" if self.skipped else ""
        text += f", {len(self.failed)} failed" if self.failed else ""
        return "\n".join([text, *(f"  {' '.join(reason.split())}" for reason in self.failed.values())])


def find_recordings(sources: Sequence[str]) -> list[Recording]:
    """Sound files, and those in folders at any depth, each with a name of its own.

    Args:
        sources: Files and folders. Files need not exist. Those of a folder are named by their path in it.

    Raises:
        AudioError: A folder holds no sound file.
    """
    found: list[tuple[Path, str]] = []
    for source in map(Path, sources):
        if not source.is_dir():
            found.append((source, source.stem))
            continue
        inside = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        inside = [path for path in inside if not path.name.startswith(".")]
        if not inside:
            raise AudioError(f"{source}: holds no sound file ({', '.join(sorted(SUFFIXES))})")
        found += [(path, path.relative_to(source).with_suffix("").as_posix()) for path in inside]
    taken: set[str] = set()
    recordings = []
    for path, name in found:
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}-{number}"
        taken.add(free)
        recordings.append(Recording(path, free))
    return recordings


def explain_recordings(
    explainer: Explainer,
    recordings: Sequence[Recording],
    folder: str | os.PathLike[str],
    target: str | None = None,
    threshold: float | None = None,
    batch_size: int = 4,
    skip_existing: bool = False,
    tell: Callable[[Explanation, dict[str, Any]], None] | None = None,
) -> Outcome:
    """Explains recordings and saves each explanation, past files that are no usable sound.

    ``manifest.jsonl`` in the folder gets one line a recording as soon as it is done: what was found, or why not.

    Args:
        explainer: Classifier and interpreter.
        recordings: See `find_recordings`.
        folder: For the results.
        target: Explain this class instead of the predicted ones.
        threshold: See `Explainer.explain`.
        batch_size: Recordings in one run of the networks; fewer where they are long.
        skip_existing: Leave those whose explanation, by the same method and for the same target, is there.
        tell: Called with each explanation and its line.

    Raises:
        ConfigurationError: Target or threshold do not fit the model.
        OtoscopeError: The results cannot be written.
    """
    if target is not None:
        explainer.classifier.index_of(target)
    with explainer.interpreter.at_threshold(threshold):
        pass
    folder = Path(folder)
    manifest = Manifest(folder / MANIFEST_NAME, {str(one.path) for one in recordings}, skip_existing)
    outcome = Outcome()
    with tqdm(total=len(recordings), unit="clip", disable=None) as bar:
        left = recordings
        if skip_existing:
            left = [
                one for one in recordings if not _skipped(one, folder, explainer.method, target, manifest, outcome)
            ]
        bar.update(outcome.skipped)
        for batch in _batches(explainer, left, batch_size, manifest, outcome):
            for recording, explanation in _explained(explainer, batch, target, threshold, outcome, manifest):
                where = explanation.save(folder / recording.name)
                line = {"file": str(recording.path), "status": "explained", "folder": str(where)}
                line |= explanation.to_dict()
                manifest.add(line)
                outcome.explained += 1
                if tell is not None:
                    with bar.external_write_mode():
                        tell(explanation, line)
            bar.update(outcome.explained + outcome.skipped + len(outcome.failed) - bar.n)
        bar.update(len(recordings) - bar.n)
    return outcome


class Manifest:
    """The file ``manifest.jsonl``: one JSON object per recording, readable at any time.

    Args:
        path: Of the file; the lines of other files are kept.
        files: That lines will be added for.
        goes_on: Keep the lines of those that were explained before.

    Raises:
        OtoscopeError: It cannot be written.
    """

    def __init__(self, path: Path, files: Collection[str] = (), goes_on: bool = False) -> None:
        self._lines = JsonLines(path)
        lines = [
            line
            for line in read_manifest(path)
            if line.get("file") not in files or (goes_on and line.get("status") == "explained")
        ]
        self.files = {line.get("file") for line in lines}
        self._lines.rewrite(lines)

    def add(self, line: dict[str, Any]) -> None:
        """Append a line.

        Raises:
            OtoscopeError: It cannot be written.
        """
        self._lines.append(line)
        self.files.add(line.get("file"))


def read_manifest(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the lines of a manifest, or none if there is no file. Damaged lines are skipped."""
    return JsonLines(path).read(skip_damaged=True)


def _skipped(
    recording: Recording, folder: Path, method: str, target: str | None, manifest: Manifest, outcome: Outcome
) -> bool:
    """Whether an earlier run has explained it; a line that it had no time to write is added."""
    former = _former(folder / recording.name, method, target)
    if former is None:
        return False
    outcome.skipped += 1
    if str(recording.path) not in manifest.files:
        where = str(folder / recording.name)
        manifest.add({"file": str(recording.path), "status": "explained", "folder": where, **former})
    return True


def _batches(
    explainer: Explainer, recordings: Sequence[Recording], batch_size: int, manifest: Manifest, outcome: Outcome
) -> Iterator[list[tuple[Recording, Tensor]]]:
    """Waveforms by the batch; what is no usable sound is noted in passing."""
    longest = _LONGEST_BATCH_S * explainer.sample_rate_hz
    batch: list[tuple[Recording, Tensor]] = []
    for recording in recordings:
        try:
            waveform = load_audio(recording.path, explainer.sample_rate_hz)
        except AudioError as error:
            _note_failure(recording, error, outcome, manifest)
            continue
        widest = max([len(waveform), *(len(other) for _, other in batch)])
        if batch and (len(batch) >= batch_size or widest * (len(batch) + 1) > longest):
            yield batch
            batch = []
        batch.append((recording, waveform))
    if batch:
        yield batch


def _explained(
    explainer: Explainer,
    batch: list[tuple[Recording, Tensor]],
    target: str | None,
    threshold: float | None,
    outcome: Outcome,
    manifest: Manifest,
) -> Iterator[tuple[Recording, Explanation]]:
    """Explanations of a batch; if it fails, of each recording alone, so that only the culprit is lost."""
    names = [recording.name for recording, _ in batch]
    try:
        found = explainer.explain_batch([waveform for _, waveform in batch], target, True, names, threshold)
    except OtoscopeError as error:
        if len(batch) == 1:
            _note_failure(batch[0][0], error, outcome, manifest)
            return
        for one in batch:
            yield from _explained(explainer, [one], target, threshold, outcome, manifest)
        return
    yield from zip([recording for recording, _ in batch], found, strict=True)


def _note_failure(recording: Recording, error: OtoscopeError, outcome: Outcome, manifest: Manifest) -> None:
    reason = str(error) if str(recording.path) in str(error) else f"{recording.path}: {error}"
    outcome.failed[str(recording.path)] = reason
    manifest.add({"file": str(recording.path), "status": "failed", "error": reason})


def _former(folder: Path, method: str, target: str | None) -> dict[str, Any] | None:
    """What an earlier run found, if by the same method and for the same target."""
    try:
        content = read_json(folder / _RESULT_NAME)
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("method") != method:
        return None
    return content if content.get("label") == (target or content.get("predicted")) else None
