"""A session that computes nothing and exchanges adapters: it says what it holds.

The process, the channel and the signals around it are the real ones.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from engine import protocol
from engine.errors import CheckpointRefusedError

_TIMINGS = protocol.Timings(queued_s=0, prefill_s=0, first_token_s=0, decode_s=0, tokens_per_second=0)


def warm_up() -> None:
    pass


class Session:
    """Adapters: `misfit` is refused; of `dies` dies who exchanges another for it. Asked `wait`, it never ends."""

    def __init__(self, base: str, adapter: str | None, spare: int) -> None:
        self._base = base
        self.info = protocol.ModelInfo(
            path=adapter or base,
            family="scripted",
            parameters=0,
            weight_bytes=0,
            kv_bytes_per_token=0,
            device="cpu",
            device_name="",
            dtype="float32",
            context_length=1024,
            template="checkpoint",
            adapter=None if adapter is None else Path(adapter).name,
            kept_bytes=min(spare, 1),
        )
        if self.info.adapter == "misfit":
            raise CheckpointRefusedError("It was made for another model.")

    @classmethod
    def load(cls, request: protocol.Load, progress: Callable[[str, int, int], None]) -> Session:
        return cls(request.base or request.path, request.path if request.base else None, request.spare)

    def adapt(self, request: protocol.Adapt, progress: Callable[[str, int, int], None]) -> Session:
        progress("merging the adapter", 0, 0)
        if Path(request.adapter or "").name == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return Session(self._base, request.adapter, request.spare)

    def generate(
        self,
        request: protocol.Generate,
        emit: Callable[[protocol.GenerationEvent], None],
        cancelled: Callable[[], bool],
        received_at: float,
    ) -> None:
        emit(protocol.Started(id=request.id, prompt_tokens=1, cached_tokens=0, context_length=1024, seed=0))
        said = f"{Path(self._base).name} with {self.info.adapter}"
        emit(protocol.Piece(id=request.id, text=said, token_ids=()))
        while request.messages[-1].content == "wait" and not cancelled():
            time.sleep(0.002)
        emit(protocol.Finished(id=request.id, reason="done", prompt_tokens=1, new_tokens=0, timings=_TIMINGS))
