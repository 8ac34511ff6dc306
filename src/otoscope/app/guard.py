"""Guard in front of Gradio: which addresses exist, how much a request may hold, and which files it may name.

Gradio offers more than this app needs: proxies, downloads from addresses, monitoring, an editor. What is not listed
here does not exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from otoscope.app.limits import Limits, foreign_path, upload_name
from otoscope.app.shelf import FILES, Shelf, folder_bytes

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_API = "/gradio_api"
_PAGES = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/pwa_icon(/\d+)?|/(assets|static|svelte)/.+"
)
_CALLS = re.compile(
    rf"{_API}/(info/?|theme\.css|app_id/?|startup-events|heartbeat/\w+|upload_progress|queue/data|queue/join|cancel"
    r"|reset/?|upload|call/\w+(/\w+)?)"
)
_FILE = f"{_API}/file="
_UPLOAD = f"{_API}/upload"
_RESULT = re.compile(r"/results/(?P<token>[^/]+)/(?P<name>[^/]+)")
REVIEW_PATH = "/review.csv"
_JSON_BYTES = 1_000_000
_MULTIPART_BYTES = 100_000
"""Room for the headers of the parts of an upload."""
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
# A page of a result is made of what visitors upload: it gets no access to the app around it.
_RESULT_POLICY = "sandbox allow-scripts; frame-ancestors 'self'"
NOT_AN_UPLOAD = "Upload a recording first: this app takes neither paths nor addresses of files."


class Guard:
    """ASGI application around another one.

    Args:
        app: Application behind the guard.
        limits: Limits of uploads.
        shelf: Place of the results.
        uploads: Folder of the uploads.
        review_table: Function that returns the table of the review (default: there is no review).
    """

    def __init__(
        self,
        app: Application,
        limits: Limits,
        shelf: Shelf,
        uploads: Path,
        review_table: Callable[[], str] | None = None,
    ) -> None:
        self.app, self.limits, self.shelf, self.uploads = app, limits, shelf, uploads
        self.review_table = review_table

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, _with_headers(send))

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        reading = scope["method"] in ("GET", "HEAD")
        if reading and (result := _RESULT.fullmatch(path)):
            await self._send_result(result["token"], result["name"], scope, send)
        elif reading and path == REVIEW_PATH and self.review_table is not None:
            headers = {"content-disposition": 'attachment; filename="review.csv"'}
            await respond(send, 200, self.review_table().encode(), "text/csv; charset=utf-8", headers)
        elif reading and path.startswith(_FILE):
            if upload_name(path.removeprefix(_FILE)) is None:
                await respond(send, 404, b"There is no such file.")
            else:
                await self.app(scope, receive, send)
        elif reading and (_PAGES.fullmatch(path) or _CALLS.fullmatch(path)):
            await self.app(scope, receive, send)
        elif scope["method"] == "POST" and _CALLS.fullmatch(path):
            await self._post(scope, receive, send)
        else:
            await respond(send, 404, b"There is no such page.")

    async def _post(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        announced = int(length) if length.isdigit() else 0
        if scope["path"] == _UPLOAD:
            largest, refusal = self.limits.upload_bytes + _MULTIPART_BYTES, self.limits.too_large()
            if announced <= largest and folder_bytes(self.uploads) + announced > self.limits.storage_bytes:
                await respond(send, 503, b"The room for uploads is full; try again in a few minutes.")
                return
        else:
            largest, refusal = _JSON_BYTES, "The request is too large."
        if announced > largest:
            await respond(send, 413, refusal.encode(), headers={"connection": "close"})
        elif scope["path"] == _UPLOAD:
            await self._upload(scope, receive, send, largest)
        else:
            await self._call(scope, receive, send)

    async def _upload(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, largest: int) -> None:
        received = 0
        refused = answered = False

        async def counted() -> Message:
            nonlocal received, refused
            message = await receive()
            received += len(message.get("body", b""))
            if received > largest:  # no length was announced, or a wrong one
                refused = True
                return {"type": "http.disconnect"}
            return message

        async def passed(message: Message) -> None:
            nonlocal answered
            if not refused:
                answered = True
                await send(message)

        try:
            await self.app(scope, counted, passed)
        except Exception:
            if not refused:
                raise
        if refused and not answered:
            await respond(send, 413, self.limits.too_large().encode(), headers={"connection": "close"})

    async def _call(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more and len(body) <= _JSON_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if more:
            await respond(send, 413, b"The request is too large.", headers={"connection": "close"})
            return
        try:
            content = json.loads(body) if body else None
            refused = foreign_path(content)
        except (ValueError, RecursionError):
            await respond(send, 400, b"The request is no JSON.")
            return
        if refused:
            await respond(send, 400, NOT_AN_UPLOAD.encode())
            return
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)

    async def _send_result(self, token: str, name: str, scope: MutableMapping[str, Any], send: Send) -> None:
        path = self.shelf.file(token, name)
        try:
            content = path.read_bytes() if path is not None else None
        except FileNotFoundError:  # removed meanwhile
            content = None
        if content is None:
            text = f"There is no such result; results are removed after {self.limits.keep_min:g} minutes."
            await respond(send, 404, text.encode())
            return
        headers = {"cache-control": "no-store"}
        if name == "report.html" and b"download" not in scope["query_string"]:
            headers["content-security-policy"] = _RESULT_POLICY
        else:
            headers["content-disposition"] = f'attachment; filename="{name}"'
        await respond(send, 200, content, FILES[name], headers)


async def respond(
    send: Send,
    status: int,
    body: bytes,
    kind: str = "text/plain; charset=utf-8",
    headers: dict[str, str] | None = None,
) -> None:
    """Send an answer.

    Args:
        send: Function that ASGI provides.
        status: Status of HTTP.
        body: Content.
        kind: Kind of the content.
        headers: Further headers.
    """
    named = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
    pairs = [(name.encode(), value.encode()) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    """Return a function that adds headers to answers: nothing is loaded from other hosts, nothing is guessed."""
    defaults = {
        b"content-security-policy": _POLICY.encode(),
        b"referrer-policy": b"no-referrer",
        b"x-content-type-options": b"nosniff",
    }

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", [])}
            added = [(name, value) for name, value in defaults.items() if name not in present]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return sending
