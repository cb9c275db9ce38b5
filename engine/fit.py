"""Whether checkpoints will fit into memory, estimated before anyone waits for a load that is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine import memory
from engine.checkpoints.describe import describe
from engine.checkpoints.model import Checkpoint
from engine.pool import RAM_SHARE, VRAM_SHARE

Verdict = Literal["fits", "tight", "no", "unknown"]
_TIGHT = 0.9  # of the room that is used: an estimate is not that exact


@dataclass(frozen=True, slots=True)
class Room:
    """Memory for models, in bytes. budget: what all of them may take; available: what is free of it now."""

    budget: int
    available: int
    on_gpu: bool

    @property
    def free(self) -> int:
        return min(self.budget, self.available)


@dataclass(frozen=True, slots=True)
class Fit:
    """An estimate, in bytes and tokens.

    verdict: "no" for more than the models' budget; "tight" for more than is free now, or hardly less; "unknown" where
    the weights or the memory are. needed: weights, KV cache and margin. available: what they were compared with.
    largest_context: tokens for which there is room now, at most what the model was built for; 0 when there is none or
    the config does not tell.
    """

    verdict: Verdict
    needed: int = 0
    available: int = 0
    largest_context: int = 0


def measure_room(*, device: str = "auto", ram_budget: int | None = None) -> Room | None:
    """The memory that a model would be loaded into; None where a GPU does not tell.

    The arguments are the pool's. Of several GPUs the first is meant. Reads files and may start nvidia-smi: call it in
    a thread.
    """
    gpus = [] if device == "cpu" else memory.vram()
    if device.startswith("cuda") or (device == "auto" and gpus != []):
        return Room(int(gpus[0].total * VRAM_SHARE), gpus[0].available, on_gpu=True) if gpus else None
    ram = memory.ram()
    return Room(int(ram.total * RAM_SHARE) if ram_budget is None else ram_budget, ram.available, on_gpu=False)


def estimate(
    checkpoint: Checkpoint,
    base: Checkpoint | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    ram_budget: int | None = None,
    context: int = 0,
    room: Room | None = None,
) -> Fit:
    """Whether a checkpoint fits with a KV cache of `context` tokens.

    base: of an adapter. device, dtype, ram_budget: the pool's. room: from measure_room, for many estimates at once;
    without it this call measures, in a thread then.
    """
    room = room or measure_room(device=device, ram_budget=ram_budget)
    known = checkpoint.size_bytes > 0 and (checkpoint.kind != "adapter" or (base is not None and base.size_bytes > 0))
    if room is None or not known:
        return Fit("unknown", available=room.free if room is not None else 0)
    per_token = checkpoint.kv_bytes_per_token * memory.number_width(dtype, room.on_gpu) // 2
    loaded = memory.load_estimate(checkpoint, base, dtype, room.on_gpu)
    needed = loaded + context * per_token
    largest = max(0, room.free - loaded) // per_token if per_token else 0
    if checkpoint.context_length:
        largest = min(largest, checkpoint.context_length)
    return Fit(_verdict(needed, room), needed, room.free, largest)


def _verdict(needed: int, room: Room) -> Verdict:
    if needed > room.budget:
        return "no"
    return "tight" if needed > room.free * _TIGHT else "fits"


def estimates(
    checkpoints: Sequence[Checkpoint], *, device: str = "auto", dtype: str = "auto", ram_budget: int | None = None
) -> dict[str, Fit]:
    """By Checkpoint.key, how those that can be loaded fit. The arguments are the pool's.

    Reads the disk and may start nvidia-smi: call it in a thread.
    """
    room = measure_room(device=device, ram_budget=ram_budget)
    if room is None:
        return {}
    by_path = {checkpoint.path: checkpoint for checkpoint in checkpoints}

    def fit(checkpoint: Checkpoint) -> Fit:
        place = checkpoint.base
        base = (by_path.get(place) or describe(place)) if place is not None else None
        return estimate(checkpoint, base, device=device, dtype=dtype, room=room)

    return {checkpoint.key: fit(checkpoint) for checkpoint in checkpoints if checkpoint.problem is None}
