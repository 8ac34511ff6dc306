"""Explain many recordings in batches: skip those that fail, keep a manifest, resume an interrupted run."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from otoscope.audio import MonoWaveform, read_recording
from otoscope.errors import OtoscopeError, first_line
from otoscope.explain import Explainer
from otoscope.explanation import Explanation
from otoscope.files.atomic import remove_stale
from otoscope.plots import FrequencyAxis
from otoscope.recordings.files import Recording, UniqueNames
from otoscope.recordings.identity import (
    is_of_recording,
    is_up_to_date,
    model_identity,
    read_explanation,
    recording_identity,
)
from otoscope.recordings.manifest import MANIFEST_NAME, Manifest
from otoscope.recordings.results import Outcome, Result


class HearingOptions(NamedTuple):
    """How recordings are heard; see `Explainer.explain`.

    Attributes:
        channel: Channel to explain, counted from 0 (default: the average of all).
        normalize: Whether to scale recordings to a peak of 1 for the networks (default: as they were trained).
    """

    channel: int | None = None
    normalize: bool | None = None


class PictureOptions(NamedTuple):
    """How the pictures of explanations are drawn; see `Explanation.save`.

    Attributes:
        axis: Scale of the frequency axes: ``linear``, ``mel`` or ``log``.
        picture: Format: ``png`` or ``svg``.
    """

    axis: FrequencyAxis = "linear"
    picture: str = "png"


_DEFAULT_PICTURES = PictureOptions()
_DEFAULT_HEARING = HearingOptions()
_LONGEST_BATCH_S = 60.0
_PROGRESS = "{n_fmt}/{total_fmt} ({remaining} left) {bar}"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors after which no recording can be saved."""


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
    hearing: HearingOptions = _DEFAULT_HEARING,
) -> Outcome:
    """Explain recordings and save each explanation; those that fail, for whatever reason, are skipped.

    An explanation gets the folder of its recording's name. If another recording has an explanation there, or the
    folder holds something else, the name gets a number.

    ``manifest.jsonl`` in the folder gets a line for each recording as soon as it is done: its result or its error.

    Args:
        explainer: Classifier and interpreter.
        recordings: Recordings to explain, see `find_recordings`.
        folder: Folder for the results.
        target: Label to explain (default: the predicted label of each recording).
        threshold: Threshold of the interpreter, see `Explainer.explain`.
        batch_size: Largest number of recordings that the networks process at once; fewer if they are long.
        skip_existing: Skip recordings that already have an explanation of the same content, by the same model with
            the same options.
        on_explained: Callback, called with each new result.
        pictures: How the pictures are drawn.
        hearing: How the recordings are heard.

    Raises:
        ConfigurationError: Target or threshold do not fit the model.
        OtoscopeError: The results cannot be written.
    """
    _check(explainer, target, threshold)
    folder = Path(folder)
    manifest = Manifest(folder / MANIFEST_NAME, {str(recording.path) for recording in recordings}, skip_existing)
    recordings = _placed(recordings, folder)
    for parent in {(folder / recording.name).parent for recording in recordings}:
        remove_stale(parent)
    made_with = _made_with(explainer, target, threshold, pictures, hearing)
    earlier = _earlier_results(recordings, folder, made_with) if skip_existing else {}
    remaining = [recording for recording in recordings if recording not in earlier]
    outcome = Outcome()
    # disable=None shows the line on a terminal only; a single recording has no progress to show.
    hidden = True if len(recordings) == 1 else None
    with tqdm(total=len(recordings), bar_format=_PROGRESS, disable=hidden) as bar:
        results = explain_each(explainer, remaining, folder, target, threshold, batch_size, pictures, hearing)
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
    hearing: HearingOptions = _DEFAULT_HEARING,
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
        hearing: How the recordings are heard.
    """
    made_with = _made_with(explainer, target, threshold, pictures, hearing)
    sounds = _read(recordings, explainer.sample_rate_hz, hearing.channel)
    for batch in _batches(sounds, batch_size, _LONGEST_BATCH_S * explainer.sample_rate_hz):
        if isinstance(batch, Result):
            yield batch
            continue
        for sound, explanation in _explain_batch(explainer, batch, target, threshold, hearing.normalize):
            if isinstance(explanation, Exception):
                yield failed_result(sound.recording, explanation)
            else:
                yield _save(sound, explanation, folder, pictures, made_with)


class Sound(NamedTuple):
    """A recording and its sound.

    Attributes:
        recording: Recording.
        waveform: Its waveform.
        identity: What identifies the content of the file.
    """

    recording: Recording
    waveform: MonoWaveform
    identity: dict[str, Any]


def _made_with(
    explainer: Explainer,
    target: str | None,
    threshold: float | None,
    pictures: PictureOptions,
    hearing: HearingOptions,
) -> dict[str, Any]:
    """Return the model and the options that explanations are made with (JSON values)."""
    options = {"target": target, "threshold": threshold, **pictures._asdict(), **hearing._asdict()}
    return {"model": model_identity(explainer), "options": options}


def _placed(recordings: Sequence[Recording], folder: Path) -> list[Recording]:
    """Return the recordings with names whose folders hold nothing else than an explanation of theirs."""
    names = UniqueNames()
    placed = []
    for recording in recordings:

        def is_free(name: str, path: Path = recording.path) -> bool:
            return _is_free(folder, name, path)

        placed.append(replace(recording, name=names.take(recording.name, is_free)))
    return placed


def _is_free(folder: Path, name: str, path: Path) -> bool:
    """Return whether a folder is absent, empty, or an explanation of the recording at a path."""
    target = folder / name
    # An explanation in which the folder would lie is replaced as a whole.
    above = itertools.takewhile(lambda parent: parent != folder, target.parents)
    if any(read_explanation(parent) for parent in above):
        return False
    try:
        return not any(target.iterdir()) or is_of_recording(read_explanation(target), path)
    except NotADirectoryError:
        return False
    except OSError:  # absent; what cannot be read is reported when the explanation is saved
        return True


def _check(explainer: Explainer, target: str | None, threshold: float | None) -> None:
    """Raise errors that concern every recording before the first one is read."""
    # Both calls raise an error if the option does not fit; their results are not needed.
    if target is not None:
        explainer.classifier.index_of(target)
    explainer.interpreter.with_threshold(threshold)


def _read(recordings: Iterable[Recording], sample_rate_hz: int, channel: int | None) -> Iterator[Sound | Result]:
    """Yield the waveform of each recording, or a failure if it holds no usable sound."""
    for recording in recordings:
        sound: Sound | Result
        try:
            waveform = read_recording(recording.path, sample_rate_hz, channel)
            sound = Sound(recording, waveform, recording_identity(recording.path))
        except Exception as error:  # whatever it is, it concerns this recording alone
            sound = failed_result(recording, error)
        yield sound


def _batches(sounds: Iterable[Sound | Result], batch_size: int, samples: float) -> Iterator[list[Sound] | Result]:
    """Yield batches of at most ``batch_size`` sounds and ``samples`` padded samples, and failures as they occur."""
    batch: list[Sound] = []
    for sound in sounds:
        if isinstance(sound, Result):
            yield sound
            continue
        # A batch takes the memory of its longest sound times its size, because the others are zero-padded.
        longest = max(len(other.waveform.samples) for other in [*batch, sound])
        if batch and (len(batch) >= batch_size or longest * (len(batch) + 1) > samples):
            yield batch
            batch = []
        batch.append(sound)
    if batch:
        yield batch


def _explain_batch(
    explainer: Explainer,
    batch: list[Sound],
    target: str | None,
    threshold: float | None,
    normalize: bool | None,
) -> Iterator[tuple[Sound, Explanation | Exception]]:
    """Yield the explanation of each sound, or its error."""
    names = [sound.recording.name for sound in batch]
    failure: Exception | None = None
    try:
        explanations = explainer.explain_batch(
            [sound.waveform for sound in batch], target, True, names, threshold, normalize=normalize
        )
    except Exception as error:  # any: of a user's classifier, or of PyTorch when the memory does not suffice
        # Without the frames that it came through, which would keep the tensors of the batch in memory.
        failure = error.with_traceback(None)
        failure.__context__ = None
    if failure is None:
        yield from zip(batch, explanations, strict=True)
        return
    _release_memory()
    if len(batch) == 1:
        yield batch[0], failure
        return
    # Explain each recording alone, so that a faulty one does not fail the whole batch.
    for sound in batch:
        yield from _explain_batch(explainer, [sound], target, threshold, normalize)


def _release_memory() -> None:
    """Return the memory that a failed batch took on the GPU."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def _save(
    sound: Sound, explanation: Explanation, folder: Path, pictures: PictureOptions, made_with: dict[str, Any]
) -> Result:
    """Save an explanation with what it was made from."""
    recording = sound.recording
    try:
        content = {**explanation.to_dict(), "source": {"recording": sound.identity, **made_with}}
        explanation_folder = explanation.save(folder / recording.name, content, *pictures)
        return Result(_explained_line(recording, explanation_folder, content), explanation.summary())
    except Exception as error:
        if is_no_room(error):
            raise
        return failed_result(recording, error)


