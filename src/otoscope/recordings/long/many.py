"""Explain several long recordings: skip those that fail, keep a manifest, skip those that are up to date."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from otoscope.audio import WindowPlan, audio_info
from otoscope.errors import AudioError, OtoscopeError
from otoscope.explain import Explainer
from otoscope.files.json import read_json
from otoscope.recordings.batches import failed_result, is_no_room
from otoscope.recordings.files import EXPLANATION_NAME, TIMELINE_NAME, Recording, UniqueNames
from otoscope.recordings.identity import is_of_recording, is_up_to_date
from otoscope.recordings.long.options import LongOptions, is_long
from otoscope.recordings.long.place import is_place
from otoscope.recordings.long.run import explain_long, source_of
from otoscope.recordings.long.timeline import Timeline
from otoscope.recordings.manifest import MANIFEST_NAME, Manifest
from otoscope.recordings.results import Outcome, Result
from otoscope.recordings.uris import Location, Uri


def split_by_length(
    recordings: Sequence[Recording], explainer: Explainer, options: LongOptions
) -> tuple[list[Recording], list[Recording]]:
    """Return the recordings that are explained as a whole, and those that are explained window by window.

    Args:
        recordings: Recordings. Those whose header cannot be read count as short; their error is reported later.
            So do those at URIs, which only the process that explains them reads; see `longest_whole_s`.
        explainer: Classifier and interpreter.
        options: Options, not resolved.
    """
    short: list[Recording] = []
    long: list[Recording] = []
    for recording in recordings:
        if isinstance(recording.path, Uri):
            short.append(recording)
            continue
        try:
            info = audio_info(recording.path)
        except AudioError:
            short.append(recording)
            continue
        duration_s = info.frames / info.sample_rate_hz
        (long if is_long(duration_s, explainer.classifier, options) else short).append(recording)
    return short, long


def explain_long_recordings(
    explainer: Explainer,
    recordings: Sequence[Recording],
    folder: str | os.PathLike[str],
    options: LongOptions,
    skip_existing: bool = False,
    on_explained: Callable[[Result], None] | None = None,
) -> Outcome:
    """Explain recordings window by window, one after the other; those that fail are skipped.

    Args:
        explainer: Classifier and interpreter.
        recordings: Recordings; see `find_recordings`.
        folder: Folder for the results, with a folder for each recording and ``manifest.jsonl``.
        options: Options.
        skip_existing: Skip recordings that have a timeline of the same content, by the same model and options.
        on_explained: Callback, called with each new result.

    Raises:
        ConfigurationError: The options do not fit the model.
        OtoscopeError: The results cannot be written.
    """
    resolved = options.resolved(explainer.classifier)
    explainer.interpreter.with_threshold(options.threshold)
    # Faults of options would else be reported for each recording.
    WindowPlan.of(explainer.classifier.frontend, 1, resolved.window_s or 0, resolved.hop_s or 0)
    folder, outcome = Path(folder), Outcome()
    files = {str(recording.path) for recording in recordings}
    manifest = Manifest(folder / MANIFEST_NAME, files, files if skip_existing else ())
    for recording in _placed(recordings, folder):
        target = folder / recording.name
        result = _earlier(explainer, recording, target, resolved) if skip_existing else None
        if result is None:
            result = _explain(explainer, recording, target, options)
        if not (result.skipped and result.line["file"] in manifest.files):
            manifest.add(result.line)
        outcome.add(result)
        if on_explained is not None and result.summary:
            on_explained(result)
    return outcome


def _explain(explainer: Explainer, recording: Recording, folder: Path, options: LongOptions) -> Result:
    try:
        if isinstance(recording.path, Uri):
            raise AudioError(f"{recording.path}: only files on this machine are explained window by window")
        timeline = explain_long(explainer, recording.path, folder, options, recording.name)
    except Exception as error:  # any: of a user's classifier, or of PyTorch when the memory does not suffice
        if is_no_room(error):
            raise
        return failed_result(recording, error)
    return Result(_line(recording, folder, timeline), timeline.summary())


def _earlier(explainer: Explainer, recording: Recording, folder: Path, options: LongOptions) -> Result | None:
    """Return the result of an earlier run that this one would repeat."""
    made_with = source_of(explainer, None, options)
    if not is_up_to_date(_content(folder / TIMELINE_NAME), recording.path, made_with):
        return None
    try:
        return Result(_line(recording, folder, Timeline.load(folder)), skipped=True)
    except OtoscopeError:  # damaged
        return None


def _line(recording: Recording, folder: Path, timeline: Timeline) -> dict[str, Any]:
    content = timeline.to_dict()
    return {"file": str(recording.path), "status": "explained", "folder": str(folder), **content}


def _placed(recordings: Sequence[Recording], folder: Path) -> list[Recording]:
    """Return the recordings with names whose folders hold nothing else than a timeline of theirs."""
    names = UniqueNames()
    placed = []
    for recording in recordings:

        def is_free(name: str, path: Location = recording.path) -> bool:
            target = folder / name
            if not is_place(target):
                return False
            content = _content(target / TIMELINE_NAME)
            inside = any(_holds_result(parent) for parent in target.parents if folder in parent.parents)
            return not inside and (not content or is_of_recording(content, path))

        placed.append(replace(recording, name=names.take(recording.name, is_free)))
    return placed


def _holds_result(folder: Path) -> bool:
    """Return whether a folder is a result, which is replaced as a whole, so that no other may lie in it."""
    return any((folder / name).is_file() for name in (EXPLANATION_NAME, TIMELINE_NAME))


def _content(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; nothing if it is absent or damaged."""
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
