"""Answers of the classifier to clips that were intervened on, computed once and kept in a file."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from otoscope.audit.clips import AuditClip
from otoscope.audit.cues import CandidateCue
from otoscope.classifiers import Classifier
from otoscope.errors import OtoscopeError
from otoscope.files.json_lines import JsonLines
from otoscope.pool import Job, Pool, can_fork

Action = Literal["plain", "removed", "removed elsewhere", "transplanted", "transplanted elsewhere"]

ANSWERS_NAME = "answers.jsonl"
_CHUNK = 16
_DIGITS = 5


@dataclass(frozen=True)
class Request:
    """A clip, and what is done to it before the classifier hears it.

    Attributes:
        clip: Index of the clip.
        action: What is done.
        cue: Cue; None if nothing is done.
        source: Index of the clip that the cue is taken from, for transplants.
    """

    clip: int
    action: Action = "plain"
    cue: CandidateCue | None = None
    source: int | None = None


class Answers:
    """The classifier, its clips and what it answered so far.

    Args:
        classifier: Frozen classifier.
        clips: Clips.
        folder: Folder of the file with the answers, which a later run reads; None to keep none.
        fingerprint: Text that changes with the classifier; answers of another one are not used.
        workers: Number of processes.
        progress: Whether to show a progress bar if it takes long.
        backend: Function that answers elsewhere, such as on a cluster (default: processes of this machine).
    """

    def __init__(
        self,
        classifier: Classifier,
        clips: Sequence[AuditClip],
        folder: Path | None = None,
        fingerprint: str = "",
        workers: int = 1,
        progress: bool = False,
        backend: AnswerBackend | None = None,
    ) -> None:
        self.backend = backend
        self.classifier, self.clips, self.fingerprint, self.progress = classifier, clips, fingerprint, progress
        self.sample_rate_hz = classifier.frontend.sample_rate_hz
        self.workers = workers if backend is not None or self._can_share() else 1
        self.responder = Responder(classifier, clips)
        self.computed, self.reused, self.seconds = 0, 0, 0.0
        self._known: dict[str, NDArray[np.float32]] = {}
        self._file = None if folder is None else JsonLines(folder / ANSWERS_NAME)
        if self._file is not None:
            self._file.repair()
            for row in self._file.read(skip_damaged=True):
                if len(row.get("logits") or ()) == len(classifier.labels):
                    self._known[str(row.get("key"))] = np.array(row["logits"], dtype=np.float32)
            self._stored = set(self._known)

    def ask(self, requests: Sequence[Request], purpose: str = "Listening") -> NDArray[np.float32]:
        """Return the logits for each request, shape (requests, classes).

        Args:
            requests: Requests; those that were answered before, in this run or in an earlier one, cost nothing.
            purpose: Text of the progress bar.

        Raises:
            OtoscopeError: The classifier returns NaN, a function of the user fails, or the file cannot be written.
        """
        start_s = time.perf_counter()
        keys = [self.key(request) for request in requests]
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in self._known}
        self.reused += sum(key in getattr(self, "_stored", ()) for key in set(keys))
        # neighbours are of one length and share their decoded source
        pending = sorted(missing.items(), key=lambda item: (item[1].clip, item[1].action, item[1].source or 0))
        chunks = [pending[first : first + _CHUNK] for first in range(0, len(pending), _CHUNK)]
        bar = tqdm(total=len(pending), desc=purpose, unit="clip", disable=not self.progress, delay=2, leave=False)
        with bar:
            parts = self._computed([[request for _, request in chunk] for chunk in chunks])
            for chunk, logits in zip(chunks, parts, strict=True):
                rows = [[float(f"{value:.{_DIGITS}g}") for value in row] for row in logits.tolist()]
                if self._file is not None:
                    self._file.append(
                        *({"key": key, "logits": row} for (key, _), row in zip(chunk, rows, strict=True))
                    )
                # The rounded values, so that a resumed run decides like an uninterrupted one.
                self._known |= {
                    key: np.array(row, dtype=np.float32) for (key, _), row in zip(chunk, rows, strict=True)
                }
                self.computed += len(chunk)
                bar.update(len(chunk))
        self.seconds += time.perf_counter() - start_s
        if not keys:
            return np.zeros((0, len(self.classifier.labels)), dtype=np.float32)
        return np.stack([self._known[key] for key in keys])

    def takes_for(self, requests: Sequence[Request], target: int, purpose: str = "Listening") -> NDArray[np.bool_]:
        """Return whether the classifier takes each clip for a class, shape (requests,)."""
        return decided(self.ask(requests, purpose), target, self.classifier.multi_label)

    def key(self, request: Request) -> str:
        """Return a short text that identifies a request, whatever the order of the clips."""
        source = "" if request.source is None else self.clips[request.source].key
        cue = "" if request.cue is None else request.cue.key
        text = f"{self.fingerprint}|{self.clips[request.clip].key}|{request.action}|{cue}|{source}"
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def waveform(self, request: Request) -> Tensor:
        """Return the sound of a request, shape (samples,)."""
        return intervened(request, self.clips, self.sample_rate_hz)

    def missing(self, requests: Sequence[Request]) -> int:
        """Return how many of the requests have no answer yet."""
        return len({key for key in map(self.key, requests) if key not in self._known})

    def _computed(self, chunks: Sequence[Sequence[Request]]) -> Iterator[Tensor]:
        answer = self.responder
        if self.backend is not None:
            yield from self.backend(answer, chunks)
            return
        if self.workers < 2 or len(chunks) < 2:
            yield from map(answer, chunks)
            return

        def handle(kind: str, items: list[Any]) -> Iterator[tuple[int, Any]]:
            return ((place, answer(item)) for place, item in enumerate(items))

        with Pool(handle, min(self.workers, len(chunks)), _raise_failure) as pool:
            jobs: list[Job] = [pool.submit("answer", [chunk]) for chunk in chunks]
            for job in jobs:
                [logits] = pool.wait(job)
                if isinstance(logits, Exception):
                    raise logits
                yield logits

    def _can_share(self) -> bool:
        on_cpu = self.classifier.frontend.window.device.type == "cpu"
        return can_fork() and on_cpu and self.classifier.survives_fork


class Responder:
    """Function from requests to logits; it holds no file and can be sent to another process.

    Args:
        classifier: Classifier.
        clips: Clips.
    """

    def __init__(self, classifier: Classifier, clips: Sequence[AuditClip]) -> None:
        self.classifier, self.clips = classifier, clips

    @torch.no_grad()
    def __call__(self, requests: Sequence[Request]) -> Tensor:
        """Return the logits of requests, shape (requests, classes)."""
        rate_hz = self.classifier.frontend.sample_rate_hz
        device = self.classifier.frontend.window.device
        sounds = [intervened(request, self.clips, rate_hz) for request in requests]
        by_length: dict[int, list[int]] = defaultdict(list)
        for place, sound in enumerate(sounds):
            by_length[sound.numel()].append(place)
        logits = torch.zeros(len(requests), len(self.classifier.labels))
        for places in by_length.values():
            batch = torch.stack([sounds[place] for place in places]).to(device)
            spectrogram = self.classifier.hear(batch, with_phase=self.classifier.needs_phase)
            logits[places] = self.classifier.logits(spectrogram).float().cpu()
        return logits


def intervened(request: Request, clips: Sequence[AuditClip], sample_rate_hz: int) -> Tensor:
    """Return the sound of a request, shape (samples,).

    A control that a cue does not have leaves the sound as it is.
    """
    sound, cue = clips[request.clip].waveform, request.cue
    if request.action == "plain" or cue is None:
        return sound
    if request.action == "removed":
        return cue.removed(sound, sample_rate_hz)
    if request.action == "removed elsewhere":
        control = cue.removed_elsewhere(sound, sample_rate_hz)
        return sound if control is None else control
    if request.source is None:
        raise ValueError("a transplant needs a source")
    source = clips[request.source].waveform
    transplant: Callable[[Tensor, Tensor, int], Tensor | None] = (
        cue.transplanted if request.action == "transplanted" else cue.transplanted_elsewhere
    )
    result = transplant(sound, source, sample_rate_hz)
    return sound if result is None else result


def decided(logits: NDArray[np.float32], target: int, multi_label: bool) -> NDArray[np.bool_]:
    """Return whether logits decide for a class: it is the largest, or over a half where classes are independent."""
    if multi_label:
        result: NDArray[np.bool_] = logits[:, target] > 0
        return result
    return np.asarray(logits.argmax(1) == target)


def margins(logits: NDArray[np.float32], target: int, multi_label: bool) -> NDArray[np.float64]:
    """Return how far logits are from the border of the decision for a class; positive: it is decided for.

    Args:
        logits: Logits, shape (clips, classes).
        target: Index of the class.
        multi_label: Whether classes are independent.

    Returns:
        Logit of the class less the largest of the others, or less 0 where classes are independent. Shape (clips,).

    Example:
        >>> margins(np.array([[2.0, 1.0, -1.0], [0.0, 3.0, 1.0]], np.float32), 0, False)
        array([ 1., -3.])
    """
    values = np.asarray(logits, dtype=np.float64)
    if multi_label:
        return values[:, target]
    others = np.delete(values, target, axis=1)
    result: NDArray[np.float64] = values[:, target] - others.max(1, initial=-np.inf)
    return result


def _raise_failure(item: Any, error: Exception) -> Exception:
    return OtoscopeError(f"the classifier could not hear {len(item)} clips: {error}")


AnswerBackend = Callable[[Responder, Sequence[Sequence[Request]]], Iterator[Tensor]]
"""Function that yields the logits of each chunk of requests, in their order."""
