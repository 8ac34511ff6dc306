"""A running server of the app, started by its command line."""

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from otoscope.classifiers import Conv2dClassifier

STARTING_S = 120
ANSWERING_S = 120


@dataclass
class Server:
    """A running server.

    Attributes:
        address: Its address.
        process: Its process.
        log: File that its messages go to.
    """

    address: str
    process: subprocess.Popen
    log: Path

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        """Return status and text of the answer to a request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.address + path, body, named)
        try:
            with urllib.request.urlopen(request, timeout=ANSWERING_S) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def upload(self, name: str, content: bytes) -> tuple[int, str]:
        """Upload a file as a browser does."""
        head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + b"\r\n--b--\r\n"
        return self.ask("/gradio_api/upload", body, content_type="multipart/form-data; boundary=b")

    def call(self, name: str, *values: object) -> tuple[str, str]:
        """Call a function of the app and return the last event and its data."""
        body = json.dumps({"data": values}).encode()
        status, text = self.ask(f"/gradio_api/call/{name}", body, content_type="application/json")
        if status != 200:
            return str(status), text
        _, text = self.ask(f"/gradio_api/call/{name}/{json.loads(text)['event_id']}")
        lines = [line for line in text.splitlines() if line]
        return lines[-2].removeprefix("event: "), lines[-1].removeprefix("data: ")


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[Server]:
    """Run the app until the block ends; it must then end by SIGTERM and leave nothing."""
    pytest.importorskip("gradio", reason="needs gradio: pip install 'otoscope[app]'")
    log = folder / "app.log"
    command = [sys.executable, "-m", "otoscope", "app", "--port", "0", *options]
    with log.open("w") as messages:
        process = subprocess.Popen(command, stdout=messages, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + STARTING_S
        while "Open http" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the app did not start: {log.read_text()}")
            time.sleep(0.1)
        address = log.read_text().partition("Open ")[2].split()[0]
        yield Server(address, process, log)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def save_model(folder: Path, seed: int = 0) -> Path:
    """Save a classifier of three classes with random weights."""
    torch.manual_seed(seed)
    classifier = Conv2dClassifier(["dog", "rain", "rooster"], width=4, head_width=5)
    return classifier.save_pretrained(folder)


def file_data(path: str) -> dict[str, object]:
    """Return an uploaded file as requests name it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}
