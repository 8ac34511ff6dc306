"""Explain recordings in several processes that share the memory of the model."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from otoscope.explain import Explainer
from otoscope.pool import Job, Pool, can_fork, gradients_survive_fork
from otoscope.recordings.batches import (
    MemoryLimit,
    Sound,
    chunks,
    explain_chunk,
    explain_in_process,
    explain_sounds,
    failed_result,
    read_chunk,
    save_sound,
)
from otoscope.recordings.files import Recording
from otoscope.recordings.plan import Backend, Plan
from otoscope.recordings.results import Result

_AHEAD = 3
"""Jobs in the queue for each process: enough that none waits, and few enough that memory stays bounded."""


def backend_for(explainer: Explainer, workers: int, recordings: int, batch_size: int) -> Backend:
    """Return the backend for a number of processes.

    Args:
        explainer: Classifier and interpreter.
        workers: Largest number of processes.
        recordings: Number of recordings.
        batch_size: Number of recordings in a batch.
    """
    workers = min(workers, -(-recordings // batch_size))
    if workers < 2 or not can_fork():
        return explain_in_process
    if why_not_shared(explainer) is None:
        return partial(explain_in_workers, workers=workers)
    return partial(explain_beside_workers, workers=workers)


def why_not_shared(explainer: Explainer) -> str | None:
    """Return why other processes cannot run the networks; None if they can."""
    device = explainer.classifier.frontend.window.device.type
    if device != "cpu":
        return f"its networks are on the device {device}"
    if not explainer.classifier.survives_fork:
        return "another program runs its network, with threads that do not survive a fork"
    if not gradients_survive_fork():
        return "this process has computed gradients on a machine with an accelerator"
    return None


def sharing_note(explainer: Explainer, workers: int) -> str | None:
    """Return a note for the user if processes cannot share the model; None if they can.

    Args:
        explainer: Classifier and interpreter.
        workers: Number of processes that are asked for.
    """
    if workers < 2:
        return None
    if not can_fork():
        return "several processes need Linux; one process explains all recordings"
    reason = why_not_shared(explainer)
    if reason is None:
        return None
    return f"the model cannot be shared between processes ({reason}); they read and save for one that runs it"


def explain_in_workers(
    explainer: Explainer, recordings: Sequence[Recording], plan: Plan, workers: int
) -> Iterator[Result]:
    """Explain recordings in forked processes, each of which reads, explains and saves whole batches.

    The weights exist once in memory. Each process uses one thread, so that all cores are busy without waiting.

    Args:
        explainer: Classifier and interpreter, on the CPU.
        recordings: Recordings.
        plan: What to do.
        workers: Number of processes.
    """
    limit = MemoryLimit()

    def handle(kind: str, items: list[Any]) -> Iterator[tuple[int, Any]]:
        return explain_chunk(explainer, items, plan, limit)

    with Pool(handle, workers, failed_result) as pool:
        jobs: deque[Job] = deque()
        for chunk in chunks(recordings, plan.batch_size):
            jobs.append(pool.submit("explain", chunk))
            if len(jobs) == _AHEAD * workers:
                yield from pool.wait(jobs.popleft())
        while jobs:
            yield from pool.wait(jobs.popleft())


def explain_beside_workers(
    explainer: Explainer, recordings: Sequence[Recording], plan: Plan, workers: int
) -> Iterator[Result]:
    """Explain recordings with networks in this process, while forked ones read the next and save the last sounds.

    Args:
        explainer: Classifier and interpreter, on any device.
        recordings: Recordings.
        plan: What to do.
        workers: Number of processes that read and save.
    """
    rate_hz, limit = explainer.sample_rate_hz, MemoryLimit()

    def handle(kind: str, items: list[Any]) -> Iterator[tuple[int, Any]]:
        if kind == "read":
            return enumerate(read_chunk(items, rate_hz, plan))
        return enumerate(itertools.starmap(partial(save_sound, plan=plan), items))

    with Pool(handle, workers, _failed) as pool:
        divided = chunks(recordings, plan.batch_size)
        reading = deque(pool.submit("read", chunk) for chunk in itertools.islice(divided, _AHEAD * workers))
        saving: deque[Job | Result] = deque()
        while reading:
            entries = pool.wait(reading.popleft())
            reading.extend(pool.submit("read", chunk) for chunk in itertools.islice(divided, 1))
            sounds = [entry for entry in entries if isinstance(entry, Sound)]
            explanations = explain_sounds(explainer, sounds, plan, limit)
            for entry in entries:
                if isinstance(entry, Result):
                    saving.append(entry)
                else:
                    sound, explanation = next(explanations)
                    if isinstance(explanation, Exception):  # which need not be one that can be sent
                        saving.append(failed_result(sound.recording, explanation))
                    else:
                        saving.append(pool.submit("save", [(sound.without_waveform(), explanation)]))
                while len(saving) > _AHEAD * workers:
                    yield _finished(pool, saving.popleft())
        while saving:
            yield _finished(pool, saving.popleft())


def _finished(pool: Pool, entry: Job | Result) -> Result:
    if isinstance(entry, Result):
        return entry
    result: Result = pool.wait(entry)[0]
    return result


def _failed(item: Any, error: Exception) -> Result:
    """Return the failure of a recording that was to be read, or of a sound that was to be saved."""
    return failed_result(item if isinstance(item, Recording) else item[0].recording, error)
