"""The child process of client.HubQueries; it imports the Hub's client, which is slow and reads its settings at import.

    python -m engine.checkpoints.hub_queries.child

Requests on stdin and answers on stdout are the messages of messages.py, one a line, in any order. Each request has a
thread of its own. The end of stdin ends the process: its parent is gone, or has no more to ask.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from engine.checkpoints.hub_errors import FetchFailedError
from engine.checkpoints.hub_queries.messages import (
    AnyAnswer,
    AnyRequest,
    Described,
    Failed,
    Found,
    Info,
    LoggedIn,
    SaveToken,
    Search,
)

if TYPE_CHECKING:
    from httpx2 import Client, Request, Response

CONNECT_S = 10.0
ANSWER_S = 45.0  # for all that one request has to ask
ANSWER_LIMIT = 64 * 1024 * 1024  # bytes of one answer, unpacked: facts of a repository of 100,000 files

_end: ContextVar[float] = ContextVar("end")  # of the time for the request that this thread answers


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is never taken for an answer
    # Read when the client is imported, below. Without the first it sends details of this machine along.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    from huggingface_hub import set_client_factory

    set_client_factory(_bounded_client)
    sending = threading.Lock()
    requests: msgspec.json.Decoder[AnyRequest] = msgspec.json.Decoder(AnyRequest)
    for line in sys.stdin.buffer:
        threading.Thread(target=_serve, args=(requests.decode(line), answers, sending), daemon=True).start()
    os._exit(0)  # threads that still wait for the Hub are not waited for


def _bounded_client() -> Client:
    """The client's own HTTP session, with an end to every wait and answer: by itself it waits and reads for ever."""
    from huggingface_hub.utils._http import default_client_factory

    session = default_client_factory()
    hooks = session.event_hooks
    session.event_hooks = {"request": [*hooks["request"], _bound], "response": [*hooks["response"], _bound_answer]}
    return session


def _bound(request: Request) -> None:
    from huggingface_hub import constants

    left = _time_left()
    stall = min(constants.HF_HUB_DOWNLOAD_TIMEOUT, left)
    request.extensions["timeout"] = {"connect": min(CONNECT_S, left), "read": stall, "write": stall, "pool": stall}


def _bound_answer(response: Response) -> None:
    """Some that come a byte at a time never stall and never end, and a few packed bytes may be gigabytes."""
    from huggingface_hub import constants

    unbounded = response.iter_bytes

    def iter_bytes(chunk_size: int | None = None) -> Iterator[bytes]:
        read = 0
        for chunk in unbounded(chunk_size):
            read += len(chunk)
            if read > ANSWER_LIMIT:
                raise FetchFailedError(
                    f"{constants.ENDPOINT} answered with more than {ANSWER_LIMIT >> 20} MiB.",
                    "Ask for something narrower; a proxy or a login page may also have answered in its place.",
                    "server",
                )
            _time_left()
            yield chunk

    response.iter_bytes = iter_bytes  # type: ignore[method-assign]


def _time_left() -> float:
    """Seconds for the request that this thread answers. Raises TimeoutError when there are none."""
    left = _end.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"no whole answer within {ANSWER_S:.0f} seconds")
    return left


def _serve(request: AnyRequest, answers: BinaryIO, sending: threading.Lock) -> None:
    _end.set(time.monotonic() + ANSWER_S)
    try:
        line = msgspec.json.encode(_answer(request))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is told to the parent
        line = msgspec.json.encode(_failure(request, error))
    with sending:
        answers.write(line + b"\n")
        answers.flush()


def _answer(request: AnyRequest) -> AnyAnswer:
    from engine.checkpoints.hub_queries import accounts, asking

    if isinstance(request, SaveToken):
        return LoggedIn(request.id, accounts.save_token(request.token))
    accounts.check_token()
    if isinstance(request, Search):
        return Found(request.id, asking.search(request))
    if isinstance(request, Info):
        return Described(request.id, asking.describe(request))
    return LoggedIn(request.id, accounts.who())


def _failure(request: AnyRequest, error: Exception) -> Failed:
    from engine.checkpoints.hub_queries.failures import failure_of

    if isinstance(request, Info):
        about = request.repo_id
    else:
        about = "models" if isinstance(request, Search) else "your account"
    failure = failure_of(error, about)
    if failure.reason == "unexpected":
        traceback.print_exc()
    return Failed(request.id, failure.message, failure.hint, failure.reason)


if __name__ == "__main__":
    main()
