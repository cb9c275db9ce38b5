"""How the checkpoints of this machine would fit into memory, and what the disk has left."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.checkpoints.library.rows import Row
    from engine.checkpoints.model import Checkpoint
    from engine.fit import Fit
    from hugchat_tui.settings.schema import Settings

_FIT_CONTEXT = 4096  # tokens of a conversation that an estimate counts with, where the model takes so many


def counted_context(checkpoint: Checkpoint) -> int:
    """Tokens of a conversation that an estimate counts with."""
    return min(_FIT_CONTEXT, checkpoint.context_length or _FIT_CONTEXT)


def measure(rows: Sequence[Row], settings: Settings) -> dict[str, Fit]:
    """By a row's key, how each checkpoint would fit into memory now: for a thread."""
    from engine.fit import estimate, measure_room

    room = measure_room(device=settings.model.device, ram_budget=settings.engine.memory_budget_bytes)
    if room is None:
        return {}
    by_path = {row.checkpoint.path: row.checkpoint for row in rows if row.checkpoint is not None}
    fits = {}
    for row in rows:
        if (checkpoint := row.checkpoint) is not None and not row.problem:
            base = by_path.get(checkpoint.base) if checkpoint.base is not None else None
            context = counted_context(checkpoint)
            fits[row.key] = estimate(checkpoint, base, dtype=settings.model.dtype, context=context, room=room)
    return fits


def free_bytes(path: Path) -> int:
    """Bytes that are free where the path lies, or will lie."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free
