"""The app under load: parallel users, and the memory of the server before and after many requests.

``python -m benchmarks.app_load`` starts ``otoscope app`` and prints JSON. A user is served, or asked to wait or to
come back; one that gets no answer is lost.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import soundfile
from benchmarks.machine import commit

from otoscope.app.interface import ALL_OTHERS, AREAS, PREDICTED
from otoscope.models import sample_recordings

PARTS = ("memory", "long_queue", "short_queue")


@dataclass(frozen=True)
class Options:
    """Options of the run.

    Attributes:
        users: Number of users that ask at the same moment.
        requests: Number of requests, one after the other, each of a new visitor, after the first reading of the
            memory.
        warm_up: Number of requests before the first reading.
        seconds: Length of the recordings of the memory measurement; those of the parallel users have 5 s.
        method: Method of the memory measurement and of the parallel users.
        queue: Length of the queue for the second round of users.
        timeout_s: Seconds that a user waits for an answer.
    """

    users: int = 20
    requests: int = 300
    warm_up: int = 100
    seconds: float = 1.0
    method: str = "saliency"
    queue: int = 5
    timeout_s: float = 600.0


@dataclass
class Answers:
    """Answers to users.

    Attributes:
        outcomes: Outcome of each user: ``served``, ``asked to come back``, or what went wrong.
        seconds: Seconds until each answer.
        waits: Seconds of waiting that each queue stated first.
        paths: Number of answers that hold a path of the server.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    paths: int = 0


