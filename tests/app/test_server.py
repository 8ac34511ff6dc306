"""A running server: what it answers and refuses. No browser is needed."""

import json
import re
import socket
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.app.running import file_data, running, save_model

from otoscope.app.interface import ALL_OTHERS, AREAS, PREDICTED
from otoscope.app.server import listen
from otoscope.errors import ConfigurationError

DEFAULTS = (PREDICTED, ALL_OTHERS, "", AREAS[0], 10)


def sound(seconds=0.5, rate_hz=16_000, **options):
    buffer = BytesIO()
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate_hz))
    soundfile.write(buffer, samples, rate_hz, format=options.pop("format", "WAV"), **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The app with a small model, files up to 1 MB and 5 s."""
    folder = tmp_path_factory.mktemp("app")
    model = save_model(folder / "secret place" / "mine")
    limits = ["--max_upload_mb", "1", "--max_duration_s", "5"]
    with running(folder, "--model", str(model), "--method", "saliency", *limits) as server:
        yield server
    # SIGTERM ends the app, and nothing remains.
    assert server.process.returncode == 143
    # Gradio logs values that no field offers; nothing in this package failed.
    assert "src/otoscope" not in server.log.read_text()


def uploaded(server, name, content):
    status, text = server.upload(name, content)
    assert status == 200, text
    return json.loads(text)[0]


def test_upload_is_explained_and_downloaded(server):
    event, data = server.call("explain", file_data(uploaded(server, "my dog.wav", sound())), "", *DEFAULTS)
    assert event == "complete", data
    html = json.loads(data)[0]
    assert "my dog: " in html
    token = re.search(r"results/([\w-]{22})/report.html", html)[1]
    status, page = server.ask(f"/results/{token}/report.html")
    assert status == 200
    assert "data-otoscope-player" in page
    assert server.ask(f"/results/{token}/explanation.zip")[0] == 200
    for text in (html, page, server.ask("/")[1], server.ask("/config")[1], server.ask("/gradio_api/info")[1]):
        assert "otoscope-app-" not in text  # the folder of the server
        assert "secret place" not in text


def test_sample_target_and_contrast(server):
    event, data = server.call("explain", None, "dog", "rain", "rooster", "grad_cam", "a share", 20)
    assert event == "complete", data
    assert "dog: rain (p = " in json.loads(data)[0]


def archive():
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("x", "y")
    return buffer.getvalue()


def two_hours():
    buffer = BytesIO()
    with soundfile.SoundFile(buffer, "w", 8_000, 1, format="FLAC") as file:
        for _ in range(120):
            file.write(np.zeros(60 * 8_000, np.int16))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.wav", archive, "a.wav: not a sound file that can be read"),
        ("night.flac", two_hours, "night.flac: lasts 7200.0 s; this app explains recordings of at most 5 s."),
        ("../../etc/passwd", lambda: b"root:x:0:0", "passwd: not a sound file that can be read"),
        ("a.wav", lambda: sound()[:-1000], "a.wav: truncated"),
    ],
)
def test_what_is_no_short_recording_is_refused_in_one_line(server, name, make, message):
    path = uploaded(server, name, make())
    assert path.startswith("uploads/")
    event, data = server.call("explain", file_data(path), "", *DEFAULTS)
    assert event == "error"
    error = json.loads(data)["error"]
    assert error.startswith(message)
    assert "\n" not in error
    assert "otoscope-app-" not in error


def test_upload_of_500_mb_is_refused(server):
    # Only the announcement is sent: the answer must come without the rest.
    host, port = server.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 500000000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
        )
        answer = connection.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 413")
    assert answer.endswith("The file is too large: this app accepts at most 1 MB.")


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "http://127.0.0.1:9/a.wav"])
def test_file_that_is_no_upload_is_refused(server, path):
    status, text = server.call("explain", file_data(path), "", *DEFAULTS)
    assert (status, text) == (
        "400",
        "Upload a recording first: this app takes neither paths nor addresses of files.",
    )
    assert server.ask(f"/gradio_api/file={path}") == (404, "There is no such file.")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((None, "", *DEFAULTS), "Upload or record a sound first"),
        ((None, "/etc/passwd", *DEFAULTS), "/etc/passwd"),  # the visitor's own words
        ((None, "dog", "bird", ALL_OTHERS, "", AREAS[0], 10), "bird"),
        ((None, "dog", PREDICTED, "rain", "", AREAS[0], 10), "choose the target too"),
        ((None, "dog", PREDICTED, ALL_OTHERS, "piq", AREAS[0], 10), "piq"),
    ],
)
def test_choice_that_does_not_exist_is_refused(server, values, message):
    event, data = server.call("explain", *values)
    assert event == "error"
    assert message in json.loads(data)["error"]


def test_name_of_another_host_is_refused(server):
    assert server.ask("/", host="attacker.example")[0] == 400


def test_port_in_use_is_an_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match=r"--port \d+: cannot be used .* another port"):
            listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigurationError, match="--port 70000: must lie"):
        listen("127.0.0.1", 70_000)
    free = listen("127.0.0.1", 0)
    assert free.getsockname()[0] == "127.0.0.1"
    free.close()


def test_browser_that_comes_before_the_server_runs_waits():
    """The address is printed before the server runs."""
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname(), timeout=5) as early:
        accepted, address = listening.accept()
        assert address == early.getsockname()
        accepted.close()


def test_assets_are_part_of_the_package():
    from importlib.resources import files

    assert {path.name for path in (files("otoscope.app") / "assets").iterdir()} >= {"app.css", "app.js", "frame.js"}
    assert "app/assets/*" in (Path(__file__).parents[2] / "pyproject.toml").read_text()
