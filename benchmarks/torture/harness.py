"""Run of many hostile inputs in two processes: what opened, what was refused, and what must never happen."""

from __future__ import annotations

import argparse
import builtins
import collections
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

LIMIT_S = 5
"""Seconds of computing time, so that other processes on the machine do not count."""
_PATIENCE_S = 60
"""Silence of a process after which it counts as hanging outside of Python, where no alarm reaches it."""
_MEMORY_BYTES = 10 << 30
_PROCESSES = 2
_FAULTS = ("raw", "hang", "code")
_LAUNCHES = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn")
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")


class Trial(ABC):
    """Hostile inputs of one kind.

    Args:
        seed: Seed of all mutations.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @abstractmethod
    def prepare(self, folder: Path) -> None:
        """Write the sound inputs that are mutated, and files that no input may lead to, into an empty folder."""

    @abstractmethod
    def write(self, index: int, folder: Path) -> str:
        """Write a mutated input into an empty folder, and return what was done to it."""

    @abstractmethod
    def open(self, folder: Path) -> Any:
        """Open the input as a user would."""

    def use(self, opened: Any) -> None:  # noqa: B027  # nothing by default
        """Use what `open` returned; a named error need not name the input any more."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of one input.

    Attributes:
        index: Number of the input.
        status: ``opened``, ``refused``, ``raw`` (an exception that is no error of the package), ``hang`` or
            ``code`` (something outside the input was imported, run, read or asked for).
        detail: What was done to the input, and what happened.
    """

    index: int
    status: str
    detail: str


class _TimeLimitError(BaseException):
    """The time limit is over; no `Exception`, so that no code under test catches it."""


class Watch:
    """Watch over code, files and connections that an input must not reach.

    Args:
        outside: Folder of the planted files.
    """

    def __init__(self, outside: Path) -> None:
        self.outside, self.events = str(outside), list[str]()
        self.active = False
        sys.addaudithook(self._hook)
        # A question whether to trust somebody's code is answered as a careless user would.
        builtins.input = self._agree

    def _agree(self, prompt: object = "") -> str:
        self.events.append(f"asked {prompt!r}")
        return "y"

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in _LAUNCHES or event in _NETWORK:
            self.events.append(f"{event} {arguments[:2]!r}"[:200])
        elif event == "import" and str(arguments[0]).startswith("torture_canary"):
            self.events.append(f"import {arguments[0]}")
        elif event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(self.outside):
            self.events.append(f"open {arguments[0]}")


def run_case(trial: Trial, index: int, folder: Path, watch: Watch) -> Outcome:
    """Write one input and open it under a time limit."""
    case = folder / f"case{index}"
    case.mkdir()
    done = trial.write(index, case)
    watch.events.clear()
    previous = signal.signal(signal.SIGPROF, _raise_time_limit)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    watch.active = True
    try:
        status, fault = _opened(trial, case)
    # Outside of the other handlers, because the time may be over in one of them.
    except _TimeLimitError as error:
        status, fault = "hang", " < ".join(map(_place, reversed(traceback.extract_tb(error.__traceback__)[-12:])))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
        watch.active = False
        shutil.rmtree(case, ignore_errors=True)
    if watch.events:
        status, fault = "code", "; ".join(watch.events[:3])
    return Outcome(index, status, f"{done}: {fault}"[:600])


def _opened(trial: Trial, case: Path) -> tuple[str, str]:
    """Open an input, and return the status and the fault."""
    from otoscope.errors import OtoscopeError

    used = False
    try:
        opened = trial.open(case)
        used = True
        trial.use(opened)
    except OtoscopeError as error:
        named = used or ("\n" not in str(error) and str(case) in str(error))
        return "refused" if named else "raw", str(error)
    except (Exception, SystemExit) as error:
        last = _place(traceback.extract_tb(error.__traceback__)[-1])
        return "raw", f"{type(error).__name__}: {error} ({last})"
    return "opened", ""


def _place(frame: traceback.FrameSummary) -> str:
    return f"{Path(frame.filename).name}:{frame.lineno}"


def _raise_time_limit(*_: object) -> None:
    raise _TimeLimitError


def run_cases(trial: Trial, cases: range) -> list[Outcome]:
    """Run inputs in this process."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "sound").mkdir()
        (root / "cases").mkdir()
        trial.prepare(root / "sound")
        watch = Watch(root / "sound" / "outside")
        return [run_case(trial, index, root / "cases", watch) for index in cases]


@dataclass
class _Worker:
    """Process that runs every second input.

    Attributes:
        process: The process.
        index: Number of the input that it works on.
        heard_s: Time of its last answer.
        is_ready: Whether it has written the sound models and begun.
    """

    process: Any
    index: int
    heard_s: float
    is_ready: bool = False

    def is_silent(self) -> bool:
        """Return whether the process hangs where no alarm reaches it."""
        # The first input waits for imports and for the sound models.
        return time.monotonic() - self.heard_s >= _PATIENCE_S * (1 if self.is_ready else 20)