def is_no_room(error: BaseException | None) -> bool:
    """Return whether an error, or what caused it, means that nothing more can be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__
    return False


def failed_result(recording: Recording, error: Exception) -> Result:
    file = str(recording.path)
    reason = _reason(error)
    return Result({"file": file, "status": "failed", "error": reason if file in reason else f"{file}: {reason}"})


def _reason(error: Exception) -> str:
    if isinstance(error, OtoscopeError):
        return str(error)
    text = first_line(error)
    # PyTorch raises a plain RuntimeError for the CPU's memory.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in text or "alloc_cpu" in text:
        return "the memory does not suffice; cut the recording into shorter ones, or set --batch_size 1"
    return f"{type(error).__name__}: {text}" if text != type(error).__name__ else text


def _explained_line(recording: Recording, folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    return {"file": str(recording.path), "status": "explained", "folder": str(folder), **content}


def _earlier_results(
    recordings: Sequence[Recording], folder: Path, made_with: dict[str, Any]
) -> dict[Recording, Result]:
    """Return the results of earlier runs that this run would repeat."""
    results = {}
    for recording in recordings:
        content = read_explanation(folder / recording.name)
        if is_up_to_date(content, recording.path, made_with):
            line = _explained_line(recording, folder / recording.name, content)
            results[recording] = Result(line, skipped=True)
    return results
