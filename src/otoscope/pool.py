"""Processes forked from this one that work on jobs; one that dies costs only the job that it was working on."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import pickle
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from types import FrameType
from typing import Any, NamedTuple, Self

import torch

from otoscope.allocator import keep_freed_memory
from otoscope.errors import OtoscopeError, WorkerError

Handler = Callable[[str, list[Any]], Iterator[tuple[int, Any]]]
"""Function of the kind of a job and its items; it yields each position with the reply, in any order."""
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_PATIENCE_S = 5.0
_REPLY, _DONE, _ERROR = "reply", "done", "error"


def can_fork() -> bool:
    """Return whether processes can be forked from this one and share its memory: on Linux."""
    # macOS has fork, but its own libraries do not survive it.
    return sys.platform == "linux"


def gradients_survive_fork() -> bool:
    """Return whether a forked process can compute gradients.

    On a machine with an accelerator PyTorch starts threads when this process computes its first gradient, and a
    forked one cannot compute any without them.
    """
    if not torch.accelerator.is_available():
        return True
    process = get_context("fork").Process(target=_compute_gradient, daemon=True)
    process.start()
    process.join()
    return process.exitcode == 0


def _compute_gradient() -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        torch.zeros(1, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]


@dataclass
class Job:
    """Items that one process works on together.

    Attributes:
        kind: Kind, which the handler distinguishes.
        items: Items; they are sent by pickle.
        replies: Reply to each item by its position, as far as there are any.
    """

    kind: str
    items: Sequence[Any]
    replies: dict[int, Any] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether there is a reply to every item."""
        return len(self.replies) == len(self.items)


class Try(NamedTuple):
    """Items of a job that a process works on.

    Attributes:
        job: Job.
        positions: Positions of the items in it.
        is_last: Whether an item gets a failure if the process dies again.
    """

    job: Job
    positions: list[int]
    is_last: bool = False

    @property
    def message(self) -> tuple[str, list[Any]]:
        """Kind and items, as they are sent to a process."""
        return self.job.kind, [self.job.items[position] for position in self.positions]

    def after_death(self, failed: Callable[[Any, Exception], Any], description: str) -> list[Try]:
        """Return the tries that follow if the process has died: each item without a reply alone, once.

        Args:
            failed: Function that makes the reply of an item that is not tried again.
            description: How the process ended.
        """
        remaining = [position for position in self.positions if position not in self.job.replies]
        if not self.is_last:
            return [Try(self.job, [position], is_last=True) for position in remaining]
        for position in remaining:
            self.job.replies[position] = failed(self.job.items[position], WorkerError(description))
        return []


@dataclass
class _Worker:
    process: Any
    connection: Any
    current: Try | None = None


class Pool:
    """Processes that work on jobs, each on one at a time.

    When a process dies, from a signal or for lack of memory, the items of its job without a reply are tried once
    more, each alone, by a new process; an item whose process dies again gets ``failed`` as its reply. All processes
    end when the pool is closed, and the kernel ends them when this process dies.

    Args:
        handler: Function that works on a job, in the process.
        count: Number of processes.
        failed: Function that makes the reply of an item and the error that its process has died.
    """

    def __init__(self, handler: Handler, count: int, failed: Callable[[Any, Exception], Any]) -> None:
        self._handler, self._failed = handler, failed
        self._tries: deque[Try] = deque()
        self._workers: list[_Worker] = []
        self._context: Any = get_context("fork")
        for _ in range(count):
            self._start()

    def submit(self, kind: str, items: Sequence[Any]) -> Job:
        """Queue a job and return it."""
        job = Job(kind, items)
        self._tries.append(Try(job, list(range(len(items)))))
        self._assign()
        return job

    def wait(self, job: Job) -> list[Any]:
        """Return the reply to each item of a job, in their order, once there are all of them.

        Raises:
            Exception: The handler has raised it.
        """
        while not job.is_done:
            self._assign()
            ready = connection.wait([worker.connection for worker in self._workers])
            for worker in [worker for worker in self._workers if worker.connection in ready]:
                self._receive(worker)
        return [job.replies[position] for position in range(len(job.items))]

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.connection.close()
            # Idle processes end by themselves. The others remove their temporary files first.
            if worker.current is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_PATIENCE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes."""
        self.close()

    def _start(self) -> None:
        """Start a process.

        Raises:
            OtoscopeError: There is none, and none can be started.
        """
        here, there = self._context.Pipe()
        inherited = [here, *(worker.connection for worker in self._workers)]
        process = self._context.Process(
            target=_serve, args=(self._handler, there, inherited, os.getpid()), daemon=True
        )
        try:
            with warnings.catch_warnings():
                # Python warns of forks beside threads. Those of PyTorch sleep, and the new process uses none.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
        except OSError as error:
            here.close()
            if not self._workers:
                raise OtoscopeError(f"no process can be started ({error}); use --workers 1") from error
            return
        finally:
            there.close()  # so that the end of the process closes its side
        self._workers.append(_Worker(process, here))

    def _assign(self) -> None:
        for worker in list(self._workers):
            if worker.current is None and self._tries:
                worker.current = self._tries.popleft()
                try:
                    worker.connection.send_bytes(pickle.dumps(worker.current.message))
                except OSError:
                    self._replace(worker)

    def _receive(self, worker: _Worker) -> None:
        try:
            kind, position, value = pickle.loads(worker.connection.recv_bytes())
        except (EOFError, OSError):
            self._replace(worker)
            return
        if kind == _ERROR:
            raise value
        if kind == _DONE:
            worker.current = None
        elif worker.current is not None:
            worker.current.job.replies[worker.current.positions[position]] = value

    def _replace(self, worker: _Worker) -> None:
        """Start another process for one that has died, and queue what it has not finished."""
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        if worker.current is not None:
            tries = worker.current.after_death(self._failed, _description(worker.process.exitcode))
            self._tries.extendleft(reversed(tries))
        self._start()


def _description(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            cause = (
                "usually because the memory did not suffice; use fewer --workers, or cut the recording into "
                "shorter ones"
                if name == "SIGKILL"
                else "a fault of a library or of the classifier; try --workers 1"
            )
            return f"its process was ended twice, by {name} at last: {cause}"
    return f"its process ended twice, with exit code {code} at last; try --workers 1"


def _serve(handler: Handler, there: Any, inherited: Sequence[Any], parent: int) -> None:
    """Work on jobs until the connection ends: what a process of the pool does."""
    _die_with(parent)
    # Ctrl-C reaches every process of a terminal; the parent alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    for other in inherited:
        other.close()
    # The threads of a pool do not survive a fork. With one thread PyTorch needs none, as in its own loaders.
    torch.set_num_threads(1)
    keep_freed_memory()
    with contextlib.suppress(EOFError, OSError):
        while True:
            kind, items = pickle.loads(there.recv_bytes())
            try:
                for position, reply in handler(kind, items):
                    there.send_bytes(pickle.dumps((_REPLY, position, reply)))
                message: tuple[str, int | None, Any] = (_DONE, None, None)
            except Exception as error:
                message = (_ERROR, None, sendable(error))
            there.send_bytes(pickle.dumps(message))


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # so that temporary files are removed


def _die_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends, whatever ends it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before the call
        os._exit(1)


def sendable(error: Exception) -> Exception:
    """Return an error that another process can read, with its cause."""
    try:
        copy: Exception = pickle.loads(pickle.dumps(error))
    except Exception:  # an error whose constructor takes other arguments, for example
        return OtoscopeError(str(error))
    return copy
