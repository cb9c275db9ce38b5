"""Long jobs on checkpoints of this machine: verifying, converting, merging, exporting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

WorkState = Literal["running", "done", "failed", "stopped"]


@dataclass(eq=False, slots=True)
class Work:
    """One job. verb: what is done, "Verifying". about: key of the row it is done to. name: that row's, not cleaned.

    on_change: called when it moved. stage: in a word; done, total: bytes, total 0 while unknown. message: how it
    ended, in words. result: the path of what was made, if anything was. began: of this stage, time.monotonic().
    """

    verb: str
    about: str
    name: str
    on_change: Callable[[], None]
    stage: str = ""
    done: int = 0
    total: int = 0
    state: WorkState = "running"
    message: str = ""
    result: str = ""
    began: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None

    def report(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self.began = time.monotonic()
        self.stage, self.done, self.total = stage, done, total
        self.on_change()

    @property
    def rate(self) -> float:
        """Bytes a second in this stage; 0 while that says nothing yet."""
        passed = time.monotonic() - self.began
        return self.done / passed if passed > 1 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds that the stage will take yet at that rate; None when unknown."""
        return (self.total - self.done) / self.rate if self.total and self.rate else None