class Server:
    """The app in a process of its own.

    Args:
        queue: Length of its queue.
    """

    def __init__(self, queue: int) -> None:
        self.log = Path(tempfile.mkdtemp(prefix="app-load-")) / "log"
        command = [sys.executable, "-m", "otoscope", "app", "--port", "0", "--queue", str(queue)]
        with self.log.open("w", encoding="utf-8") as messages:
            self.process = subprocess.Popen(command, stdout=messages, stderr=subprocess.STDOUT)
        while "Open http" not in self.log.read_text(encoding="utf-8"):
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text(encoding="utf-8"))
            time.sleep(0.1)
        self.address = self.log.read_text(encoding="utf-8").partition("Open ")[2].split()[0]
        self.config = json.loads(self.get("/config"))

    def get(
        self, path: str, body: bytes | None = None, kind: str = "application/json", timeout_s: float = 60
    ) -> str:
        """Return the text of an answer."""
        request = urllib.request.Request(self.address + path, body, {"content-type": kind})
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            text: str = answer.read().decode()
            return text

    def function(self, name: str) -> int:
        """Return the number of a function."""
        numbers: list[int] = [call["id"] for call in self.config["dependencies"] if call["api_name"] == name]
        return numbers[0]

    def upload(self, path: Path) -> str:
        """Upload a file as a browser does, and return its name in requests."""
        head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'
        body = head.encode() + path.read_bytes() + b"\r\n--b--\r\n"
        names: list[str] = json.loads(self.get("/gradio_api/upload", body, "multipart/form-data; boundary=b"))
        return names[0]

    def memory_mb(self) -> float:
        """Return the memory that the process has of its own: without pages of files, which the system drops."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        match = re.search(r"RssAnon:\s+(\d+) kB", status)
        return int(match[1]) / 1024 if match else float("nan")

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait(60)


def ask(server: Server, user: str, options: Options, answers: Answers, sounds: Sequence[Path]) -> None:
    """Upload, ask, and wait for the answer as a browser does: by events that state the place in the queue."""
    begin = time.monotonic()
    sample = sounds[len(answers.seconds) % len(sounds)]
    try:
        file = {"path": server.upload(sample), "meta": {"_type": "gradio.FileData"}}
        data = [file, "", PREDICTED, ALL_OTHERS, options.method, AREAS[0], 10]
        call = {"data": data, "fn_index": server.function("explain"), "session_hash": user}
        server.get("/gradio_api/queue/join", json.dumps(call).encode())
        outcome = _wait(server, user, options, answers)
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        outcome = "asked to come back" if error.code == 503 and "ueue is full" in text else f"HTTP {error.code}"
    except OSError as error:
        outcome = f"lost: {type(error).__name__}"
    answers.outcomes[outcome] += 1
    answers.seconds.append(time.monotonic() - begin)


def _wait(server: Server, user: str, options: Options, answers: Answers) -> str:
    """Read the events of a user until the last one, and return its outcome."""
    address = f"{server.address}/gradio_api/queue/data?session_hash={user}"
    with urllib.request.urlopen(address, timeout=options.timeout_s) as events:
        for line in events:
            if not line.startswith(b"data:"):
                continue
            event = json.loads(line.removeprefix(b"data:"))
            answers.paths += b"otoscope-app-" in line
            if event["msg"] == "estimation" and event.get("rank_eta") is not None:
                answers.waits.append(event["rank_eta"])
            if event["msg"] == "process_completed":
                return "served" if event["success"] and "results/" in str(event["output"]) else "error"
    return "lost: the events ended"


def ask_at_once(server: Server, options: Options) -> dict[str, Any]:
    """Let all users ask at the same moment, and return what became of them."""
    answers = Answers()
    sounds = [sample.path for sample in sample_recordings()[:2]]
    threads = [
        threading.Thread(target=ask, args=(server, f"user{number}x{time.monotonic_ns()}", options, answers, sounds))
        for number in range(options.users)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    welcome = {"served", "asked to come back"}
    return {
        "users": options.users,
        "outcomes": dict(answers.outcomes),
        "lost": sum(count for name, count in answers.outcomes.items() if name not in welcome),
        "seconds_median": round(statistics.median(answers.seconds), 2),
        "seconds_longest": round(max(answers.seconds), 2),
        "stated_waits": len(answers.waits),
        "stated_wait_longest_s": round(max(answers.waits, default=0.0), 2),
        "answers_with_a_path": answers.paths,
    }


def memory(server: Server, options: Options) -> dict[str, Any]:
    """Return the memory of the server before and after many requests, one after the other."""
    answers, readings = Answers(), {0: server.memory_mb()}
    with tempfile.TemporaryDirectory() as folder:
        sounds = _short_sounds(Path(folder), options.seconds)
        for number in range(1, options.warm_up + options.requests + 1):
            ask(server, f"memory{number}", options, answers, sounds)
            if number % 10 == 0 or number == options.warm_up:
                readings[number] = server.memory_mb()
                print(f"app_load: {number} requests, {readings[number]:.1f} MB", file=sys.stderr, flush=True)
    return {
        "warm_up": options.warm_up,
        "requests": options.requests,
        "outcomes": dict(answers.outcomes),
        "before_mb": round(readings[options.warm_up], 1),
        "after_mb": {
            str(count): round(readings[options.warm_up + count], 1)
            for count in range(100, options.requests + 1, 100)
        },
        "by_requests_in_all_mb": {str(number): round(reading, 1) for number, reading in readings.items()},
        "seconds_median": round(statistics.median(answers.seconds), 2),
    }


def _short_sounds(folder: Path, seconds: float) -> list[Path]:
    """Write the begin of two samples into a folder."""
    paths = []
    for sample in sample_recordings()[:2]:
        sound, rate_hz = soundfile.read(sample.path)
        paths.append(folder / f"{sample.name}.wav")
        soundfile.write(paths[-1], sound[: round(seconds * rate_hz)], rate_hz)
    return paths


def measure(options: Options, parts: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run measurements, and yield the name and the result of each."""
    for part in parts:
        conditions = _conditions(options)
        server = Server(options.queue if part == "short_queue" else max(options.users, 1))
        try:
            result = memory(server, options) if part == "memory" else ask_at_once(server, options)
        finally:
            server.stop()
        conditions["load_average_at_end"] = [round(load, 2) for load in os.getloadavg()]
        yield part, {**result, "conditions": conditions}


def _conditions(options: Options) -> dict[str, Any]:
    """Return what the numbers depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "usable_cores": cores,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "gradio": version("gradio"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "model": "the bundled model",
        **asdict(options),
    }


def main() -> None:
    """Measure, and print the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in vars(Options()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--out", type=Path, default=None, help="File for the JSON (default: the terminal alone).")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="Parts to measure; others stay.")
    arguments = vars(parser.parse_args())
    out, parts = arguments.pop("out"), arguments.pop("only")
    results = json.loads(out.read_text(encoding="utf-8")) if out is not None and out.exists() else {}
    for part, result in measure(Options(**arguments), parts):
        results[part] = result
        if out is not None:
            out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
