"""Explain recordings on the machines of a Ray cluster: a `Backend` of actors that hold the model.

Actors and not Ray Data: a data set of Ray makes a whole block again after a death, and is given up as a whole if
actors die of the same recording again and again. Here a recording that kills its process costs itself alone,
batches are those of the other backends, and each result arrives once, in order.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import socket
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Self

import torch

from otoscope.errors import ConfigurationError, MissingExtraError, OtoscopeError, first_line
from otoscope.explain import Explainer
from otoscope.pool import Job, Try, sendable
from otoscope.recordings.batches import MemoryLimit, chunks, explain_chunk, failed_result
from otoscope.recordings.files import Recording
from otoscope.recordings.plan import Backend, Plan
from otoscope.recordings.results import Result
from otoscope.recordings.uris import Uri

_AHEAD = 3
"""Batches in the queue for each actor: enough that none waits, and few enough that memory stays bounded."""
_KIND = "explain"
_DIED = (
    "its worker on the cluster died twice, usually because the memory did not suffice; use fewer --workers, or cut "
    "the recording into shorter ones"
)


def require_ray() -> Any:
    """Return the module ray.

    Raises:
        MissingExtraError: It is not installed.
    """
    # No data about the use is sent, unless the user has asked for it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingExtraError(
            "--backend ray needs Ray; install it with pip install 'otoscope[cluster]'"
        ) from error


def ray_actors(workers: int | None = None) -> Backend:
    """Return the backend that explains recordings on a Ray cluster.

    The cluster is the one that this process is connected to, or that the variable ``RAY_ADDRESS`` names. Without
    one, it consists of this machine and ends with the run.

    Args:
        workers: Number of actors (default: one for each core of the cluster, or each GPU if the model is on one).

    Raises:
        MissingExtraError: Ray is not installed.
    """
    require_ray()
    return partial(explain_on_ray, workers=workers)


def explain_on_ray(
    explainer: Explainer, recordings: Sequence[Recording], plan: Plan, workers: int | None = None
) -> Iterator[Result]:
    """Explain recordings by actors, each of which reads and explains whole batches, with one thread.

    Rows of shards come back to this process, which writes them. Folders are written by the actors, all of which
    have to see the folder of the results.

    Args:
        explainer: Classifier and interpreter. They are sent to the actors by pickle, and run there on a GPU if they
            are on one here.
        recordings: Recordings, whose files or URIs the actors can read.
        plan: What to do.
        workers: Number of actors; see `ray_actors`.

    Raises:
        ConfigurationError: The model cannot be sent, a recording is in the memory of this process, or an actor does
            not see the folder of the results.
        MissingExtraError: Ray is not installed.
    """
    ray = require_ray()
    if not recordings:
        return
    for recording in recordings:
        if isinstance(recording.path, Uri) and recording.path.scheme == "memory":
            raise ConfigurationError(f"{recording.path}: is in the memory of this process; use --backend local")
    model = packed(explainer)
    with connected(ray, workers):
        device = explainer.classifier.frontend.window.device.type
        resource = "CPU" if device == "cpu" else "GPU"
        count = workers or int(ray.cluster_resources().get(resource, 0)) or 1
        setup = (ray.put(model), plan, os.getcwd(), list(sys.path), device)  # noqa: PTH109 - sent as text
        with _Actors(ray, min(count, -(-len(recordings) // plan.batch_size)), resource, setup) as actors:
            jobs: deque[Job] = deque()
            for chunk in chunks(recordings, plan.batch_size):
                jobs.append(actors.submit(chunk))
                if len(jobs) == _AHEAD * count:
                    yield from actors.wait(jobs.popleft())
            while jobs:
                yield from actors.wait(jobs.popleft())


class _Explaining:
    """What an actor does: it opens the model once and explains batches.

    Args:
        model: Packed model, see `packed`.
        plan: What to do.
        folder: Current folder of the process that started the run, which relative paths start from.
        search_path: Folders in which that process finds modules, such as those of the user's classifier.
        device: Kind of the device that runs the networks.
    """

    def __init__(self, model: bytes, plan: Plan, folder: str, search_path: list[str], device: str) -> None:
        self._model, self._plan, self._folder, self._device = model, plan, folder, device
        self._explainer: Explainer | None = None
        self._limit = MemoryLimit()
        sys.path += [path for path in search_path if path not in sys.path]

    def explain(self, chunk: Sequence[Recording]) -> list[Result] | Exception:
        """Return the result of each recording, or the error that ends the run."""
        try:
            if self._explainer is None:
                self._explainer = self._opened()
            return [result for _, result in explain_chunk(self._explainer, chunk, self._plan, self._limit)]
        except Exception as error:
            return sendable(error)

    def _opened(self) -> Explainer:
        with contextlib.suppress(OSError):  # another machine need not have it
            os.chdir(self._folder)
        if not self._plan.in_shards and not self._plan.folder.is_dir():
            raise ConfigurationError(
                f"{self._plan.folder}: the machine {socket.gethostname()} does not see this folder; use --shards, "
                "or an --out that all machines share"
            )
        # As in the processes of the local backend: the order of additions, and so the digits, are the same.
        torch.set_num_threads(1)
        try:
            # These bytes come from the process that started this actor, and from nowhere else.
            explainer: Explainer = torch.load(io.BytesIO(self._model), self._device, weights_only=False)
        except Exception as error:
            raise OtoscopeError(
                f"the model cannot be opened on the machine {socket.gethostname()} ({first_line(error)}); it needs "
                "the same packages and modules as this one"
            ) from error
        return explainer


class _Actors:
    """Actors that explain batches, each one at a time; one that dies is replaced.

    As in `Pool`, the recordings of a batch whose actor has died are tried once more, each alone.

    Args:
        ray: Module.
        count: Number of actors.
        resource: ``CPU`` or ``GPU``: what each takes one of.
        setup: Arguments of `_Explaining`.
    """

    def __init__(self, ray: Any, count: int, resource: str, setup: tuple[Any, ...]) -> None:
        self._ray, self._setup = ray, setup
        self._class = ray.remote(**{f"num_{resource.lower()}s": 1}, max_restarts=0)(_Explaining)
        self._tries: deque[Try] = deque()
        self._idle = [self._class.remote(*setup) for _ in range(count)]
        self._running: dict[Any, tuple[Any, Try]] = {}

    def submit(self, chunk: Sequence[Recording]) -> Job:
        """Queue a batch and return its job."""
        job = Job(_KIND, chunk)
        self._tries.append(Try(job, list(range(len(chunk)))))
        self._assign()
        return job

    def wait(self, job: Job) -> list[Result]:
        """Return the result of each recording of a batch, in their order.

        Raises:
            Exception: What ends the run: a full disk, or a model that cannot be opened.
        """
        while not job.is_done:
            self._assign()
            ready, _ = self._ray.wait(list(self._running))
            for reference in ready:
                self._receive(reference)
        return [job.replies[position] for position in range(len(job.items))]

    def _assign(self) -> None:
        while self._idle and self._tries:
            actor, current = self._idle.pop(), self._tries.popleft()
            self._running[actor.explain.remote(current.message[1])] = (actor, current)

    def _receive(self, reference: Any) -> None:
        actor, current = self._running.pop(reference)
        try:
            reply = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError:  # of the actor, of its machine, or its reply was lost with it
            self._end(actor)
            self._idle.append(self._class.remote(*self._setup))
            self._tries.extendleft(reversed(current.after_death(failed_result, _DIED)))
            return
        if isinstance(reply, Exception):
            raise reply
        self._idle.append(actor)
        current.job.replies.update(zip(current.positions, reply, strict=True))

    def _end(self, actor: Any) -> None:
        """End an actor, which may be alive where only its connection has failed."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(actor)

    def __enter__(self) -> Self:
        """Return the actors."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all actors."""
        for actor in [*self._idle, *(actor for actor, _ in self._running.values())]:
            self._end(actor)


def packed(model: Any) -> bytes:
    """Return a model as bytes for other processes, on any device.

    Raises:
        ConfigurationError: It holds what cannot be sent.
    """
    from ray import cloudpickle

    buffer = io.BytesIO()
    try:
        torch.save(model, buffer, pickle_module=cloudpickle)
    except Exception as error:  # any: of the objects in a user's classifier
        raise ConfigurationError(
            f"the model cannot be sent to other processes ({first_line(error)}); use --backend local"
        ) from error
    return buffer.getvalue()


@contextlib.contextmanager
def connected(ray: Any, workers: int | None) -> Iterator[None]:
    """Connect to a cluster, and end the connection and a cluster of this machine alone afterwards.

    Raises:
        OtoscopeError: There is no cluster at the address, or none can be started.
    """
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    here = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(configure_logging=False, log_to_driver=False, **({} if address else here))
    except Exception as error:  # of several kinds
        place = (
            f"RAY_ADDRESS {address}: cannot be connected to" if address else "no Ray cluster can be started here"
        )
        raise OtoscopeError(f"{place} ({first_line(error)})") from error
    try:
        yield
    finally:
        ray.shutdown()
