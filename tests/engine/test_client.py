"""engine.client against real worker processes with a scripted session (worker_scripts/)."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from engine import client, generation, protocol
from engine.client import Worker
from engine.errors import (
    CheckpointRefusedError,
    EngineError,
    NotEnoughMemoryError,
    ProtocolMismatchError,
    WorkerDiedError,
)
from engine.process import LOG_LINE_BYTES, LOG_LINES

HAS_AUTOGROUPS = Path("/proc/self/autogroup").exists()
SCRIPTS = Path(__file__).parent / "worker_scripts"
Spawn = Callable[..., Awaitable[Worker]]


@pytest.fixture
async def spawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Spawn]:
    """Spawns scripted workers, which are closed after the test. A session's source may be given instead."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SCRIPTS), str(tmp_path)]))
    workers: list[Worker] = []

    async def start(source: str | None = None, load: bool = True) -> Worker:
        session = "scripted_session"
        if source is not None:
            session = f"session_{len(workers)}"
            (tmp_path / f"{session}.py").write_text(source)
        worker = await Worker.spawn(session=session)
        workers.append(worker)
        if load:
            await worker.load(Path("/any"))
        return worker

    yield start
    for worker in workers:
        await worker.close()


def ask(worker: Worker, content: str) -> generation.Generation:
    return worker.generate([protocol.ChatMessage(role="user", content=content)], protocol.Sampling())


async def text_of(reply: generation.Generation) -> str:
    return "".join([event.text async for event in reply if isinstance(event, protocol.Piece)])


async def until_piece(reply: generation.Generation) -> None:
    async for event in reply:
        if isinstance(event, protocol.Piece):
            return


async def until_backlogged(reply: generation.Generation) -> None:
    while reply.backlog < generation.BACKLOG_HIGH:  # noqa: ASYNC110 (nothing announces it)
        await asyncio.sleep(0)


def autogroup(pid: int) -> str:
    return Path(f"/proc/{pid}/autogroup").read_text()


def descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def wait_gone(pid: int) -> bool:
    """Whether the process ends within 20 s; True at once when it already has."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        return bool(poller.poll(20_000))
    finally:
        os.close(pidfd)


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


async def test_a_worker_that_does_not_stop_is_ended(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A regular expression that backtracks for years holds the interpreter's lock: only a kill helps."""
    monkeypatch.setattr(generation, "CANCEL_PATIENCE_S", 0.2)
    worker = await spawn()
    reply = ask(worker, "stuck")
    await until_piece(reply)
    await reply.cancel()
    with pytest.raises(WorkerDiedError, match="did not stop"):
        await text_of(ask(worker, "pieces 1"))
    assert wait_gone(worker.pid)


