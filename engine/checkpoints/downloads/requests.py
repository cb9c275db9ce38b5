"""Asks the Hub, and the stores it points to, for pieces of files. Needs the Hub's client: for child processes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
from huggingface_hub import constants, get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

from engine.checkpoints.hub_errors import FetchFailedError, in_words

CONNECT_S = 10.0
STALL_S = 20.0  # without a byte for so long a connection is given up and made anew
_REDIRECTS = 5
_ERROR_BODY = 1 << 16
_MOVED = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429})  # and all from 500 on
_LONGEST_RETRY_AFTER_S = 600.0


class BadAnswerError(Exception):
    """An answer that is not what was asked for. May be better the next time."""


@dataclass(frozen=True, slots=True)
class Body:
    """from_the_start: the file from its first byte, whatever range was asked for."""

    from_the_start: bool
    chunks: Iterator[bytes]


class Remote:
    """The files of one commit, as the Hub serves them. Calls from several threads at once are fine."""

    def __init__(self, repo_id: str, commit: str) -> None:
        self.reference = repo_id
        self._commit = commit
        self._stores: dict[str, str] = {}  # where a file's last answer came from, by its path: a signed address
        self._sockets: set[socket.socket] = set()
        self._closing = threading.Lock()
        self._closed = False

    @contextmanager
    def open(self, path: str, size: int, span: tuple[int, int] | None) -> Iterator[Body]:
        """The bytes [start, end) of a file of this size, or all of them; the body is to be read inside the `with`.

        Raises HfHubHTTPError, httpx2's errors, BadAnswerError, and FetchFailedError for one that leads nowhere.
        """
        response = self._send(path, span)
        try:
            if response.status_code == 206 and span is not None:
                said = response.headers.get("content-range", "")
                if not said.startswith(f"bytes {span[0]}-") or not said.endswith((f"/{size}", "/*")):
                    raise BadAnswerError(f"asked for bytes {span[0]:,} on, the server sent {said[:80]!r}")
            elif response.status_code != 200:
                raise BadAnswerError(f"the server answered with status {response.status_code}")
            elif (length := response.headers.get("content-length", str(size))) != str(size):
                # A login page, perhaps: what came before is not thrown away for it.
                raise BadAnswerError(f"the server sent {length[:20]} bytes instead of a file of {size:,}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise BadAnswerError("the server, or a proxy on the way, packed the file although it was asked not to")
            with self._abortable(response):
                yield Body(response.status_code == 200, response.iter_raw())
        finally:
            response.close()

    def abort(self) -> None:
        """Break every connection, so that nobody waits for a server that says nothing."""
        with self._closing:
            self._closed = True
            sockets = list(self._sockets)
        for opened in sockets:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _abortable(self, response: httpx2.Response) -> Iterator[None]:
        stream = response.extensions.get("network_stream")
        opened = stream.get_extra_info("socket") if stream is not None else None
        with self._closing:
            if self._closed:
                raise BadAnswerError("it was told to end")
            if opened is not None:
                self._sockets.add(opened)
        try:
            yield
        finally:
            with self._closing:
                self._sockets.discard(opened)

    def _send(self, path: str, span: tuple[int, int] | None) -> httpx2.Response:
        """The answer of the store that has the file. The token goes to the Hub's own host alone."""
        store = self._stores.get(path)
        if store is not None:
            response = _get(store, span)
            if response.status_code in (200, 206):
                return response
            response.close()  # its signature ran out, perhaps; the Hub gives a new one
            self._stores.pop(path, None)
        url = hf_hub_url(self.reference, path, revision=self._commit)
        for _ in range(_REDIRECTS):
            response = _get(url, span)
            if response.status_code not in _MOVED:
                break
            response.close()
            url = _next_address(response, path)
        else:
            raise _led_astray(f"The Hub leads from address to address for {path}, and never to the file.")
        _raise_for_status(response)
        if not is_hub(str(response.url)):
            self._stores[path] = str(response.url)
        return response


