"""A small Hugging Face Hub on loopback for tests: real HTTP, spoken to by the real client.

    with HubServer() as hub:
        hub.add("org/model", {"config.json": b"{}", "model.safetensors": weights})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)  # the client reads it at import: use it in a child process

Routes, as huggingface_hub 2.4 asks for them:
    GET       /api/models                          search, a page at a time
    GET       /api/models/ID/revision/REVISION     which commit, and what is known of it
    GET       /api/models/ID/auth-check            whether the token opens the files
    GET       /api/models/ID/discussions           pull requests
    GET       /api/whoami-v2                       whose token it is
    GET       /api/models/ID/tree/COMMIT           its files with sizes and checksums
    HEAD, GET /ID/resolve/COMMIT/FILE              small files; large ones (LFS) are redirected
    HEAD, GET /storage/SHA256                      large files, on another host name, with ranges
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_api import Facts, Proposal, discussions, info, listing

LARGE_SUFFIXES = (".safetensors", ".bin", ".gguf")
_CHUNK = 64 * 1024


@dataclass(slots=True)
class Repository:
    """access: None for everyone, else the tokens that open it. gated: visible to all, its files to those alone."""

    files: Mapping[str, bytes]
    commit: str
    gated: bool = False
    access: frozenset[str] | None = None
    facts: Facts = field(default_factory=Facts)


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

    url: what HF_ENDPOINT should be. repositories: by id, and what was proposed to them by id@refs/pr/NUMBER. accounts:
    who has which token. requests: all that arrived. Faults to set: status answers requests with that
    HTTP status (and status_headers), as often as status_times says, where status_match is part of the path; corrupt
    names a file whose last byte is flipped on the way, corrupt_times times; ignore_ranges sends files whole whatever is
    asked; before_chunk is called before each 64 KiB of a body and may block, or raise ConnectionAbortedError to drop
    the connection.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.accounts: dict[str, str] = {}
        self.requests: list[Request] = []
        self.status: int | None = None
        self.status_match = ""
        self.status_times = 1_000_000
        self.status_headers: Mapping[str, str] = {}
        self.corrupt: str | None = None
        self.corrupt_times = 1_000_000
        self.ignore_ranges = False
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
        facts: Facts | None = None,
    ) -> Repository:
        """Publish files as the repository's newest commit."""
        content = repr(sorted((name, git_sha1(data)) for name, data in files.items()))
        commit = hashlib.sha1(content.encode()).hexdigest()
        self.repositories[repo_id] = Repository(files, commit, gated, access, facts or Facts())
        return self.repositories[repo_id]

    def propose(self, repo_id: str, files: Mapping[str, bytes], author: str, status: str = "open") -> str:
        """Open a pull request; the revision under which its files are."""
        repository = self.repositories[repo_id]
        proposals = repository.facts.proposals
        proposals.append(Proposal(len(proposals) + 1, author, status))
        revision = f"refs/pr/{len(proposals)}"
        self.add(
            f"{repo_id}@{revision}", files, gated=repository.gated, access=repository.access, facts=repository.facts
        )
        return revision


def _once(digest: Callable[[bytes], str]) -> Callable[[bytes], str]:
    """Of the same bytes over and over again it is computed once: they are large, and the real Hub knows them."""
    known: dict[int, tuple[bytes, str]] = {}

    def of(data: bytes) -> str:
        if id(data) not in known:
            known[id(data)] = data, digest(data)
        return known[id(data)][1]

    return of


@_once
def git_sha1(data: bytes) -> str:
    """What git calls a blob of this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@_once
def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _RefusedError(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits 40 ms for the acknowledgement of its headers
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
            if self.hub.status is not None and self.hub.status_match in request.path and self.hub.status_times:
                self.hub.status_times -= 1
                self.answer(request, b"", self.hub.status, self.hub.status_headers)
                return
            self.route(request)
        except _RefusedError as refused:
            self.answer(request, b"", refused.status, {"X-Error-Code": refused.code})
        except ConnectionError:
            self.close_connection = True

    def route(self, request: Request) -> None:
        parts = request.path.lstrip("/").split("/")
        if parts[0] == "storage":
            self.send_stored(request, parts[1])
        elif parts[0] == "api":
            self.route_api(request, parts[1:])
        else:
            repo_id, _, rest = request.path.lstrip("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
            self.send_file(request, self.find(repo_id, request, revision, files=True), name)

    def route_api(self, request: Request, parts: list[str]) -> None:
        query = parse_qs(urlsplit(self.path).query)
        path = "/".join(parts[1:])
        if parts == ["whoami-v2"]:
            name = self.hub.accounts.get(request.token or "")
            if name is None:
                raise _RefusedError(401, "")
            token = {"displayName": "laptop", "role": "read"}
            self.answer_json(request, {"type": "user", "name": name, "auth": {"accessToken": token}})
        elif parts == ["models"]:
            if request.token == "hf_wrong":
                raise _RefusedError(401, "")
            page, headers = listing(self.hub.repositories, query, request.token, self.hub.url)
            self.answer_json(request, page, headers)
        elif "/tree/" in path:
            repo_id, _, revision = path.partition("/tree/")
            self.answer_json(request, self.tree(self.find(repo_id, request, revision)))
        elif path.endswith("/auth-check"):
            self.find(path.removesuffix("/auth-check"), request, "main", files=True)
            self.answer_json(request, {})
        elif path.endswith("/discussions"):
            repo_id = path.removesuffix("/discussions")
            self.answer_json(request, discussions(repo_id, self.find(repo_id, request, "main").facts, query))
        else:
            repo_id, _, revision = path.partition("/revision/")
            repository = self.find(repo_id, request, revision or "main")
            self.answer_json(request, info(repo_id, repository, self.siblings(repository, blobs="blobs" in query)))

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
        if revision in ("main", repository.commit):
            return repository
        for name, proposed in self.hub.repositories.items():
            if name == f"{repo_id}@{revision}" or (name.startswith(f"{repo_id}@") and revision == proposed.commit):
                return proposed
        raise _RefusedError(404, "RevisionNotFound")

    def siblings(self, repository: Repository, *, blobs: bool) -> list[dict[str, object]]:
        """The files as the Hub tells them with a repository's facts."""
        if not blobs:
            return [{"rfilename": name} for name in repository.files]
        siblings: list[dict[str, object]] = []
        for name, data in repository.files.items():
            sibling: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
            if name.endswith(LARGE_SUFFIXES):
                sibling["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
            siblings.append(sibling)
        return siblings

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
                    body: bytes | memoryview = self.damaged(name, data)
                    status, headers = 200, {"ETag": f'"{digest}"'}
                    if request.byte_range and not self.hub.ignore_ranges:
                        first, _, last = request.byte_range.removeprefix("bytes=").partition("-")
                        end = min(int(last or len(data)), len(data) - 1)
                        headers["Content-Range"] = f"bytes {first}-{end}/{len(data)}"
                        body, status = memoryview(body)[int(first) : end + 1], 206
                    self.answer(request, body, status, headers)
                    return
        raise _RefusedError(404, "EntryNotFound")

    def damaged(self, name: str, data: bytes) -> bytes:
        if name != self.hub.corrupt or not self.hub.corrupt_times:
            return data
        self.hub.corrupt_times -= 1
        return data[:-1] + bytes([data[-1] ^ 1])

    def answer_json(self, request: Request, content: object, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self.answer(request, json.dumps(content).encode(), 200, {"Content-Type": "application/json", **headers})

    def answer(self, request: Request, body: bytes | memoryview, status: int, headers: Mapping[str, str]) -> None:
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
