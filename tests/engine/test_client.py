"""engine.client: requests, replies, cancelling and back-pressure, with real scripted workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine import generation, protocol
from engine.errors import (
    CheckpointRefusedError,
    EngineError,
    NotEnoughMemoryError,
)
from engine.process import LOG_LINE_BYTES, LOG_LINES
from tests.engine.scripted import Spawn, ask, text_of, until_backlogged


async def test_load_reports_progress_and_what_was_loaded(spawn: Spawn) -> None:
    worker = await spawn(load=False)
    steps: list[protocol.LoadProgress] = []
    info = await worker.load(Path("/some/model"), on_progress=steps.append)
    assert [(step.stage, step.done, step.total) for step in steps] == [
        ("reading weights", done, 3) for done in (1, 2, 3)
    ]
    assert info.path == "/some/model" and worker.info == info
    assert await worker.wait_warm() >= 0


async def test_fifty_thousand_pieces_arrive_whole_and_in_order(spawn: Spawn) -> None:
    """Also when nobody reads for a while: the worker is made to wait and the backlog stays bounded."""
    worker = await spawn()
    reply = ask(worker, "pieces 50000")
    pieces: list[protocol.Piece] = []
    largest = 0
    async for event in reply:
        if isinstance(event, protocol.Started):
            await until_backlogged(reply)
        if isinstance(event, protocol.Piece):
            pieces.append(event)
            largest = max(largest, reply.backlog)
            if len(pieces) % 100 == 0:
                await asyncio.sleep(0)
    assert [piece.token_ids for piece in pieces] == [(number,) for number in range(50_000)]
    assert "".join(piece.text for piece in pieces) == "".join(f"{number} " for number in range(50_000))
    assert generation.BACKLOG_HIGH <= largest < 8 * generation.BACKLOG_HIGH


async def test_a_worker_whose_reply_nobody_reads_stops_computing(spawn: Spawn) -> None:
    """Or it would keep in memory what the screen, suspended with ^Z for an hour, has not taken."""
    worker = await spawn()
    reply = ask(worker, "flood")
    await until_backlogged(reply)
    at_its_end, _ = await asyncio.wait([worker.died], timeout=0.3)
    assert not at_its_end


async def test_what_libraries_print_never_reaches_the_channel(spawn: Spawn) -> None:
    worker = await spawn()
    assert await text_of(ask(worker, "noise")) == "quiet"
    assert await text_of(ask(worker, "pieces 2")) == "0 1 "
    await worker.close()
    log = worker.log_tail
    assert "from print" in log and "from stderr 你好" in log and "from C" in log
    assert "no newline at the end" in log
    assert any("\ufffd" in line and "not UTF-8" in line for line in log)
    assert f"{'x' * LOG_LINE_BYTES} [cut, {100_000 - LOG_LINE_BYTES} bytes more]" in log


async def test_the_log_keeps_its_last_lines_however_much_is_printed(spawn: Spawn) -> None:
    source = "def warm_up():\n    for n in range(20_000): print('line', n)\nSession = None\n"
    worker = await spawn(source, load=False)
    await worker.wait_warm()
    await worker.close()
    assert len(worker.log_tail) == LOG_LINES
    assert worker.log_tail[-1] == "line 19999"


async def test_cancel_during_prefill_and_the_next_question_is_answered(spawn: Spawn) -> None:
    worker = await spawn()
    reply = ask(worker, "prefill")
    events = aiter(reply)
    while not isinstance(await anext(events), protocol.Prefilling):
        pass
    await reply.cancel()
    rest = [event async for event in events]
    assert isinstance(rest[-1], protocol.Finished) and rest[-1].reason == "stopped"
    assert await text_of(ask(worker, "pieces 2")) == "0 1 "


async def test_a_waiting_generation_is_cancelled_while_another_runs(spawn: Spawn) -> None:
    worker = await spawn()
    running, waiting, last = ask(worker, "prefill"), ask(worker, "pieces 9"), ask(worker, "pieces 2")
    await waiting.cancel()
    events = [event async for event in waiting]
    assert len(events) == 1 and isinstance(events[0], protocol.Finished) and events[0].reason == "stopped"
    assert worker.busy
    await running.cancel()
    assert await text_of(last) == "0 1 "
    await asyncio.wait_for(worker.wait_idle(), 20)


async def test_leaving_the_loop_early_stops_the_worker(spawn: Spawn) -> None:
    worker = await spawn()
    async for event in ask(worker, "prefill"):
        if isinstance(event, protocol.Prefilling):
            break
    await asyncio.wait_for(worker.wait_idle(), 20)
    assert await text_of(ask(worker, "pieces 2")) == "0 1 "


async def test_a_reply_nobody_reads_does_not_keep_cancel_from_being_answered(spawn: Spawn) -> None:
    """The client has stopped reading by then, so the answer would wait behind the pieces for ever."""
    worker = await spawn()
    reply = ask(worker, "pieces 1000000")
    await until_backlogged(reply)
    await asyncio.wait_for(reply.cancel(), 20)
    await reply.aclose()
    assert await text_of(ask(worker, "pieces 2")) == "0 1 "


async def test_errors_of_the_session_keep_the_worker_alive(spawn: Spawn) -> None:
    worker = await spawn(load=False)
    with pytest.raises(CheckpointRefusedError) as refused:
        await worker.load(Path("/some/refused"))
    assert (refused.value.message, refused.value.hint) == ("It asks for remote code in ?.py.", "Choose another.")
    with pytest.raises(EngineError, match="No checkpoint is loaded"):
        await text_of(ask(worker, "pieces 1"))
    await worker.load(Path("/any"))
    with pytest.raises(EngineError, match="already holds"):
        await worker.load(Path("/other"))
    with pytest.raises(EngineError, match="ValueError: first line second line") as failed:
        await text_of(ask(worker, "raise"))
    assert type(failed.value) is EngineError
    with pytest.raises(NotEnoughMemoryError, match="can't allocate memory"):
        await text_of(ask(worker, "memory"))
    with pytest.raises(EngineError, match="cannot be sent"):
        await text_of(ask(worker, "half a pair: \ud83d"))
    with pytest.raises(EngineError, match="without saying how"):
        await text_of(ask(await spawn(_FORGETFUL), "anything"))
    assert await text_of(ask(worker, "pieces 2")) == "0 1 "
    await worker.close()
    assert any("Traceback" in line for line in worker.log_tail)


_FORGETFUL = """
from scripted_session import Session as Scripted, warm_up
class Session(Scripted):
    def generate(self, request, emit, cancelled, received_at):
        pass
"""
