"""What a pool knows of each checkpoint it holds, and the memory that takes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from engine import memory, protocol
from engine.checkpoints.model import Checkpoint
from engine.client import ProgressCallback, Worker
from engine.errors import NotEnoughMemoryError
from engine.memory import Memory, human

RAM = "RAM"


@dataclass(eq=False, slots=True)
class Slot:
    """One checkpoint on one device in one dtype. place: RAM, or a GPU as torch names it.

    changing: it is loaded by exchanging the adapter of a worker that holds its base.
    """

    key: str
    checkpoint: Checkpoint
    device: str
    dtype: str
    acquired_at: float
    place: str = RAM
    bytes: int = 0
    loading: asyncio.Task[None] | None = None
    loaded: bool = False
    changing: bool = False
    worker: Worker | None = None
    waiters: int = 0
    listeners: list[ProgressCallback] = field(default_factory=list)

    @property
    def state(self) -> Literal["loading", "busy", "idle"]:
        if self.worker is None or not self.loaded:
            return "loading"
        return "busy" if self.worker.busy or self.waiters else "idle"

    @property
    def last_used(self) -> float:
        return self.acquired_at if self.worker is None else max(self.acquired_at, self.worker.last_active)

    @property
    def base(self) -> Path:
        """Where the model lies, which is another place than the checkpoint's for an adapter."""
        own = self.checkpoint
        return own.base if own.kind == "adapter" and own.base is not None else own.path

    @property
    def can_change(self) -> bool:
        """Whether the worker can hold its base with another adapter, or with none, from now on."""
        worker = self.worker
        if self.state != "idle" or worker is None or not worker.alive or worker.info is None:
            return False
        return worker.info.adapter is None or worker.info.kept_bytes > 0

    def report(self, progress: protocol.LoadProgress) -> None:
        for listener in self.listeners:
            listener(progress)


class Estimate(NamedTuple):
    """Of a load. place: where it goes. needed: what it takes there. kept: the base's own weights once more, which allow
    to exchange an adapter; 0 for other checkpoints.
    """

    place: str
    needed: int
    kept: int


def estimate(slot: Slot) -> Estimate:
    """What loading the checkpoint takes. Reads files, and may start nvidia-smi: for a thread, as the next two."""
    from engine.checkpoints.describe import describe

    place = RAM
    if slot.device.startswith("cuda"):
        place = "cuda:0" if slot.device == "cuda" else slot.device
    elif slot.device == "auto" and memory.vram():
        place = "cuda:0"
    base = describe(slot.checkpoint.base) if slot.checkpoint.base is not None else None
    needed = memory.load_estimate(slot.checkpoint, base, slot.dtype, on_gpu=place != RAM)
    kept = memory.weights_estimate(base, slot.dtype, on_gpu=place != RAM) if base is not None else 0
    return Estimate(place, needed, kept)


def measure(slot: Slot) -> None:
    """Replace the estimate of a load that is done by what it takes; what is on a GPU cannot be measured."""
    if slot.worker is not None and slot.worker.info is not None:
        if slot.place == RAM:
            slot.bytes = memory.resident_set(slot.worker.pid)
        else:
            slot.bytes = memory.with_overhead(slot.worker.info.weight_bytes) + slot.worker.info.kept_bytes


def measure_place(place: str, slots: list[Slot]) -> Memory | None:
    """What the place holds in total and has available after the loads under way; None when unknown."""
    for slot in slots:
        if slot.loaded:  # else its worker may hold another adapter yet, and the bytes are what was reserved
            measure(slot)
    limits: Memory | None
    if place == RAM:
        limits = memory.ram()
    else:
        gpus = memory.vram()
        number = int(place.removeprefix("cuda:"))
        limits = gpus[number] if gpus is not None and number < len(gpus) else None
    if limits is None:
        return None
    still_to_come = sum(
        max(0, slot.bytes - (memory.resident_set(slot.worker.pid) if slot.worker and place == RAM else 0))
        for slot in slots
        if not slot.loaded
    )
    return Memory(limits.total, limits.available - still_to_come)


def room(budget: int, limits: Memory, others: list[Slot]) -> int:
    """Bytes that are free beside others; less than 0 when they exceed the budget."""
    return min(budget - sum(other.bytes for other in others), limits.available)


def not_enough(slot: Slot, needed: int, free: int, budget: int, others: list[Slot]) -> NotEnoughMemoryError:
    """Why a checkpoint is not loaded."""
    where = "memory" if slot.place == RAM else f"memory of {slot.place}"
    message = (
        f"{slot.checkpoint.name} needs about {human(needed)} of {where}; {human(max(0, free))} is free "
        f"of a budget of {human(budget)}."
    )
    working = [other.checkpoint.name for other in others if other.state != "idle"]
    if working:
        return NotEnoughMemoryError(
            message,
            f"Wait for {', '.join(working)} or stop it, then try again; or choose a smaller checkpoint.",
        )
    advice = "Choose a smaller or quantized checkpoint, or dtype bfloat16"
    if slot.place != RAM:
        advice += ", or device cpu"
    return NotEnoughMemoryError(message, f"{advice}; or close other programs.")
