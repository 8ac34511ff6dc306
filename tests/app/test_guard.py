"""Guard: addresses, sizes, paths in requests, headers. Gradio is replaced by an application that reports calls."""

import asyncio
import json

import pytest

from otoscope.app.guard import NOT_AN_UPLOAD, Guard, respond
from otoscope.app.limits import Limits
from otoscope.app.shelf import Shelf

UPLOAD = f"uploads/{'0a' * 32}/dog.wav"


class Behind:
    """Application behind the guard that reads its request and answers with its length."""

    def __init__(self):
        self.bodies = []

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client has gone")
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await respond(send, 200, str(len(body)).encode())


@pytest.fixture
def behind():
    return Behind()


@pytest.fixture
def guard(tmp_path, behind):
    (tmp_path / "uploads").mkdir()
    limits = Limits(upload_mb=0.5, duration_s=2)
    return Guard(behind, limits, Shelf(tmp_path / "results", 60), tmp_path / "uploads", lambda: "number,name\n")


def ask(guard, path, method="GET", body=b"", query=b"", announced=None, chunk=100_000):
    """Return status, headers and text of the answer to a request."""
    headers = [] if announced is None else [(b"content-length", str(announced).encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": query}
    parts = [body[begin : begin + chunk] for begin in range(0, len(body), chunk)] or [b""]
    sent = []

    async def receive():
        if not parts:
            return {"type": "http.disconnect"}
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    starts = [message for message in sent if message["type"] == "http.response.start"]
    assert len(starts) == 1
    headers = {name.decode(): value.decode() for name, value in starts[0]["headers"]}
    return starts[0]["status"], headers, b"".join(message.get("body", b"") for message in sent).decode()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/proxy=http://example.com/x"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/deep_link"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/run/explain"),
        ("POST", "/"),
        ("PUT", "/gradio_api/upload"),
        ("GET", "/results/../../etc/passwd"),
        ("GET", "/etc/passwd"),
    ],
)
def test_other_addresses_do_not_exist(guard, behind, method, path):
    status, _, text = ask(guard, path, method)
    assert (status, text, behind.bodies) == (404, "There is no such page.", [])


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../etc/passwd", "http://example.com/a.wav", f"{UPLOAD}/..", "results/x/report.html"]
)
def test_files_that_are_no_uploads_are_not_served(guard, behind, path):
    status, _, text = ask(guard, f"/gradio_api/file={path}")
    assert (status, text, behind.bodies) == (404, "There is no such file.", [])


def test_pages_and_uploads_are_served_with_headers(guard):
    for path in ("/", "/config", "/assets/a.js", f"/gradio_api/file={UPLOAD}", "/gradio_api/queue/data"):
        status, headers, _ = ask(guard, path)
        assert status == 200
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in headers["content-security-policy"]


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "http://169.254.169.254/x"])
@pytest.mark.parametrize("address", ["/gradio_api/queue/join", "/gradio_api/call/explain"])
def test_request_that_names_another_file_is_refused(guard, behind, address, path):
    body = json.dumps({"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}).encode()
    assert ask(guard, address, "POST", body)[::2] == (400, NOT_AN_UPLOAD)
    assert behind.bodies == []


def test_request_that_names_an_upload_is_handed_on_unchanged(guard, behind):
    body = json.dumps({"data": [{"path": UPLOAD}, "dog"]}).encode()
    status, _, _ = ask(guard, "/gradio_api/queue/join", "POST", body, chunk=7)
    assert (status, behind.bodies) == (200, [body])


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff"])
def test_request_that_is_no_json_is_refused(guard, behind, body):
    assert ask(guard, "/gradio_api/queue/join", "POST", body)[0] == 400
    assert behind.bodies == []


def test_upload_that_announces_too_much_is_refused_before_it_is_read(guard, behind):
    status, headers, text = ask(guard, "/gradio_api/upload", "POST", b"x", announced=500_000_000)
    assert (status, text) == (413, "The file is too large: this app accepts at most 0.5 MB.")
    assert headers["connection"] == "close"
    assert behind.bodies == []


@pytest.mark.parametrize("announced", [None, 10])
def test_upload_that_is_larger_than_announced_is_refused(guard, behind, announced):
    status, _, text = ask(guard, "/gradio_api/upload", "POST", b"x" * 700_000, announced=announced)
    assert (status, text) == (413, "The file is too large: this app accepts at most 0.5 MB.")
    assert behind.bodies == []


def test_upload_within_the_limit_is_handed_on(guard, behind):
    assert ask(guard, "/gradio_api/upload", "POST", b"x" * 500_000)[::2] == (200, "500000")


def test_upload_without_room_is_asked_to_wait(guard, behind, tmp_path):
    with (tmp_path / "uploads" / "x").open("wb") as file:
        file.truncate(guard.limits.storage_bytes)
    status, _, text = ask(guard, "/gradio_api/upload", "POST", b"x", announced=1)
    assert (status, text) == (503, "The room for uploads is full; try again in a few minutes.")
    assert behind.bodies == []


def test_large_request_is_refused(guard, behind):
    assert ask(guard, "/gradio_api/queue/join", "POST", b" " * 1_200_000)[0] == 413
    assert ask(guard, "/gradio_api/queue/join", "POST", b" ", announced=2_000_000)[0] == 413
    assert behind.bodies == []


def test_results_are_shown_without_access_to_the_app(guard):
    token = guard.shelf.add()
    (guard.shelf.folder / token / "report.html").write_text("<p>hello")
    address = f"/results/{token}/report.html"
    status, headers, text = ask(guard, address)
    assert (status, text) == (200, "<p>hello")
    assert headers["content-security-policy"].startswith("sandbox allow-scripts;")
    assert "content-disposition" not in headers
    assert ask(guard, address, query=b"download")[1]["content-disposition"] == 'attachment; filename="report.html"'
    guard.shelf.remove(token)
    assert ask(guard, address)[::2] == (404, "There is no such result; results are removed after 60 minutes.")


def test_table_of_the_review_is_served_if_there_is_one(guard):
    status, headers, text = ask(guard, "/review.csv")
    assert (status, text) == (200, "number,name\n")
    assert headers["content-type"].startswith("text/csv")
    guard.review_table = None
    assert ask(guard, "/review.csv")[0] == 404
