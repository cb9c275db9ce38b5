"""Which checkpoints will hardly fit into memory, said before anyone waits for a load that is refused."""

from __future__ import annotations

from collections.abc import Sequence

from engine import memory
from engine.checkpoints.describe import describe
from engine.checkpoints.model import Checkpoint
from engine.memory import human
from engine.pool import RAM_SHARE, VRAM_SHARE


def fit_warnings(
    checkpoints: Sequence[Checkpoint], *, device: str = "auto", dtype: str = "auto", ram_budget: int | None = None
) -> dict[str, str]:
    """Words by Checkpoint.key about those that need more than the pool's budget, or than is available now.

    The arguments are the pool's. Reads the disk and may start nvidia-smi: call it in a thread. Of several GPUs the
    first is meant; where a GPU's memory is unknown nothing is said.
    """
    on_gpu = device.startswith("cuda") or (device == "auto" and memory.vram() != [])
    if on_gpu:
        gpus = memory.vram()
        if not gpus:
            return {}
        available, budget = gpus[0].available, int(gpus[0].total * VRAM_SHARE)
    else:
        ram = memory.ram()
        available, budget = ram.available, int(ram.total * RAM_SHARE) if ram_budget is None else ram_budget
    warnings = {}
    for checkpoint in checkpoints:
        if checkpoint.problem is None:
            base = describe(checkpoint.base) if checkpoint.base is not None else None
            needed = memory.load_estimate(checkpoint, base, dtype, on_gpu)
            if needed > budget:
                warnings[checkpoint.key] = f"needs about {human(needed)}; models may take {human(budget)} here"
            elif needed > available:
                warnings[checkpoint.key] = f"needs about {human(needed)}; {human(available)} is free now"
    return warnings
