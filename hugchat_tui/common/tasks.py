"""Work beside the event loop's callbacks that must not fail unheard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

_log = logging.getLogger(__name__)


def start(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    """Run it as a task; an exception that nobody expected goes to the log with its traceback."""
    task = asyncio.create_task(work)
    task.add_done_callback(_tell)
    return task


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s failed", task.get_coro(), exc_info=error)