async def test_killed_in_the_middle_of_a_reply_of_which_nothing_is_lost(
    spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what still lies in the channel because the client had stopped reading."""
    monkeypatch.setattr(generation, "BACKLOG_HIGH", 1)
    monkeypatch.setattr(client, "BACKLOG_HIGH", 1)
    worker = await spawn()
    reply = ask(worker, "kill 15")
    await asyncio.wait_for(worker.died, 20)
    events = aiter(reply)
    assert isinstance(await anext(events), protocol.Started)
    for number in range(15):
        assert await anext(events) == protocol.Piece(id=2, text="x" * 10_000, token_ids=(number,))
    with pytest.raises(WorkerDiedError, match="killed, probably out of memory, while answering") as caught:
        await anext(events)
    assert caught.value.signal == signal.SIGKILL and caught.value.exit_code is None
    with pytest.raises(WorkerDiedError):
        await text_of(ask(worker, "pieces 1"))
    with pytest.raises(WorkerDiedError):
        await worker.load(Path("/other"))


async def test_abort_names_the_signal_and_keeps_the_stack(spawn: Spawn) -> None:
    worker = await spawn()
    with pytest.raises(WorkerDiedError, match="SIGABRT") as caught:
        await text_of(ask(worker, "abort"))
    assert any("Fatal Python error: Aborted" in line for line in caught.value.log_tail)


async def test_killed_while_idle_and_while_loading(spawn: Spawn) -> None:
    idle = await spawn()
    os.kill(idle.pid, signal.SIGKILL)
    assert "while idle" in str(await asyncio.wait_for(idle.died, 20))
    loading = await spawn(load=False)
    with pytest.raises(WorkerDiedError, match="while loading /some/dies"):
        await loading.load(Path("/some/dies"))


@pytest.mark.parametrize(
    ("source", "exit_code", "words"),
    [
        ("import no_such_library", 1, "ModuleNotFoundError: No module named 'no_such_library'"),
        ("def warm_up():\n    print('out of ideas')\n    raise SystemExit(3)", 3, "out of ideas"),
    ],
)
async def test_death_while_importing_says_the_last_line_of_the_log(
    spawn: Spawn, source: str, exit_code: int, words: str
) -> None:
    worker = await spawn(source, load=False)
    with pytest.raises(WorkerDiedError, match="while importing its libraries") as caught:
        await worker.load(Path("/any"))
    assert caught.value.exit_code == exit_code
    assert words in caught.value.message
    with pytest.raises(WorkerDiedError):
        await worker.wait_warm()


async def test_another_protocol_version_is_refused(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PROTOCOL_VERSION", protocol.PROTOCOL_VERSION + 1)
    with pytest.raises(ProtocolMismatchError, match=r"version 1 .* version 2"):
        await spawn()


async def test_no_python_is_an_engine_error(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EngineError, match="cannot be started: No such file"):
        await spawn()


async def test_errors_of_the_session_keep_the_worker_alive(spawn: Spawn) -> None:
    worker = await spawn(load=False)
    with pytest.raises(CheckpointRefusedError) as refused:
        await worker.load(Path("/some/refused"))
    assert (refused.value.message, refused.value.hint) == ("It asks for remote code.", "Choose another.")
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


async def test_cancelling_a_load_ends_the_worker(spawn: Spawn) -> None:
    worker = await spawn(load=False)
    begun = asyncio.Event()
    load = asyncio.create_task(worker.load(Path("/some/endless"), on_progress=lambda _: begun.set()))
    await begun.wait()
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert not worker.alive
    await asyncio.wait_for(asyncio.shield(worker.died), 20)
    assert wait_gone(worker.pid)


async def test_close_ends_a_worker_in_any_state(spawn: Spawn) -> None:
    for verb in ("asleep", "stuck"):
        worker = await spawn()
        reply = ask(worker, verb)
        await until_piece(reply)
        unfinished = ask(worker, "pieces 1")
        await worker.close()
        assert wait_gone(worker.pid)
        assert worker.died.result() is None
        with pytest.raises(EngineError, match="unloaded"):
            await text_of(unfinished)


async def test_what_the_worker_started_does_not_outlive_it(spawn: Spawn) -> None:
    worker = await spawn()
    events = aiter(ask(worker, "child"))
    await anext(events)
    piece = await anext(events)
    assert isinstance(piece, protocol.Piece)
    with pytest.raises(WorkerDiedError):
        await anext(events)
    assert wait_gone(int(piece.text))


@pytest.mark.parametrize("verb", ["asleep", "stuck"])
async def test_the_worker_ends_when_its_parent_is_killed(verb: str) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPTS / "orphan_maker.py"),
        verb,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    await parent.wait()
    assert wait_gone(pid)


async def test_the_worker_is_nicer_than_the_screen_and_keeps_to_itself(spawn: Spawn) -> None:
    worker = await spawn()
    assert os.getsid(worker.pid) == worker.pid
    niceness = os.getpriority(os.PRIO_PROCESS, 0) + client.WORKER_NICE
    assert os.getpriority(os.PRIO_PROCESS, worker.pid) == niceness
    if HAS_AUTOGROUPS:
        assert autogroup(worker.pid).split()[-2:] == ["nice", str(niceness)]
    os.kill(worker.pid, signal.SIGINT)  # ^C is the screen's
    assert await text_of(ask(worker, "pieces 2")) == "0 1 "


async def test_nothing_is_imported_from_the_current_directory(
    spawn: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "msgspec.py").write_text("raise SystemExit('imported from the current directory')")
    (trap / "engine.py").write_text("raise SystemExit('imported from the current directory')")
    monkeypatch.chdir(trap)
    monkeypatch.setenv("PYTHONPATH", f":{SCRIPTS}:")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    worker = await spawn()
    assert await text_of(ask(worker, "environment HF_TOKEN")) == "unset"
    assert await text_of(ask(worker, "environment HF_HUB_OFFLINE")) == "1"


async def test_nothing_is_left_behind(spawn: Spawn) -> None:
    """Descriptors, tasks, threads and zombies after every way a worker can end."""
    await asyncio.to_thread(int)  # the loop's own thread pool and self-pipe exist from here on
    before, tasks = descriptors(), asyncio.all_tasks()
    closed = await spawn()
    await closed.close()
    with pytest.raises(WorkerDiedError):
        await text_of(ask(await spawn(), "kill 1"))
    cancelled = asyncio.create_task(Worker.spawn(session="scripted_session"))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    for thread in threading.enumerate():
        if thread.name == "engine-worker":
            await asyncio.to_thread(thread.join, 20)
    await asyncio.sleep(0)
    assert descriptors() == before
    assert asyncio.all_tasks() == tasks
    assert psutil.Process().children() == []
