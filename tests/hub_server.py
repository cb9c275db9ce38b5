"""A small Hugging Face Hub on loopback for tests: real HTTP, spoken to by the real client.

    with HubServer() as hub:
        hub.add("org/model", {"config.json": b"{}", "model.safetensors": weights})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)  # the client reads it at import: use it in a child process

Routes, as huggingface_hub 2.4 asks for them:
    GET       /api/models/ID/revision/REVISION     which commit
    GET       /api/models/ID/tree/COMMIT           its files with sizes and checksums
    HEAD, GET /ID/resolve/COMMIT/FILE              small files; large ones (LFS) are redirected
    HEAD, GET /storage/SHA256                      large files, on another host name, with ranges
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

LARGE_SUFFIXES = (".safetensors", ".bin", ".gguf")
_CHUNK = 64 * 1024


@dataclass(slots=True)
class Repository:
    """access: None for everyone, else the tokens that open it. gated: visible to all, its files to those alone."""

    files: Mapping[str, bytes]
    commit: str
    gated: bool = False
    access: frozenset[str] | None = None


@dataclass(slots=True)
class Request:
    """One request as it arrived. sent: bytes of body that were answered."""

    method: str
    path: str
    host: str
    token: str | None
    byte_range: str | None
    sent: int = 0


class HubServer:
    """The server; a context manager.

    url: what HF_ENDPOINT should be. requests: all that arrived. Faults to set: status answers every request with
    that HTTP status; corrupt names a file whose last byte is flipped on the way; before_chunk is called before each
    64 KiB of a body and may block, or raise ConnectionAbortedError to drop the connection.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.status: int | None = None
        self.corrupt: str | None = None
        self.before_chunk: Callable[[Request], None] = lambda request: None
        handler = type("BoundHandler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{port}"
        # Another host name than the Hub's, as in the world: a token must not travel there.
        self.storage_url = f"http://localhost:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes],
        *,
        gated: bool = False,
        access: frozenset[str] | None = None,
    ) -> Repository:
        """Publish files as the repository's newest commit."""
        content = repr(sorted((name, git_sha1(data)) for name, data in files.items()))
        commit = hashlib.sha1(content.encode()).hexdigest()
        self.repositories[repo_id] = Repository(files, commit, gated, access)
        return self.repositories[repo_id]


def git_sha1(data: bytes) -> str:
    """What git calls a blob of this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _RefusedError(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr; requests are in HubServer.requests."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        request = Request(
            self.command,
            unquote(urlsplit(self.path).path),
            self.headers.get("Host", ""),
            self.headers.get("Authorization", "").removeprefix("Bearer ") or None,
            self.headers.get("Range"),
        )
        self.hub.requests.append(request)
        try:
            if self.hub.status is not None:
                raise _RefusedError(self.hub.status, "")
            self.route(request)
        except _RefusedError as refused:
            self.answer(request, b"", refused.status, {"X-Error-Code": refused.code})
        except ConnectionError:
            self.close_connection = True

    def route(self, request: Request) -> None:
        parts = request.path.lstrip("/").split("/")
        if parts[0] == "storage":
            self.send_stored(request, parts[1])
        elif parts[:2] == ["api", "models"]:
            repo_id, _, rest = "/".join(parts[2:]).partition("/revision/")
            if not rest:
                repo_id, _, rest = "/".join(parts[2:]).partition("/tree/")
                self.answer_json(request, self.tree(self.find(repo_id, request, rest)))
            else:
                repository = self.find(repo_id, request, rest)
                siblings = [{"rfilename": name} for name in repository.files]
                self.answer_json(request, {"id": repo_id, "sha": repository.commit, "siblings": siblings})
        else:
            repo_id, _, rest = request.path.lstrip("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
            self.send_file(request, self.find(repo_id, request, revision, files=True), name)

    def find(self, repo_id: str, request: Request, revision: str, *, files: bool = False) -> Repository:
        repository = self.hub.repositories.get(repo_id)
        if request.token == "hf_wrong":
            raise _RefusedError(401, "")
        if repository is None:
            raise _RefusedError(404 if request.token else 401, "RepoNotFound")
        allowed = repository.access is None or request.token in repository.access
        if not allowed and not repository.gated:
            raise _RefusedError(404 if request.token else 401, "RepoNotFound")
        if not allowed and files:
            raise _RefusedError(403 if request.token else 401, "GatedRepo")
        if revision not in ("main", repository.commit):
            raise _RefusedError(404, "RevisionNotFound")
        return repository

    def tree(self, repository: Repository) -> list[dict[str, object]]:
        entries: list[dict[str, object]] = []
        for name, data in repository.files.items():
            entry: dict[str, object] = {
                "type": "file",
                "path": name,
                "size": len(data),
                "oid": git_sha1(data),
            }
            if name.endswith(LARGE_SUFFIXES):
                entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        return entries

    def send_file(self, request: Request, repository: Repository, name: str) -> None:
        data = repository.files.get(name)
        if data is None:
            raise _RefusedError(404, "EntryNotFound")
        headers = {"X-Repo-Commit": repository.commit}
        if not name.endswith(LARGE_SUFFIXES):
            self.answer(request, self.damaged(name, data), 200, headers | {"ETag": f'"{git_sha1(data)}"'})
            return
        digest = sha256(data)
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
        location = {"Location": f"{self.hub.storage_url}/storage/{digest}?name={name}"}
        self.answer(request, b"", 302, headers | linked | location)

    def send_stored(self, request: Request, digest: str) -> None:
        for repository in self.hub.repositories.values():
            for name, data in repository.files.items():
                if sha256(data) == digest:
                    body, status, headers = self.damaged(name, data), 200, {"ETag": f'"{digest}"'}
                    if request.byte_range:
                        start = int(request.byte_range.removeprefix("bytes=").partition("-")[0])
                        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                        body, status = body[start:], 206
                    self.answer(request, body, status, headers)
                    return
        raise _RefusedError(404, "EntryNotFound")

    def damaged(self, name: str, data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1]) if name == self.hub.corrupt else data

    def answer_json(self, request: Request, content: object) -> None:
        self.answer(request, json.dumps(content).encode(), 200, {"Content-Type": "application/json"})

    def answer(self, request: Request, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if request.method == "HEAD":
            return
        for start in range(0, len(body), _CHUNK):
            self.hub.before_chunk(request)
            self.wfile.write(body[start : start + _CHUNK])
            request.sent = min(start + _CHUNK, len(body))
