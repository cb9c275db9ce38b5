"""The process that asks: questions overlap, are given up, and end in words within a bounded time."""

from __future__ import annotations

import asyncio
import gzip
import signal
import socket
import subprocess
import sys
import threading
import time
from contextvars import copy_context

import httpx2
import psutil
import pytest

from engine.checkpoints.hub_errors import FetchFailedError
from engine.checkpoints.hub_queries import child, client
from engine.checkpoints.hub_queries.client import HubError, HubQueries
from tests.hub_server import HubServer, Request

FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"w"}


class _Gate:
    """Holds back the bodies of answers whose path has a part in it."""

    def __init__(self, hub: HubServer, part: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._part = part
        self.reached = asyncio.Event()
        self.open = threading.Event()
        hub.before_chunk = self._wait

    def _wait(self, request: Request) -> None:
        if self._part in request.path:
            self._loop.call_soon_threadsafe(self.reached.set)
            self.open.wait()


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


async def _failure(queries: HubQueries) -> HubError:
    with pytest.raises(HubError) as caught:
        await queries.search("")
    assert caught.value.hint
    return caught.value


def test_the_screens_side_does_not_import_the_hubs_client() -> None:
    script = "import sys, engine.checkpoints.hub_queries.client, engine.checkpoints.hub_queries.catalogue\n"
    command = [sys.executable, "-c", f"{script}print(*sys.modules)"]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert {"huggingface_hub", "httpx2", "transformers"}.isdisjoint(loaded)


async def test_questions_overlap_and_one_process_answers_them(hub: HubServer, queries: HubQueries) -> None:
    hub.add("org/slow", FILES)
    hub.add("org/fast", FILES)
    gate = _Gate(hub, "org/slow/revision")
    slow = asyncio.create_task(queries.info("org/slow"))
    await gate.reached.wait()
    assert [info.repo_id for info in await asyncio.gather(*(queries.info("org/fast") for _ in range(20)))]
    assert not slow.done()
    gate.open.set()
    assert (await slow).repo_id == "org/slow"
    assert len(_children()) == 1


async def test_questions_are_given_up_and_their_answers_dropped(hub: HubServer, queries: HubQueries) -> None:
    hub.add("org/slow", FILES)
    gate = _Gate(hub, "org/slow/revision")
    given_up = [asyncio.create_task(queries.info("org/slow")) for _ in range(10)]
    await gate.reached.wait()
    kept = asyncio.create_task(queries.info("org/slow"))
    for question in given_up:
        question.cancel()
    outcomes = await asyncio.gather(*given_up, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    gate.open.set()
    assert (await kept).repo_id == "org/slow"
    assert [model.id for model in (await queries.search("")).results] == ["org/slow"]
    assert len(_children()) == 1


async def test_a_process_that_died_is_told_and_replaced(hub: HubServer, queries: HubQueries) -> None:
    hub.add("org/slow", FILES)
    gate = _Gate(hub, "org/slow/revision")
    slow = asyncio.create_task(queries.info("org/slow"))
    await gate.reached.wait()
    (process,) = _children()
    process.send_signal(signal.SIGKILL)
    with pytest.raises(HubError, match="status -9") as caught:
        await slow
    assert (caught.value.reason, bool(caught.value.hint)) == ("unexpected", True)
    gate.open.set()
    assert (await queries.search("")).results
    assert [other.pid for other in _children()] != [process.pid]


async def test_a_process_that_hangs_is_killed_and_replaced(
    hub: HubServer, queries: HubQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queries.search("")
    (process,) = _children()
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(client, "_DEADLINE_S", 0.05)
    assert (await _failure(queries)).reason == "network"
    monkeypatch.setattr(client, "_DEADLINE_S", 60.0)
    assert await queries.search("")
    assert psutil.wait_procs([process], timeout=10)[1] == []


async def test_closing_fails_what_waits_and_leaves_no_process(hub: HubServer, queries: HubQueries) -> None:
    hub.add("org/slow", FILES)
    gate = _Gate(hub, "org/slow/revision")
    slow = asyncio.create_task(queries.info("org/slow"))
    await gate.reached.wait()
    processes = _children()
    await queries.close()
    with pytest.raises(HubError, match="closing"):
        await slow
    with pytest.raises(HubError, match="closing"):
        await queries.search("")
    gate.open.set()
    assert processes and not any(process.is_running() for process in processes)


def test_the_process_ends_when_its_parent_is_killed(hub: HubServer) -> None:
    script = (
        "import asyncio, os, psutil\n"
        "from engine.checkpoints.hub_queries.client import HubQueries\n"
        "async def main():\n"
        "    queries = HubQueries()\n"
        "    await queries.search('')\n"
        "    print(psutil.Process().children()[0].pid, flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    process = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert psutil.wait_procs([process], timeout=30)[1] == []


async def test_a_stalled_server_ends_in_words(
    hub: HubServer, queries: HubQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client itself waits for ever for search, facts and accounts."""
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    hub.add("org/slow", FILES)
    hub.accounts["hf_token"] = "ada"
    gate = _Gate(hub, "/api/")
    questions = (queries.search(""), queries.info("org/slow"), queries.save_token("hf_token"))
    outcomes = await asyncio.gather(*questions, return_exceptions=True)
    gate.open.set()
    for outcome in outcomes:
        assert isinstance(outcome, HubError)
        assert (outcome.reason, hub.url in outcome.message) == ("network", True)


async def test_a_hub_that_is_down_or_overloaded_is_told_at_once(hub: HubServer, queries: HubQueries) -> None:
    """The client's own search asks six times, and waits as long as Retry-After says."""
    hub.status_headers = {"Retry-After": "3600"}
    for number, status in enumerate((429, 500, 503), 1):
        hub.status = status
        error = await _failure(queries)
        assert (error.reason, str(status) in error.message, len(hub.requests)) == ("server", True, number)


async def test_something_else_that_answers_in_the_hubs_place_is_told(hub: HubServer, queries: HubQueries) -> None:
    for status in (200, 404, 418):
        hub.status = status
        error = await _failure(queries)
        assert (error.reason, hub.url in error.message or str(status) in error.message) == ("server", True)


def test_all_that_one_question_asks_shares_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    request = httpx2.Request("GET", "http://127.0.0.1/")
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    context = copy_context()
    context.run(child._end.set, 103.0)
    context.run(child._bound, request)
    assert max(request.extensions["timeout"].values()) == 3.0
    context.run(child._end.set, 100.0)
    with pytest.raises(TimeoutError):
        context.run(child._bound, request)


def test_an_answer_is_bounded_unpacked_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(bytes(child.ANSWER_LIMIT + 1), 1)
    assert len(packed) < child.ANSWER_LIMIT / 100

    def answer(body: bytes) -> httpx2.Response:
        request = httpx2.Request("GET", "http://127.0.0.1/")
        headers = {"Content-Encoding": "gzip"}
        response = httpx2.Response(200, headers=headers, stream=httpx2.ByteStream(body), request=request)
        child._bound_answer(response)
        return response

    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    context = copy_context()
    context.run(child._end.set, 103.0)
    assert context.run(answer(gzip.compress(b"{}")).read) == b"{}"
    with pytest.raises(FetchFailedError, match="more than 64 MiB"):
        context.run(answer(packed).read)
    context.run(child._end.set, 100.0)
    with pytest.raises(TimeoutError):
        context.run(answer(gzip.compress(b"{}")).read)


async def test_a_connection_that_drops_is_told(hub: HubServer, queries: HubQueries) -> None:
    def drop(request: Request) -> None:
        raise ConnectionAbortedError

    hub.before_chunk = drop
    assert (await _failure(queries)).reason == "network"


async def test_no_network_is_told(hub: HubServer, queries: HubQueries, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert (await _failure(queries)).reason == "network"


async def test_offline_mode_is_told(hub: HubServer, queries: HubQueries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = await _failure(queries)
    assert (error.reason, "HF_HUB_OFFLINE" in error.hint, hub.requests) == ("offline", True, [])


async def test_a_process_that_cannot_be_started_is_told(
    hub: HubServer, queries: HubQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert (await _failure(queries)).reason == "unexpected"


async def test_details_of_this_machine_are_not_sent_along(
    hub: HubServer, queries: HubQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setenv("AI_AGENT", "somebody")
    await queries.search("")
    assert [request.path for request in hub.requests] == ["/api/models"], "no question of the client's own"
