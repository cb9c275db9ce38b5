"""One reply as it comes out of a worker."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import AsyncIterator, Callable

from engine import protocol
from engine.errors import EngineError

BACKLOG_HIGH = 1024
BACKLOG_LOW = 256
CANCEL_PATIENCE_S = 10.0


class Generation:
    """The events of one reply: `async for event in generation`, ending after Finished or with an EngineError.

    It can be iterated once. Leaving the loop early, or being cancelled in it, stops the generation in the
    worker. Made by `Worker.generate`.
    """

    def __init__(
        self,
        ask_to_stop: Callable[[], None],
        backlog_changed: Callable[[], None],
        give_up: Callable[[], None],
    ) -> None:
        """Called back: to send a Cancel; when `backlog` crosses a bound; when a Cancel is not answered."""
        self.stopping = False
        self._ask_to_stop = ask_to_stop
        self._backlog_changed = backlog_changed
        self._give_up = give_up
        self._events: deque[protocol.GenerationEvent] = deque()
        self._arrived = asyncio.Event()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._error: EngineError | None = None
        self._iterated = False
        self._abandoned = False

    @property
    def backlog(self) -> int:
        """Events that have arrived and were not taken yet."""
        return len(self._events)

    async def __aiter__(self) -> AsyncIterator[protocol.GenerationEvent]:
        if self._iterated:
            raise RuntimeError("a generation can be iterated only once")
        self._iterated = True
        try:
            while True:
                while self._events:
                    event = self._events.popleft()
                    if len(self._events) == BACKLOG_LOW:
                        self._backlog_changed()
                    yield event
                if self._ended.done():
                    break
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._abandon()
        if self._error is not None:
            raise copy.copy(self._error)

    async def cancel(self) -> None:
        """Stop it. Returns when it has ended, by itself or by this; what it wrote until then can still be
        iterated.

        A worker that does not answer within CANCEL_PATIENCE_S is killed: it is stuck.
        """
        self._stop()
        done, _ = await asyncio.wait([self._ended], timeout=CANCEL_PATIENCE_S)
        if not done:
            self._give_up()
            await asyncio.wait([self._ended])

    async def aclose(self) -> None:
        """Stop it and drop what was not iterated yet."""
        self._abandon()
        await self.cancel()

    # What the worker's client calls.

    def deliver(self, event: protocol.GenerationEvent) -> None:
        if isinstance(event, protocol.Finished):
            self._ended.set_result(None)
        if not self._abandoned:
            self._events.append(event)
            self._arrived.set()
            if len(self._events) == BACKLOG_HIGH:
                self._backlog_changed()

    def fail(self, error: EngineError) -> None:
        """End it with an error, which is raised after the events that came before."""
        self._error = error
        self._ended.set_result(None)
        self._arrived.set()

    def _abandon(self) -> None:
        self._abandoned = True
        self._events.clear()
        self._stop()

    def _stop(self) -> None:
        if not self.stopping and not self._ended.done():
            self.stopping = True
            self._ask_to_stop()
            self._backlog_changed()
