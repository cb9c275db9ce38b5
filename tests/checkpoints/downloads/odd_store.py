"""A store of large files that answers as a test says; the loopback Hub sends its clients there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.hub_server import HubServer

Answer = Callable[[BaseHTTPRequestHandler], None]


class OddStore:
    """The server; a context manager. It has the Hub's host name and another port.

    tokens: the Authorization header of each request, None where there was none.
    """

    def __init__(self, hub: HubServer, answer: Answer) -> None:
        self.tokens: list[str | None] = []
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                """Nothing on stderr."""

            def do_GET(self) -> None:
                store.tokens.append(self.headers.get("Authorization"))
                try:
                    answer(self)
                except ConnectionError:
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        hub.storage_url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def asked_for(request: BaseHTTPRequestHandler, size: int) -> tuple[int, int]:
    """The first byte that a request asks for, and the one behind the last."""
    said = request.headers.get("Range", f"bytes=0-{size - 1}").removeprefix("bytes=")
    first, _, last = said.partition("-")
    return int(first), int(last) + 1


def send(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    """headers: with _ for -."""
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
