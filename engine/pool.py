"""Which checkpoints are loaded: one worker each, a warm spare, a memory budget that decides what stays."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Literal

from engine import protocol
from engine.checkpoints.model import Checkpoint
from engine.client import DEFAULT_SESSION, WORKER_NICE, ProgressCallback, Worker
from engine.errors import (
    CheckpointNotFoundError,
    CheckpointRefusedError,
    EngineError,
)
from engine.memory import Memory, human
from engine.slots import RAM, Slot, estimate, measure, measure_place, not_enough, room

RAM_SHARE = 0.8
VRAM_SHARE = 0.9
SPARE_DELAY_S = 1.0  # of quiet before a spare worker's imports may take a core
_CHANGE_GRACE_S = 10.0  # for an exchange of adapters that nobody waits for any more


@dataclass(frozen=True, slots=True)
class Resident:
    """A checkpoint that is loaded or being loaded. bytes: estimated until loaded, then measured at each load."""

    key: str
    checkpoint: Checkpoint
    state: Literal["loading", "busy", "idle"]
    bytes: int
    info: protocol.ModelInfo | None


def slot_key(checkpoint: Checkpoint, device: str = "auto", dtype: str = "auto") -> str:
    """Under which a pool holds the checkpoint."""
    return f"{checkpoint.key}|{device}|{dtype}"


class EnginePool:
    """Workers by checkpoint. Everything here belongs to one event loop.

    A worker that died is forgotten, and the next `acquire` starts a new one. on_notice hears in words of
    every decision that nobody asked for; the words carry checkpoint names, which have not been cleaned.
    """

    def __init__(
        self,
        on_notice: Callable[[str], None],
        *,
        ram_budget: int | None = None,
        worker_niceness: int = WORKER_NICE,
        session: str = DEFAULT_SESSION,
    ) -> None:
        """ram_budget: bytes for all workers together, None for RAM_SHARE of all. The others: see Worker.spawn."""
        self._on_notice = on_notice
        self._ram_budget = ram_budget
        self._worker_niceness = worker_niceness
        self._session = session
        self._slots: dict[str, Slot] = {}
        self._deciding = asyncio.Lock()
        self._spare: Worker | None = None
        self._spare_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def warm(self) -> None:
        """Start the spare worker now; later ones follow by themselves."""
        self._arrange_spare(delay=False)

    async def acquire(
        self,
        checkpoint: Checkpoint,
        *,
        on_progress: ProgressCallback | None = None,
        device: str = "auto",
        dtype: str = "auto",
        keep: Collection[str] = (),
    ) -> Worker:
        """The worker that holds the checkpoint, loading it first if need be. Calls at the same time share one
        load.

        An idle worker that holds the same base, with another adapter or with none, is changed into this one instead,
        unless `keep` names its key: its checkpoint is not resident any more then, and is had back in the same way.
        Ask the worker for a reply before awaiting anything else: an idle worker may be unloaded for another
        checkpoint. Cancelling the only call that waits for a load stops the load, unless it only exchanges an adapter,
        which is soon done. Raises EngineErrors.
        """
        if self._closed:
            raise EngineError("The engine is shut down.")
        key = slot_key(checkpoint, device, dtype)
        now = asyncio.get_running_loop().time()
        slot = self._slots.get(key)
        if slot is None or (slot.loaded and slot.worker and not slot.worker.alive):
            slot = self._slots[key] = Slot(key, checkpoint, device, dtype, now)
            slot.loading = self._start(self._load(slot, keep))
        slot.acquired_at = now
        if not slot.loaded:
            await self._wait_for(slot, on_progress)
        assert slot.worker is not None
        return slot.worker

    def resident(self) -> list[Resident]:
        """What is loaded or being loaded, in the order of loading."""
        return [
            Resident(slot.key, slot.checkpoint, slot.state, slot.bytes, slot.worker.info if slot.worker else None)
            for slot in self._slots.values()
        ]

    async def unload(self, key: str) -> None:
        """End the worker that holds `key`, whatever it is doing. Nothing happens when there is none."""
        slot = self._slots.pop(key, None)
        if slot is None:
            return
        if slot.loading is not None and not slot.loading.done():
            slot.loading.cancel()
            await asyncio.wait([slot.loading])
        elif slot.worker is not None:
            await slot.worker.close()

    async def close(self) -> None:
        """End everything. Loads that are waited for fail with EngineError."""
        self._closed = True
        endings = [self.unload(key) for key in self._slots]
        if self._spare_task is not None:
            self._spare_task.cancel()
        await asyncio.gather(*endings)
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._spare is not None:
            await self._spare.close()

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Loading.

    async def _wait_for(self, slot: Slot, on_progress: ProgressCallback | None) -> None:
        assert slot.loading is not None
        slot.waiters += 1
        if on_progress is not None:
            slot.listeners.append(on_progress)
        try:
            await asyncio.wait([slot.loading])
        finally:
            slot.waiters -= 1
            if on_progress is not None:
                slot.listeners.remove(on_progress)
            if slot.changing:  # about a second's work; broken off it would take its base along
                slot.loading.add_done_callback(lambda loading: loading.cancelled() or loading.exception())
                asyncio.get_running_loop().call_later(_CHANGE_GRACE_S, self._give_up, slot)
            else:
                self._give_up(slot)
        if slot.loading.cancelled():
            raise EngineError(f"Loading {slot.checkpoint.name} was stopped.", "Ask again to load it.")
        error = slot.loading.exception()
        if error is not None:
            raise copy.copy(error)

    def _give_up(self, slot: Slot) -> None:
        """Load it no longer, unless somebody waits for it."""
        if slot.loading is not None and not slot.waiters and not slot.loading.done():
            self._forget(slot)
            slot.loading.cancel()

    async def _take_same_base(self, slot: Slot, keep: Collection[str]) -> Slot | None:
        """The one used longest ago of those that can be changed into the slot's checkpoint, off the table."""
        alike = [
            other
            for other in self._slots.values()
            if other is not slot and other.key not in keep
            if (other.base, other.device, other.dtype) == (slot.base, slot.device, slot.dtype)
        ]
        left = [other.loading for other in alike if other.changing and not other.waiters and other.loading is not None]
        if left:
            await asyncio.wait(left)
        found = [other for other in alike if other.can_change and self._slots.get(other.key) is other]
        return self._slots.pop(min(found, key=lambda other: other.last_used).key) if found else None

    async def _change(self, slot: Slot, before: Slot) -> bool:
        """Let the worker of another slot hold this one's checkpoint; False when it goes on holding what it held.

        So it does, too, after the errors that loading the checkpoint would end with as well; those are raised.
        """
        worker = slot.worker = before.worker
        assert worker is not None, "it can be changed"
        slot.place = before.place
        slot.changing = True
        try:
            spare = await self._reserve(slot, before.bytes)
            adapter = slot.checkpoint.path if slot.checkpoint.kind == "adapter" else None
            await worker.adapt(adapter, spare=spare, on_progress=slot.report)
        except EngineError as error:
            slot.worker, slot.bytes = None, 0
            if worker.alive and before.key not in self._slots:
                self._slots[before.key] = before
            else:
                await worker.close()
            if isinstance(error, CheckpointRefusedError | CheckpointNotFoundError):
                raise
            slot.changing = False
            if not slot.waiters:
                raise asyncio.CancelledError from error  # no room is made for what nobody waits for
            return False
        before.worker = None  # its death is not told twice
        return True

    async def _load(self, slot: Slot, keep: Collection[str]) -> None:
        if slot.checkpoint.problem is not None:
            self._forget(slot)
            raise CheckpointRefusedError(f"{slot.checkpoint.name} cannot be loaded. {slot.checkpoint.problem}")
        try:
            same_base = await self._take_same_base(slot, keep)
            if same_base is None or not await self._change(slot, same_base):
                spare = await self._make_room(slot)
                slot.worker = await self._take_spare()
                info = await slot.worker.load(
                    slot.checkpoint.path,
                    base=slot.checkpoint.base,
                    device=slot.device,
                    dtype=slot.dtype,
                    spare=spare,
                    on_progress=slot.report,
                )
                slot.place = info.device if info.device.startswith("cuda") else RAM
            assert slot.worker is not None, "it has loaded the checkpoint"
            await asyncio.to_thread(measure, slot)
            slot.loaded = True
            slot.worker.died.add_done_callback(partial(self._on_death, slot))
        except BaseException as error:
            self._forget(slot)
            if slot.worker is not None:
                await self._dispose(slot.worker, error)
            raise
        finally:
            slot.changing = False
            self._arrange_spare(delay=True)

    async def _dispose(self, worker: Worker, error: BaseException) -> None:
        """After a failed load: a worker that refused the checkpoint kept nothing of it and is spare again."""
        refused = isinstance(error, CheckpointRefusedError | CheckpointNotFoundError)
        if refused and worker.alive and self._spare is None and not self._closed:
            self._cancel_spare()
            self._set_spare(worker)
        else:
            await worker.close()

    def _forget(self, slot: Slot) -> None:
        if self._slots.get(slot.key) is slot:
            del self._slots[slot.key]

    def _on_death(self, slot: Slot, died: asyncio.Future[EngineError | None]) -> None:
        self._forget(slot)
        error = died.result()
        if error is not None and slot.worker is not None and not slot.worker.was_busy:
            self._on_notice(f"{slot.checkpoint.name} is not loaded any more. {error}")

    # The spare.

    def _set_spare(self, worker: Worker) -> None:
        self._spare = worker
        worker.died.add_done_callback(partial(self._on_spare_death, worker))

    def _on_spare_death(self, worker: Worker, died: asyncio.Future[EngineError | None]) -> None:
        if self._spare is worker:
            self._spare = None
            if (error := died.result()) is not None:
                self._on_notice(f"The spare engine worker is gone. {error}")

    def _cancel_spare(self) -> None:
        """Another worker takes the place of the one that waits for quiet, or has only just begun."""
        if self._spare_task is not None:
            self._spare_task.cancel()
            self._spare_task = None

    async def _take_spare(self) -> Worker:
        self._cancel_spare()
        worker, self._spare = self._spare, None
        if worker is not None and worker.alive:
            return worker
        return await Worker.spawn(nice=self._worker_niceness, session=self._session)

    def _arrange_spare(self, delay: bool) -> None:
        if self._spare is None and self._spare_task is None and not self._closed:
            self._spare_task = self._start(self._start_spare(delay))

    async def _start_spare(self, delay: bool) -> None:
        try:
            if delay:
                await self._quiet()
            worker = await Worker.spawn(nice=self._worker_niceness, session=self._session)
        except EngineError as error:
            self._on_notice(f"There is no spare engine worker. {error}")
        else:
            self._set_spare(worker)
        self._spare_task = None

    async def _quiet(self) -> None:
        """Wait until nothing loads or answers, for SPARE_DELAY_S: imports take a core for seconds."""
        while True:
            await asyncio.sleep(SPARE_DELAY_S)
            active = [slot for slot in self._slots.values() if slot.state != "idle"]
            if not active:
                return
            for slot in active:
                if slot.loading is not None:
                    await asyncio.wait([slot.loading])
                if slot.worker is not None:
                    await slot.worker.wait_idle()

    # Memory.

    async def _make_room(self, slot: Slot) -> int:
        """Reserve what the load will take, unloading idle checkpoints for it, least recently used first.

        Returns the bytes that an adapter's base may take once more. Raises NotEnoughMemoryError, before anything is
        unloaded, when that would not be enough.
        """
        async with self._deciding:
            slot.place, needed, kept = await asyncio.to_thread(estimate, slot)
            spare = 0
            while True:
                others = [other for other in self._slots.values() if other is not slot and other.place == slot.place]
                limits = await asyncio.to_thread(measure_place, slot.place, others)
                if limits is None:  # nothing is known of this GPU's memory: the worker will find out
                    break
                budget = self._budget(slot.place, limits)
                free = room(budget, limits, others)
                if needed <= free:
                    spare = min(kept, free - needed)
                    break
                idle = [other for other in others if other.state == "idle"]
                if needed > free + sum(other.bytes for other in idle):
                    raise not_enough(slot, needed, free, budget, others)
                victim = min(idle, key=lambda other: other.last_used)
                self._on_notice(
                    f"Unloaded {victim.checkpoint.name} ({human(victim.bytes)}) to make room for "
                    f"{slot.checkpoint.name}, which needs about {human(needed)}; {human(max(0, free))} of "
                    f"{human(budget)} was free."
                )
                await self.unload(victim.key)
            slot.bytes = needed + spare
            return spare

    async def _reserve(self, slot: Slot, held: int) -> int:
        """Reserve what the slot's worker, which holds so many bytes already, may take for another adapter."""
        async with self._deciding:
            _, _, kept = await asyncio.to_thread(estimate, slot)
            others = [other for other in self._slots.values() if other is not slot and other.place == slot.place]
            limits = await asyncio.to_thread(measure_place, slot.place, others)
            free = 0 if limits is None else room(self._budget(slot.place, limits) - held, limits, others)
            spare = max(0, min(kept, free))
            slot.bytes = held + spare
            return spare

    def _budget(self, place: str, limits: Memory) -> int:
        if place == RAM:
            return self._ram_budget if self._ram_budget is not None else int(limits.total * RAM_SHARE)
        return int(limits.total * VRAM_SHARE)
