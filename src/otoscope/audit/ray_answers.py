"""Answers of the classifier on the machines of a Ray cluster."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from otoscope.audit.answers import Request, Responder
from otoscope.recordings.ray_backend import connected, packed, require_ray

_AHEAD = 3
"""Chunks in the queue for each actor: enough that none waits."""


class RayAnswers:
    """Actors that hold classifier and clips, and answer chunks of requests; use it as a context.

    An actor that dies is started again, and its chunk is tried once more.

    Args:
        workers: Number of actors (default: one for each core of the cluster).

    Raises:
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._ray = require_ray()
        self._workers = workers
        self._stack = contextlib.ExitStack()
        self._actors: list[Any] = []
        self._responder: Responder | None = None

    def __enter__(self) -> Self:
        """Connect to the cluster."""
        self._stack.enter_context(connected(self._ray, self._workers))
        return self

    def __exit__(self, *_: object) -> None:
        """End the actors and the connection."""
        self._end()
        self._stack.close()

    def __call__(self, responder: Responder, chunks: Sequence[Sequence[Request]]) -> Iterator[Tensor]:
        """Yield the logits of each chunk, in their order."""
        if self._responder is not responder:
            self._end()
            self._start(responder)
        waiting: list[Any] = []
        for number, chunk in enumerate(chunks):
            # Functions and sounds of the user travel inside the requests, so these are packed like the classifier.
            actor = self._actors[number % len(self._actors)]
            waiting.append(actor.answer.remote(packed(list(chunk))))
            if len(waiting) == _AHEAD * len(self._actors):
                yield self._ray.get(waiting.pop(0))
        yield from map(self._ray.get, waiting)

    def _start(self, responder: Responder) -> None:
        count = self._workers or int(self._ray.cluster_resources().get("CPU", 1))
        kind = self._ray.remote(num_cpus=1, max_restarts=2, max_task_retries=1)(_Listener)
        setup = (self._ray.put(packed(responder)), list(sys.path))
        self._actors = [kind.remote(*setup) for _ in range(count)]
        self._responder = responder

    def _end(self) -> None:
        for actor in self._actors:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)
        self._actors, self._responder = [], None


class _Listener:
    """What an actor does: it unpacks classifier and clips once, and answers chunks with one thread."""

    def __init__(self, model: bytes, search_path: list[str]) -> None:
        sys.path += [path for path in search_path if path not in sys.path]
        torch.set_num_threads(1)
        self._responder: Responder = _unpacked(model)

    def answer(self, chunk: bytes) -> Tensor:
        """Return the logits of a chunk."""
        return self._responder(_unpacked(chunk))


def _unpacked(content: bytes) -> Any:
    # These bytes come from the process that started this actor, and from nowhere else.
    return torch.load(io.BytesIO(content), "cpu", weights_only=False)