class _Workers:
    """Processes that run the inputs of a trial; one that dies or hangs is replaced from its next input on.

    Args:
        make: Class of the trial.
        cases: Number of inputs.
        seed: Seed of all mutations.
    """

    def __init__(self, make: Callable[[int], Trial], cases: int, seed: int) -> None:
        self.make, self.cases, self.seed = make, cases, seed
        self.outcomes: list[Outcome] = []
        self._context = multiprocessing.get_context("spawn")
        self._running: dict[Connection, _Worker] = {}

    def run(self) -> list[Outcome]:
        """Run all inputs, and return their outcomes."""
        for first in range(min(_PROCESSES, self.cases)):
            self._start(first)
        while self._running:
            ready = wait(list(self._running), timeout=1.0)
            for receiver, worker in list(self._running.items()):
                if receiver in ready:
                    self._receive(receiver, worker)
                # By the clock: `wait` returns at once while other processes have answers.
                elif worker.is_silent():
                    worker.process.kill()
                    self._replace(receiver, Outcome(worker.index, "hang", "outside of Python"))
        return self.outcomes

    def _start(self, first: int) -> None:
        if first >= self.cases:
            return
        receiver, sender = self._context.Pipe(duplex=False)
        arguments = (self.make, self.seed, first, self.cases, sender)
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        sender.close()
        self._running[receiver] = _Worker(process, first, time.monotonic())

    def _receive(self, receiver: Connection, worker: _Worker) -> None:
        try:
            outcome = receiver.recv()
        except EOFError:  # killed, for instance when memory ran out
            worker.process.join()
            detail = f"the process died with {worker.process.exitcode}"
            self._replace(receiver, Outcome(worker.index, "raw", detail))
            return
        worker.heard_s, worker.is_ready = time.monotonic(), True
        if outcome is None:
            self._running.pop(receiver).process.join()
        elif outcome.index >= 0:
            worker.index = outcome.index + _PROCESSES
            self._record(outcome)

    def _replace(self, receiver: Connection, outcome: Outcome) -> None:
        self._running.pop(receiver).process.join()
        self._record(outcome)
        self._start(outcome.index + _PROCESSES)

    def _record(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if outcome.status in _FAULTS:
            print(outcome, file=sys.stderr, flush=True)


def run_trial(make: Callable[[int], Trial], cases: int, seed: int) -> dict[str, Any]:
    """Run many inputs in two processes, and return the counts.

    Args:
        make: Class of the trial.
        cases: Number of inputs.
        seed: Seed of all mutations.

    Returns:
        ``cases``, ``opened``, ``refused``, ``raw_exceptions``, ``hangs``, ``code_run``, and examples of the last
        three under ``faults``.
    """
    outcomes = _Workers(make, cases, seed).run()
    counts = collections.Counter(outcome.status for outcome in outcomes)
    faults = [outcome for outcome in outcomes if outcome.status in _FAULTS]
    return {
        "cases": len(outcomes),
        "opened": counts["opened"],
        "refused": counts["refused"],
        "raw_exceptions": counts["raw"],
        "hangs": counts["hang"],
        "code_run": counts["code"],
        "faults": [f"{outcome.index} {outcome.status}: {outcome.detail}" for outcome in faults],
    }


def _work(make: Callable[[int], Trial], seed: int, first: int, cases: int, sender: Connection) -> None:
    """Run every second input, and send each outcome."""
    warnings.simplefilter("ignore")
    os.environ["OMP_NUM_THREADS"] = "1"
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    import torch

    torch.set_num_threads(1)
    trial = make(seed)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "sound").mkdir()
        (root / "cases").mkdir()
        trial.prepare(root / "sound")
        watch = Watch(root / "sound" / "outside")
        sender.send(Outcome(-1, "ready", ""))
        for index in range(first, cases, _PROCESSES):
            sender.send(run_case(trial, index, root / "cases", watch))
    sender.send(None)


def print_counts(main: Callable[[int, int], dict[str, Any]], cases: int) -> None:
    """Run a module of this folder as a command, which prints its counts as JSON.

    Args:
        main: Function of the module, from the number of cases and the seed to the counts.
        cases: Number of cases by default.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=cases, help="Number of inputs.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of all mutations.")
    options = parser.parse_args()
    counts = main(options.cases, options.seed)
    print(json.dumps(counts, indent=2))
    sys.exit(1 if counts["raw_exceptions"] or counts["hangs"] or counts["code_run"] else 0)
