"""A local server that speaks the part of the hub's protocol which huggingface_hub uses."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class HubServer(ThreadingHTTPServer):
    """Repositories by name, each a dict of files by path; faults can be switched on.

    Attributes:
        repositories: Content by repository and path.
        requests: Method, path and range of every request.
        break_after: Files whose answers end after so many bytes, until they are taken out.
        spoiled: Files that arrive with other bytes than announced.
        shortened: Files that are announced longer than they are.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.revisions: dict[str, str] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.break_after: dict[str, int] = {}
        self.spoiled: set[str] = set()
        self.shortened: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, folder: Path) -> None:
        """Publishes a folder."""
        files = (path for path in folder.rglob("*") if path.is_file())
        self.repositories[name] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    def commit(self, name: str) -> str:
        content = json.dumps({path: _sha256(value) for path, value in sorted(self.repositories[name].items())})
        return hashlib.sha1(content.encode()).hexdigest()

    def fetched(self, path: str) -> int:
        """How often the content of a file was asked for."""
        return sum(method == "GET" and asked.endswith(path) for method, asked, _ in self.requests)


@contextmanager
def running() -> Iterator[HubServer]:
    """A server that runs within."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._note()
        self._file(content=False)

    def do_GET(self) -> None:
        self._note()
        if self.path.startswith("/api/"):
            self._fail(404, "RepoNotFound")
        else:
            self._file(content=True)

    def do_POST(self) -> None:
        self._note()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
            self.server.repositories.setdefault(name, {})
            self._json({"url": f"{self.server.address}/{name}"})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", self.path):
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", self.path):
            for line in body.splitlines():
                one = json.loads(line)
                if one["key"] == "file":
                    content = base64.b64decode(one["value"]["content"])
                    self.server.repositories[found[1]][one["value"]["path"]] = content
            commit = self.server.commit(found[1])
            address = f"{self.server.address}/{found[1]}/commit/{commit}"
            self._json({"commitUrl": address, "commitOid": commit, "success": True, "hookOutput": ""})
        else:
            self._fail(404, "RepoNotFound")

    def _note(self) -> None:
        self.server.requests.append((self.command, self.path, self.headers.get("Range")))

    def _file(self, content: bool) -> None:
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        files = self.server.repositories.get(found[1]) if found else None
        if files is None:
            self._fail(404, "RepoNotFound")
            return
        commit = self.server.commit(found[1])
        if found[2] not in ("main", commit):
            self._fail(404, "RevisionNotFound")
        elif found[3] not in files:
            self._fail(404, "EntryNotFound", commit)
        else:
            self._send(found[3], files[found[3]], commit, content)

    def _send(self, path: str, value: bytes, commit: str, content: bool) -> None:
        large = path.endswith((".safetensors", ".ckpt"))
        etag = _sha256(value) if large else hashlib.sha1(b"blob %d\0" % len(value) + value).hexdigest()
        announced = len(value) + (10 if path in self.server.shortened else 0)
        if path in self.server.spoiled:
            value = bytes(byte ^ 1 for byte in value)
        start = 0
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(asked[1])
        self.send_response(206 if asked else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Accept-Ranges", "bytes")
        if large:
            self.send_header("X-Linked-Etag", f'"{etag}"')
            self.send_header("X-Linked-Size", str(announced))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(value) - 1}/{len(value)}")
        self.send_header("Content-Length", str(len(value) - start))
        self.end_headers()
        if content:
            limit = self.server.break_after.get(path)
            self.wfile.write(value[start:] if limit is None else value[start : start + limit])
            if limit is not None:
                self.wfile.flush()
                self.close_connection = True

    def _json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, status: int, code: str, commit: str | None = None) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()
