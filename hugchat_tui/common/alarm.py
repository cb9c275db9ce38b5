"""A one-shot timer that rings even when the machine is busy.

Textual's `set_timer` skips a timer whose time has passed before its task first runs: with a short delay on a loaded
machine the callback is never called (textual 8.2.8, `Timer._run` with `repeat=0`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.message_pump import MessagePump


class Alarm:
    """Calls back once, some time after it was set, among the owner's messages."""

    def __init__(self, owner: MessagePump, callback: Callable[[], None]) -> None:
        self._owner = owner
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        return self._handle is not None

    def set(self, delay_s: float) -> None:
        """Ring in so many seconds; if it is set already, when it would anyway. Needs a running event loop."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(max(0.0, delay_s), self._ring)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        self._owner.call_next(self._callback)
