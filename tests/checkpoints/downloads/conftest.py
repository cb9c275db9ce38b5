"""Watching downloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.checkpoints.downloads.status import Status


class Watcher:
    """Every status of the downloads, and waiting for one."""

    def __init__(self) -> None:
        self.seen: list[Status] = []
        self._changed = asyncio.Event()

    def __call__(self, status: Status) -> None:
        self.seen.append(status)
        self._changed.set()

    @property
    def states(self) -> list[str]:
        """The states in the order they were in, repetitions left out."""
        states = [status.state for status in self.seen]
        return [state for state, before in zip(states, [None, *states], strict=False) if state != before]

    async def until(self, condition: Callable[[Status], object]) -> Status:
        """The first status from now on, the last one included, for which the condition holds."""
        async with asyncio.timeout(60):
            while not (self.seen and condition(self.seen[-1])):
                self._changed.clear()
                await self._changed.wait()
        return self.seen[-1]
