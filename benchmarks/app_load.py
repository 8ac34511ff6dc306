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
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from otoscope.app.interface import ALL_OTHERS, AREAS, PREDICTED
from otoscope.models import sample_recordings


@dataclass(frozen=True)
class Options:
    """Options of the run.

    Attributes:
        users: Number of users that ask at the same moment.
        requests: Number of requests, one after the other, between two readings of the memory.
        warm_up: Number of requests before the first reading.
        method: Method of the memory measurement and of the parallel users.
        queue: Length of the queue for the second round of users.
        timeout_s: Seconds that a user waits for an answer.
    """

    users: int = 20
    requests: int = 100
    warm_up: int = 10
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

    def resident_mb(self) -> float:
        """Return the memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(match[1]) / 1024 if match else float("nan")

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait(60)


def ask(server: Server, user: str, options: Options, answers: Answers) -> None:
    """Upload, ask, and wait for the answer as a browser does: by events that state the place in the queue."""
    begin = time.monotonic()
    sample = sample_recordings()[len(answers.seconds) % 2].path
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
    threads = [
        threading.Thread(target=ask, args=(server, f"user{number}x{time.monotonic_ns()}", options, answers))
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
    answers = Answers()
    for number in range(options.warm_up):
        ask(server, f"warm{number}", options, answers)
    readings = [server.resident_mb()]
    for number in range(options.requests):
        ask(server, f"memory{number}", options, answers)
        if (number + 1) % 10 == 0:
            readings.append(server.resident_mb())
    return {
        "warm_up": options.warm_up,
        "requests": options.requests,
        "outcomes": dict(answers.outcomes),
        "before_mb": round(readings[0], 1),
        "after_mb": round(readings[-1], 1),
        "every_10_requests_mb": [round(reading, 1) for reading in readings],
        "seconds_median": round(statistics.median(answers.seconds), 2),
    }


def measure(options: Options) -> dict[str, Any]:
    """Run all measurements."""
    server = Server(queue=max(options.users, 1))
    try:
        result: dict[str, Any] = {"memory": memory(server, options), "long_queue": ask_at_once(server, options)}
    finally:
        server.stop()
    server = Server(queue=options.queue)
    try:
        result["short_queue"] = {"queue": options.queue, **ask_at_once(server, options)}
    finally:
        server.stop()
    return result


def _conditions(options: Options) -> dict[str, Any]:
    """Return what the numbers depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    git = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "usable_cores": cores,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "gradio": version("gradio"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit or None,
        "model": "the bundled model",
        "seconds_per_recording": 5,
        **asdict(options),
    }


def main() -> None:
    """Measure, and print the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in vars(Options()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--out", type=Path, default=None, help="File for the JSON (default: the terminal alone).")
    arguments = vars(parser.parse_args())
    out: Path | None = arguments.pop("out")
    options = Options(**arguments)
    described = _conditions(options)
    result = measure(options)
    described["load_average_at_end"] = [round(load, 2) for load in os.getloadavg()]
    text = json.dumps({"conditions": described, **result}, indent=2)
    print(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