def _next_address(response: httpx2.Response, path: str) -> str:
    """Where a redirect leads. Raises FetchFailedError when that is no address on the web."""
    location = response.headers.get("location", "")
    try:
        address = response.url.join(location)
        if location and address.scheme in ("http", "https") and address.host and (address.port or 1) < 1 << 16:
            return str(address)
    except httpx2.InvalidURL:
        pass
    where = location.partition("?")[0][:200]  # behind it there may be a signature
    raise _led_astray(f"The Hub leads to {where!r} for {path}, which is no address of a file on the web.")


def _led_astray(message: str) -> FetchFailedError:
    hint = "A proxy or a login page may have answered in its place: check the network and HF_ENDPOINT."
    return FetchFailedError(message, hint, "server")


def _get(url: str, span: tuple[int, int] | None) -> httpx2.Response:
    headers = build_hf_headers(library_name="hugchat-tui", token=None if is_hub(url) else False)
    headers["Accept-Encoding"] = "identity"
    if span is not None:
        headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    client = get_session()
    timeout = httpx2.Timeout(CONNECT_S, read=STALL_S)
    request = client.build_request("GET", url, headers=headers, timeout=timeout)
    return client.send(request, stream=True, follow_redirects=False)


def is_hub(url: str) -> bool:
    """Whether an address is the Hub's own, where its token may go: by scheme, host and port."""
    ours, its = httpx2.URL(constants.ENDPOINT), httpx2.URL(url)
    return (ours.scheme, ours.host, ours.port) == (its.scheme, its.host, its.port)


def _raise_for_status(response: httpx2.Response) -> None:
    """The client's typed errors, from a bounded part of the error's text."""
    if response.status_code < 400:
        return
    text = bytearray()
    with contextlib.suppress(httpx2.HTTPError):
        for chunk in response.iter_bytes():
            text += chunk
            if len(text) > _ERROR_BODY:
                break
    response.close()
    headers = {name: value for name, value in response.headers.items() if name not in _ABOUT_THE_BODY}
    whole = httpx2.Response(
        response.status_code, headers=headers, content=bytes(text[:_ERROR_BODY]), request=response.request
    )
    hf_raise_for_status(whole)


_ABOUT_THE_BODY = ("content-encoding", "content-length", "transfer-encoding")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that may pass. message: in words. failure: what it becomes when it does not."""

    message: str
    failure: FetchFailedError
    retry_after_s: float | None = None
    due: float = 0.0

    def again_in(self, seconds: float) -> Trouble:
        return replace(self, due=time.monotonic() + seconds)

    @property
    def words(self) -> str:
        left = max(0, round(self.due - time.monotonic()))
        return f"{self.message} Trying again{f' in {left} s' if left else ''}."


def trouble_of(error: BaseException, reference: str) -> Trouble | None:
    """What an error means if trying again may help; None if it will not."""
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status not in _PASSING and status < 500:
            return None
        words = "The Hub asks to be asked less often" if status == 429 else "The Hub is overloaded or down"
        message = f"{words} (HTTP {status})."
        failure = FetchFailedError(message, "Try again later; what is here is kept.", "server")
        return Trouble(message, failure, _retry_after(error.response.headers.get("retry-after", "")))
    if isinstance(error, BadAnswerError):
        message = f"The server's answer is no use: {error}."
        return Trouble(message, FetchFailedError(message, "Try again later; what is here is kept.", "server"))
    if isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.UnsupportedProtocol):
        return Trouble(_broken(error), in_words(error, reference))
    return None


def _broken(error: httpx2.TransportError) -> str:
    if isinstance(error, httpx2.ReadTimeout):
        return f"The server sent nothing for {STALL_S:.0f} seconds."
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return "The Hub cannot be reached."
    return "The connection broke."


def _retry_after(value: str) -> float | None:
    """Seconds from a Retry-After header: a number, or a date (RFC 9110, 10.2.3)."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_S)
