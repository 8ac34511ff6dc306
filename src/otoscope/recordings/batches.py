"""Explain recordings batch by batch in one process: read, run the networks, save."""

from __future__ import annotations

import errno
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from otoscope.audio import MonoWaveform, audio_info, read_recording
from otoscope.errors import AudioError, OtoscopeError, first_line
from otoscope.explain import Explainer
from otoscope.explanation import Explanation
from otoscope.explanation.shard import to_row
from otoscope.recordings.files import Recording
from otoscope.recordings.identity import recording_identity
from otoscope.recordings.plan import Plan
from otoscope.recordings.results import Result, explained_line
from otoscope.recordings.uris import Uri, local_file

_LONGEST_BATCH_S = 60.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors after which no recording can be saved."""


@dataclass(frozen=True)
class Sound:
    """A recording and its sound.

    Attributes:
        recording: Recording.
        waveform: Its waveform; None where only the recording is needed, to save it.
        identity: What identifies the content of the file.
    """

    recording: Recording
    waveform: MonoWaveform | None
    identity: dict[str, Any]

    @property
    def samples(self) -> int:
        """Number of samples."""
        return 0 if self.waveform is None else len(self.waveform.samples)

    def without_waveform(self) -> Sound:
        """Return the same without the waveform, to send it to another process."""
        return replace(self, waveform=None)


class MemoryLimit:
    """Largest number of padded samples of a batch that the memory has sufficed for; without limit at first."""

    def __init__(self) -> None:
        self.samples = math.inf

    def is_exceeded_by(self, batch: Sequence[Sound]) -> bool:
        """Return whether a batch of several sounds is larger than one that did not fit."""
        return len(batch) > 1 and _padded_samples(batch) > self.samples

    def lower(self, batch: Sequence[Sound]) -> None:
        """Remember that a batch did not fit: from now on batches are half as large."""
        self.samples = min(self.samples, _padded_samples(batch) * math.ceil(len(batch) / 2) / len(batch))


def explain_in_process(
    explainer: Explainer,
    recordings: Iterable[Recording],
    plan: Plan,
    on_answered: Callable[[Explanation], None] | None = None,
) -> Iterator[Result]:
    """Explain and save recordings in this process, one batch after the other: the simplest `Backend`.

    Args:
        explainer: Classifier and interpreter.
        recordings: Recordings.
        plan: What to do.
        on_answered: Callback, called with each explanation before its files are written.
    """
    limit = MemoryLimit()
    for chunk in chunks(recordings, plan.batch_size):
        for _, result in explain_chunk(explainer, chunk, plan, limit, on_answered):
            yield result


def chunks(recordings: Iterable[Recording], size: int) -> Iterator[list[Recording]]:
    """Yield consecutive recordings, ``size`` at a time.

    Which recordings are explained together depends on this division alone, not on the process that explains them.
    """
    iterator = iter(recordings)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def balanced_size(recordings: int, batch_size: int) -> int:
    """Return the size of about equal batches, so that there are two or more wherever possible.

    From two recordings on, two processes then have work: one draws and writes while the other computes. The size
    does not depend on the number of processes, so that this number changes no result.

    Args:
        recordings: Number of recordings.
        batch_size: Largest size.

    Example:
        >>> [balanced_size(recordings, 4) for recordings in (0, 1, 2, 4, 5, 8, 9)]
        [4, 1, 1, 2, 3, 4, 3]
    """
    if recordings < 1:
        return batch_size
    batches = max(math.ceil(recordings / batch_size), min(recordings, 2))
    return math.ceil(recordings / batches)


def explain_chunk(
    explainer: Explainer,
    chunk: Sequence[Recording],
    plan: Plan,
    limit: MemoryLimit,
    on_answered: Callable[[Explanation], None] | None = None,
) -> Iterator[tuple[int, Result]]:
    """Read, explain and save recordings; yield the result of each with its position, in order.

    Args:
        explainer: Classifier and interpreter.
        chunk: Recordings of a batch, or of several if they are long.
        plan: What to do.
        limit: Memory limit of this process.
        on_answered: Callback, called with each explanation before its files are written.
    """
    entries = read_chunk(chunk, explainer.sample_rate_hz, plan)
    sounds = [entry for entry in entries if isinstance(entry, Sound)]
    explanations = explain_sounds(explainer, sounds, plan, limit)
    for position, entry in enumerate(entries):
        if isinstance(entry, Result):
            yield position, entry
            continue
        sound, explanation = next(explanations)
        if on_answered is not None and not isinstance(explanation, Exception):
            on_answered(explanation)
        yield position, save_sound(sound, explanation, plan)


def read_chunk(chunk: Sequence[Recording], sample_rate_hz: int, plan: Plan) -> list[Sound | Result]:
    """Return the sound of each recording, or a failure if it holds no usable sound."""
    return [_read(recording, sample_rate_hz, plan) for recording in chunk]


def _read(recording: Recording, sample_rate_hz: int, plan: Plan) -> Sound | Result:
    try:
        with local_file(recording.path) as path:
            if isinstance(recording.path, Uri):
                _check_length(path, plan.longest_remote_s)
            waveform = read_recording(path, sample_rate_hz, plan.hearing.channel)
            return Sound(recording, waveform, recording_identity(path, recording.path))
    except Exception as error:  # whatever it is, it concerns this recording alone
        return failed_result(recording, error)


def _check_length(path: Path, longest_s: float | None) -> None:
    """Raise an error if a recording is too long to be explained as a whole."""
    info = audio_info(path)
    duration_s = info.frames / info.sample_rate_hz
    if longest_s is not None and duration_s > longest_s:
        raise AudioError(
            f"{path}: is {duration_s:.0f} s long; recordings longer than {longest_s:g} s are explained window by "
            "window, which needs a file on this machine: download it first"
        )


def explain_sounds(
    explainer: Explainer, sounds: Sequence[Sound], plan: Plan, limit: MemoryLimit
) -> Iterator[tuple[Sound, Explanation | Exception]]:
    """Yield the explanation of each sound, or its error, in order.

    Args:
        explainer: Classifier and interpreter.
        sounds: Sounds.
        plan: What to do.
        limit: Memory limit of this process.
    """
    for batch in _batches(sounds, plan.batch_size, _LONGEST_BATCH_S * explainer.sample_rate_hz):
        yield from _explain_batch(explainer, batch, plan, limit)


def _batches(sounds: Iterable[Sound], batch_size: int, samples: float) -> Iterator[list[Sound]]:
    """Yield batches of at most ``batch_size`` sounds and ``samples`` padded samples."""
    batch: list[Sound] = []
    for sound in sounds:
        if batch and (len(batch) >= batch_size or _padded_samples([*batch, sound]) > samples):
            yield batch
            batch = []
        batch.append(sound)
    if batch:
        yield batch


def _padded_samples(batch: Sequence[Sound]) -> int:
    """Return the size of a batch: its longest sound times its size, because the others are zero-padded."""
    return max(sound.samples for sound in batch) * len(batch)


def _explain_batch(
    explainer: Explainer, batch: list[Sound], plan: Plan, limit: MemoryLimit
) -> Iterator[tuple[Sound, Explanation | Exception]]:
    """Yield the explanation of each sound, or its error."""
    failure: Exception | None = None
    if not limit.is_exceeded_by(batch):
        try:
            explanations = explainer.explain_batch(
                [sound.waveform for sound in batch],
                plan.target,
                True,
                [sound.recording.name for sound in batch],
                plan.threshold,
                normalize=plan.hearing.normalize,
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
    size = 1  # each recording alone, so that a faulty one does not fail the whole batch
    if failure is None or _is_of_memory(failure):
        size = math.ceil(len(batch) / 2)
    if failure is not None and _is_of_memory(failure):
        limit.lower(batch)
    for start in range(0, len(batch), size):
        yield from _explain_batch(explainer, batch[start : start + size], plan, limit)


def _release_memory() -> None:
    """Return the memory that a failed batch took on the GPU."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def save_sound(sound: Sound, explanation: Explanation | Exception, plan: Plan) -> Result:
    """Save an explanation with what it was made from, and return its result.

    Args:
        sound: Recording.
        explanation: Its explanation, or the error that it failed with.
        plan: What to do.

    Raises:
        Exception: Nothing more can be written, because the disk is full or read-only.
    """
    recording = sound.recording
    if isinstance(explanation, Exception):
        return failed_result(recording, explanation)
    try:
        source = {"recording": sound.identity, **plan.made_with, "parts": list(plan.parts)}
        content = {**explanation.to_dict(), "source": source}
        if plan.in_shards:
            row = to_row(explanation, content, plan.parts, *plan.pictures)
            return Result(explained_line(recording, content), explanation.summary(), row=row)
        folder = explanation.save(plan.folder / recording.name, content, *plan.pictures, plan.parts)
        return Result(explained_line(recording, content, folder=str(folder)), explanation.summary())
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
    """Return the result of a recording that could not be explained."""
    file = str(recording.path)
    reason = _reason(error)
    return Result({"file": file, "status": "failed", "error": reason if file in reason else f"{file}: {reason}"})


def _reason(error: Exception) -> str:
    if isinstance(error, OtoscopeError):
        return str(error)
    if _is_of_memory(error):
        return "the memory does not suffice; cut the recording into shorter ones, or set --batch_size 1"
    text = first_line(error)
    return f"{type(error).__name__}: {text}" if text != type(error).__name__ else text


def _is_of_memory(error: Exception) -> bool:
    text = str(error)
    # PyTorch raises a plain RuntimeError for the CPU's memory.
    is_named = "allocate memory" in text or "alloc_cpu" in text
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or is_named
