"""A local server for the part of the hub's protocol that huggingface_hub uses."""

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
    """Repositories on a local port. Faults can be switched on.

    Attributes:
        repositories: Content of the files, by repository and path.
        gated: Repositories whose content needs permission.
        requests: Method, path and range of every request.
        break_after: Number of bytes after which the answer ends, by path of the file.
        shortened: Paths of files that are announced longer than they are.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.requests: list[tuple[str, str, str | None]] = []
        self.break_after: dict[str, int] = {}
        self.shortened: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, folder: Path) -> None:
        """Publish a folder."""
        files = (path for path in folder.rglob("*") if path.is_file())
        self.repositories[name] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    def commit(self, name: str) -> str:
        """Return the commit of a repository, which changes with its content."""
        content = json.dumps({path: _sha256(value) for path, value in sorted(self.repositories[name].items())})
        return hashlib.sha1(content.encode()).hexdigest()

    def fetched(self, path: str) -> int:
        """Return how often the content of a file was requested."""
        return sum(
            method == "GET" and "/resolve/" in address and address.endswith(path)
            for method, address, _ in self.requests
        )


@contextmanager
def running() -> Iterator[HubServer]:
    """Run a server within the context."""
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


def _is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".ckpt"))


def _etag(path: str, value: bytes) -> str:
    return _sha256(value) if _is_large(path) else hashlib.sha1(b"blob %d\0" % len(value) + value).hexdigest()


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
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/?]+)(\?.*)?", self.path)
        if match:
            self._listing(match[1], match[2], match[3])
        else:
            self._file(content=True)

    def do_POST(self) -> None:
        self._note()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.path == "/api/repos/create":
            request = json.loads(body)
            name = "/".join(part for part in (request.get("organization"), request["name"]) if part)
            self.server.repositories.setdefault(name, {})
            self._json({"url": f"{self.server.address}/{name}"})
        elif re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", self.path):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", self.path):
            for line in body.splitlines():
                operation = json.loads(line)
                if operation["key"] == "file":
                    content = base64.b64decode(operation["value"]["content"])
                    self.server.repositories[match[1]][operation["value"]["path"]] = content
            commit = self.server.commit(match[1])
            address = f"{self.server.address}/{match[1]}/commit/{commit}"
            self._json({"commitUrl": address, "commitOid": commit, "success": True, "hookOutput": ""})
        else:
            self._fail(404, "RepoNotFound")

    def _note(self) -> None:
        self.server.requests.append((self.command, self.path, self.headers.get("Range")))

    def _listing(self, name: str, kind: str, revision: str) -> None:
        """Answer which commit a revision is, or which files it has."""
        files = self._repository(name, revision)
        if files is None:
            return
        if kind == "revision":
            self._json({"id": name, "sha": self.server.commit(name)})
            return
        rows = []
        for path, value in files.items():
            row = {"type": "file", "path": path, "size": self._announced(path, value), "oid": _etag(path, value)}
            if _is_large(path):
                row["lfs"] = {"oid": _sha256(value), "size": row["size"], "pointerSize": 100}
            rows.append(row)
        self._json(rows)

    def _repository(self, name: str | None, revision: str) -> dict[str, bytes] | None:
        """Return the files of a repository; without them, send the error."""
        if name not in self.server.repositories:
            self._fail(404, "RepoNotFound")
        elif name in self.server.gated:
            self._fail(403, "GatedRepo")
        elif revision not in ("main", self.server.commit(name)):
            self._fail(404, "RevisionNotFound")
        else:
            return self.server.repositories[name]
        return None

    def _file(self, content: bool) -> None:
        name, revision, path = None, "", ""
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            name, revision, path = match.groups()
        files = self._repository(name, revision)
        if files is None:
            return
        commit = self.server.commit(name)
        if path not in files:
            self._fail(404, "EntryNotFound", commit)
        else:
            self._send(path, files[path], commit, content)

    def _announced(self, path: str, value: bytes) -> int:
        return len(value) + (10 if path in self.server.shortened else 0)

    def _send(self, path: str, value: bytes, commit: str, content: bool) -> None:
        etag = _etag(path, value)
        start = 0
        if range_ := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(range_[1])
        self.send_response(206 if range_ else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Accept-Ranges", "bytes")
        if _is_large(path):
            self.send_header("X-Linked-Etag", f'"{etag}"')
            self.send_header("X-Linked-Size", str(self._announced(path, value)))
        if range_:
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
