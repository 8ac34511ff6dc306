"""Explain many recordings in batches: skip unreadable files, keep a manifest, resume an interrupted run."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from tqdm import tqdm

from otoscope.audio import load_audio
from otoscope.errors import AudioError, OtoscopeError
from otoscope.explain import Explainer
from otoscope.explanation import Explanation
from otoscope.plots import FrequencyAxis
from otoscope.recordings.files import Recording
from otoscope.recordings.manifest import MANIFEST_NAME, Manifest
from otoscope.recordings.results import Outcome, Result


class PictureOptions(NamedTuple):
    """How the pictures of explanations are drawn; see `Explanation.save`.

    Attributes:
        axis: Scale of the frequency axes: ``linear``, ``mel`` or ``log``.
        picture: Format: ``png`` or ``svg``.
    """

    axis: FrequencyAxis = "linear"
    picture: str = "png"


_DEFAULT_PICTURES = PictureOptions()
_EXPLANATION_NAME = "explanation.json"
_LONGEST_BATCH_S = 60.0


def explain_recordings(
    explainer: Explainer,
    recordings: Sequence[Recording],
    folder: str | os.PathLike[str],
    target: str | None = None,
    threshold: float | None = None,
    batch_size: int = 4,
    skip_existing: bool = False,
    on_explained: Callable[[Result], None] | None = None,
    pictures: PictureOptions = _DEFAULT_PICTURES,
) -> Outcome:
    """Explain recordings and save each explanation; files without usable sound are skipped.

    ``manifest.jsonl`` in the folder gets a line for each recording as soon as it is done: its result or its error.

    Args:
        explainer: Classifier and interpreter.
        recordings: Recordings to explain, see `find_recordings`.
        folder: Folder for the results.
        target: Label to explain (default: the predicted label of each recording).
        threshold: Threshold of the interpreter, see `Explainer.explain`.
        batch_size: Largest number of recordings that the networks process at once; fewer if they are long.
        skip_existing: Skip recordings that already have an explanation by the same method for the same target.
        on_explained: Callback, called with each new result.
        pictures: How the pictures are drawn.

    Raises:
        ConfigurationError: Target or threshold do not fit the model.
        OtoscopeError: The results cannot be written.
    """
    _check(explainer, target, threshold)
    folder = Path(folder)
    manifest = Manifest(folder / MANIFEST_NAME, {str(recording.path) for recording in recordings}, skip_existing)
    earlier = _earlier_results(recordings, folder, explainer.method, target) if skip_existing else {}
    remaining = [recording for recording in recordings if recording not in earlier]
    outcome = Outcome()
    # disable=None shows the bar on a terminal only.
    with tqdm(total=len(recordings), unit="clip", disable=None) as bar:
        results = explain_each(explainer, remaining, folder, target, threshold, batch_size, pictures)
        for result in itertools.chain(earlier.values(), results):
            # A run that was killed after saving an explanation and before adding its line has left no line for it.
            if not (result.skipped and result.line["file"] in manifest.files):
                manifest.add(result.line)
            outcome.add(result)
            if on_explained is not None and result.summary:
                with bar.external_write_mode():
                    on_explained(result)
            bar.update()
    return outcome


def explain_each(
    explainer: Explainer,
    recordings: Iterable[Recording],
    folder: Path,
    target: str | None = None,
    threshold: float | None = None,
    batch_size: int = 4,
    pictures: PictureOptions = _DEFAULT_PICTURES,
) -> Iterator[Result]:
    """Read, explain and save recordings in this process, and yield the result of each.

    A backend for several processes replaces this function by another generator of results.

    Args:
        explainer: Classifier and interpreter.
        recordings: Recordings to explain.
        folder: Folder for the results.
        target: Label to explain.
        threshold: Threshold of the interpreter.
        batch_size: Largest number of recordings in a batch.
        pictures: How the pictures are drawn.
    """
    sounds = _read(recordings, explainer.sample_rate_hz)
    for batch in _batches(sounds, batch_size, _LONGEST_BATCH_S * explainer.sample_rate_hz):
        if isinstance(batch, Result):
            yield batch
            continue
        for recording, explanation in _explain_batch(explainer, batch, target, threshold):
            if isinstance(explanation, OtoscopeError):
                yield _failure(recording, explanation)
            else:
                yield _save(recording, explanation, folder, pictures)


Sound = tuple[Recording, Tensor]
"""A recording and its waveform, shape (samples,)."""


def _check(explainer: Explainer, target: str | None, threshold: float | None) -> None:
    """Raise errors that concern every recording before the first one is read."""
    # Both calls raise an error if the option does not fit; their results are not needed.
    if target is not None:
        explainer.classifier.index_of(target)
    with explainer.interpreter.at_threshold(threshold):
        pass


def _read(recordings: Iterable[Recording], sample_rate_hz: int) -> Iterator[Sound | Result]:
    """Yield the waveform of each recording, or a failure if it holds no usable sound."""
    for recording in recordings:
        try:
            sound: Sound | Result = (recording, load_audio(recording.path, sample_rate_hz))
        except AudioError as error:
            sound = _failure(recording, error)
        yield sound


def _batches(sounds: Iterable[Sound | Result], batch_size: int, samples: float) -> Iterator[list[Sound] | Result]:
    """Yield batches of at most ``batch_size`` sounds and ``samples`` padded samples, and failures as they occur."""
    batch: list[Sound] = []
    for sound in sounds:
        if isinstance(sound, Result):
            yield sound
            continue
        # A batch takes the memory of its longest sound times its size, because the others are zero-padded.
        longest = max(len(waveform) for _, waveform in [*batch, sound])
        if batch and (len(batch) >= batch_size or longest * (len(batch) + 1) > samples):
            yield batch
            batch = []
        batch.append(sound)
    if batch:
        yield batch


def _explain_batch(
    explainer: Explainer, batch: list[Sound], target: str | None, threshold: float | None
) -> Iterator[tuple[Recording, Explanation | OtoscopeError]]:
    """Yield the explanation of each sound, or its error."""
    names = [recording.name for recording, _ in batch]
    try:
        explanations = explainer.explain_batch([waveform for _, waveform in batch], target, True, names, threshold)
    except OtoscopeError as error:
        if len(batch) == 1:
            yield batch[0][0], error
            return
        # Explain each recording alone, so that a faulty one does not fail the whole batch.
        for sound in batch:
            yield from _explain_batch(explainer, [sound], target, threshold)
        return
    yield from zip([recording for recording, _ in batch], explanations, strict=True)


def _save(recording: Recording, explanation: Explanation, folder: Path, pictures: PictureOptions) -> Result:
    content = explanation.to_dict()
    explanation_folder = explanation.save(folder / recording.name, content, *pictures)
    return Result(_explained_line(recording, explanation_folder, content), explanation.summary())


def _failure(recording: Recording, error: OtoscopeError) -> Result:
    file = str(recording.path)
    reason = str(error) if file in str(error) else f"{file}: {error}"
    return Result({"file": file, "status": "failed", "error": reason})


def _explained_line(recording: Recording, folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    return {"file": str(recording.path), "status": "explained", "folder": str(folder), **content}


def _earlier_results(
    recordings: Sequence[Recording], folder: Path, method: str, target: str | None
) -> dict[Recording, Result]:
    """Return the results of an earlier run by the same method and for the same target."""
    results = {}
    for recording in recordings:
        content = _read_explanation(folder / recording.name)
        # Without a target the label of the explanation must be the predicted one, not one asked for earlier.
        label = target or content.get("predicted")
        if content and content.get("method") == method and content.get("label") == label:
            line = _explained_line(recording, folder / recording.name, content)
            results[recording] = Result(line, skipped=True)
    return results


def _read_explanation(folder: Path) -> dict[str, Any]:
    """Return the content of ``explanation.json``; nothing if it is absent or damaged."""
    try:
        content = json.loads((folder / _EXPLANATION_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
