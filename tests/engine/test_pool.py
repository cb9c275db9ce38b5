"""engine.pool with real workers whose session is scripted (worker_scripts/scripted_session.py)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine import pool as pool_module
from engine import protocol
from engine.checkpoints.model import Checkpoint
from engine.errors import CheckpointRefusedError, EngineError, NotEnoughMemoryError, WorkerDiedError
from engine.pool import EnginePool, slot_key
from tests.engine.scripted import SCRIPTS, ask, text_of

MIB = 1 << 20
MakePool = Callable[..., EnginePool]


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
async def make_pool(monkeypatch: pytest.MonkeyPatch, notices: list[str]) -> AsyncIterator[MakePool]:
    """Makes pools of scripted workers, which are closed after the test and must leave no process behind."""
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    pools: list[EnginePool] = []

    def make(ram_budget: int | None = None) -> EnginePool:
        pools.append(EnginePool(notices.append, ram_budget=ram_budget, session="scripted_session"))
        return pools[-1]

    yield make
    for pool in pools:
        await pool.close()
    assert workers_alive() == set()


def checkpoint(name: str) -> Checkpoint:
    """Estimated at half a GiB; what it really takes is in its name."""
    return Checkpoint(name=name, path=Path("/scripted") / name, kind="model", source="folder")


def workers_alive() -> set[int]:
    return {child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}


def names(pool: EnginePool) -> list[str]:
    return [resident.checkpoint.name for resident in pool.resident()]


async def test_one_load_serves_all_who_ask_at_the_same_time(make_pool: MakePool) -> None:
    pool = make_pool()
    seen: list[list[protocol.LoadProgress]] = [[], []]
    first, second = await asyncio.gather(*(pool.acquire(checkpoint("a"), on_progress=steps.append) for steps in seen))
    assert first is second
    assert len(seen[0]) == 3 and seen[0] == seen[1]
    assert await pool.acquire(checkpoint("a")) is first
    assert await pool.acquire(checkpoint("a"), dtype="bfloat16") is not first
    assert [resident.key for resident in pool.resident()] == [
        slot_key(checkpoint("a")),
        slot_key(checkpoint("a"), dtype="bfloat16"),
    ]


async def test_the_spare_is_taken_and_replaced_once_it_is_quiet(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "SPARE_DELAY_S", 0)
    pool = make_pool()
    pool.warm()
    assert pool._spare_task is not None
    await pool._spare_task
    (spare,) = workers_alive()
    worker = await pool.acquire(checkpoint("a"))
    assert worker.pid == spare
    assert await text_of(ask(worker, "pieces 20000"))
    assert workers_alive() == {spare}, "its imports would have competed with the reply"
    assert pool._spare_task is not None
    await pool._spare_task
    assert len(workers_alive()) == 2


async def test_a_worker_that_refused_a_checkpoint_is_the_spare_of_the_next(make_pool: MakePool) -> None:
    pool = make_pool()
    with pytest.raises(CheckpointRefusedError, match="remote code"):
        await pool.acquire(checkpoint("refused"))
    assert pool.resident() == []
    (spare,) = workers_alive()
    assert (await pool.acquire(checkpoint("a"))).pid == spare


async def test_a_worker_that_refused_takes_the_place_of_a_spare_that_is_being_started(make_pool: MakePool) -> None:
    pool = make_pool()
    with pytest.raises(CheckpointRefusedError):
        await pool.acquire(checkpoint("refused"), on_progress=lambda _: pool.warm())
    while pool._tasks:
        await asyncio.wait(pool._tasks)
    assert pool._spare is not None
    while workers_alive() != {pool._spare.pid}:  # noqa: ASYNC110 (nothing announces the end of the one given up)
        await asyncio.sleep(0.01)


async def test_what_is_known_to_be_unloadable_costs_no_worker(make_pool: MakePool) -> None:
    pool = make_pool()
    with pytest.raises(CheckpointRefusedError, match=r"x cannot be loaded\. It holds no tokenizer"):
        await pool.acquire(replace(checkpoint("x"), problem="It holds no tokenizer."))
    assert pool.resident() == [] and workers_alive() == set()


async def test_the_least_recently_used_idle_checkpoint_makes_room(make_pool: MakePool, notices: list[str]) -> None:
    """Each is estimated at 512 MiB and takes a little more than 100: two and an estimate exceed 700."""
    pool = make_pool(ram_budget=700 * MIB)
    first = await pool.acquire(checkpoint("holds-100"))
    await pool.acquire(checkpoint("b-holds-100"))
    assert all(100 * MIB < resident.bytes < 180 * MIB for resident in pool.resident())
    assert await text_of(ask(first, "pieces 2")) == "0 1 "
    await pool.acquire(checkpoint("c-holds-100"))
    assert names(pool) == ["holds-100", "c-holds-100"]
    assert len(notices) == 1
    assert notices[0].startswith("Unloaded b-holds-100 (1")
    assert "to make room for c-holds-100, which needs about 512 MiB" in notices[0]
    assert "of 700 MiB was free" in notices[0]


async def test_what_is_answering_is_never_unloaded(make_pool: MakePool, notices: list[str]) -> None:
    pool = make_pool(ram_budget=600 * MIB)
    worker = await pool.acquire(checkpoint("holds-100"))
    reply = ask(worker, "prefill")
    with pytest.raises(NotEnoughMemoryError) as caught:
        await pool.acquire(checkpoint("b"))
    assert "b needs about 512 MiB of memory" in caught.value.message
    assert "is free of a budget of 600 MiB" in caught.value.message
    assert "Wait for holds-100 or stop it" in caught.value.hint
    assert notices == [] and names(pool) == ["holds-100"]
    await reply.cancel()
    await pool.acquire(checkpoint("b"))
    assert names(pool) == ["b"]


async def test_nothing_is_unloaded_for_what_could_not_fit_anyway(make_pool: MakePool, notices: list[str]) -> None:
    pool = make_pool(ram_budget=700 * MIB)
    await pool.acquire(checkpoint("a"))
    with pytest.raises(NotEnoughMemoryError, match=r"huge needs about 1\.7 GiB"):
        await pool.acquire(replace(checkpoint("huge"), parameters=300 * MIB, dtype="float32"), dtype="float32")
    assert notices == [] and names(pool) == ["a"]


async def test_loads_at_the_same_time_do_not_count_on_the_same_memory(make_pool: MakePool) -> None:
    pool = make_pool(ram_budget=800 * MIB)
    endless = asyncio.create_task(pool.acquire(checkpoint("endless")))
    with pytest.raises(NotEnoughMemoryError, match="free of a budget of 800 MiB"):
        begun = asyncio.Event()
        follow = asyncio.create_task(pool.acquire(checkpoint("endless"), on_progress=lambda _: begun.set()))
        await begun.wait()
        await pool.acquire(checkpoint("b"))
    for waiter in (endless, follow):
        waiter.cancel()
    await asyncio.wait([endless, follow])
    await pool.acquire(checkpoint("b"))


async def test_a_load_ends_when_nobody_waits_for_it_any_more(make_pool: MakePool) -> None:
    pool = make_pool()
    begun = asyncio.Event()
    waiters = [
        asyncio.create_task(pool.acquire(checkpoint("endless"), on_progress=lambda _: begun.set())) for _ in range(2)
    ]
    await begun.wait()
    (loading,) = psutil.Process().children()
    waiters[0].cancel()
    await asyncio.wait([waiters[0]])
    assert loading.pid in workers_alive() and names(pool) == ["endless"]
    waiters[1].cancel()
    await asyncio.wait([waiters[1]])
    assert names(pool) == []
    await asyncio.to_thread(loading.wait, 20)


@pytest.mark.parametrize("way", ["unload", "close"])
async def test_a_load_that_is_taken_away_is_an_error_for_who_waits(make_pool: MakePool, way: str) -> None:
    pool = make_pool()
    begun = asyncio.Event()
    waiter = asyncio.create_task(pool.acquire(checkpoint("endless"), on_progress=lambda _: begun.set()))
    await begun.wait()
    await (pool.close() if way == "close" else pool.unload(slot_key(checkpoint("endless"))))
    with pytest.raises(EngineError, match="endless was stopped"):
        await waiter


async def test_a_death_in_mid_reply_is_the_replys_error_and_the_next_question_gets_a_new_worker(
    make_pool: MakePool, notices: list[str]
) -> None:
    pool = make_pool()
    worker = await pool.acquire(checkpoint("a"))
    with pytest.raises(WorkerDiedError):
        await text_of(ask(worker, "kill 3"))
    again = await pool.acquire(checkpoint("a"))
    assert again.pid != worker.pid
    assert await text_of(ask(again, "pieces 2")) == "0 1 "
    assert notices == []


async def test_a_death_while_idle_is_told_and_forgotten(make_pool: MakePool, notices: list[str]) -> None:
    pool = make_pool()
    worker = await pool.acquire(checkpoint("a"))
    os.kill(worker.pid, signal.SIGKILL)
    await asyncio.shield(worker.died)
    await asyncio.sleep(0)
    assert pool.resident() == []
    assert len(notices) == 1 and "a is not loaded any more" in notices[0] and "out of memory" in notices[0]
    assert (await pool.acquire(checkpoint("a"))).pid != worker.pid


async def test_a_worker_that_cannot_import_says_so_to_every_question(
    make_pool: MakePool, notices: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scripted_session.py").write_text("import no_such_library")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pool = make_pool()
    for _ in range(2):
        with pytest.raises(WorkerDiedError, match="No module named 'no_such_library'"):
            await pool.acquire(checkpoint("a"))
    assert pool.resident() == []


async def test_unloading_gives_the_memory_back_even_in_mid_reply(make_pool: MakePool) -> None:
    pool = make_pool()
    reply = ask(await pool.acquire(checkpoint("a")), "asleep")
    events = aiter(reply)
    await anext(events)
    await pool.unload(slot_key(checkpoint("a")))
    with pytest.raises(EngineError, match="unloaded before the reply was complete"):
        while True:
            await anext(events)
    assert pool.resident() == [] and workers_alive() == set()
    await pool.unload("nobody has this key")


async def test_a_closed_pool_loads_nothing(make_pool: MakePool) -> None:
    pool = make_pool()
    await pool.acquire(checkpoint("a"))
    await pool.close()
    assert workers_alive() == set()
    with pytest.raises(EngineError, match="shut down"):
        await pool.acquire(checkpoint("a"))
