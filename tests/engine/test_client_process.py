"""engine.client and engine.process: how a worker starts, dies, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest

from engine import client, generation, protocol
from engine.client import Worker
from engine.cpu import cpu_has_bf16
from engine.errors import (
    EngineError,
    ProtocolMismatchError,
    WorkerDiedError,
)
from tests.engine.scripted import SCRIPTS, Spawn, ask, text_of, until_piece, wait_gone

HAS_AUTOGROUPS = Path("/proc/self/autogroup").exists()


def autogroup(pid: int) -> str:
    return Path(f"/proc/{pid}/autogroup").read_text()


def descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


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
    with pytest.raises(ProtocolMismatchError, match=r"version 2 .* version 3"):
        await spawn()


async def test_no_free_file_descriptor_is_an_engine_error(spawn: Spawn) -> None:
    lowest_free = os.dup(0)
    os.close(lowest_free)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        with pytest.raises(EngineError, match="cannot be started: Too many open files"):
            await spawn()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_no_python_is_an_engine_error(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EngineError, match="cannot be started: No such file"):
        await spawn()


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
    assert await text_of(ask(worker, "environment GOMP_SPINCOUNT")) == ("unset" if cpu_has_bf16() else "10000")


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
