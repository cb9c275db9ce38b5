"""Helpers for tests with real workers whose session is scripted (worker_scripts/scripted_session.py)."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Awaitable, Callable
from pathlib import Path

from engine import generation, protocol
from engine.client import Worker
from engine.generation import Generation

SCRIPTS = Path(__file__).parent / "worker_scripts"
Spawn = Callable[..., Awaitable[Worker]]


def ask(worker: Worker, content: str) -> Generation:
    return worker.generate([protocol.ChatMessage(role="user", content=content)], protocol.Sampling())


async def text_of(reply: Generation) -> str:
    return "".join([event.text async for event in reply if isinstance(event, protocol.Piece)])


async def until_piece(reply: Generation) -> None:
    async for event in reply:
        if isinstance(event, protocol.Piece):
            return


async def until_backlogged(reply: Generation) -> None:
    while reply.backlog < generation.BACKLOG_HIGH:  # noqa: ASYNC110 (nothing announces it)
        await asyncio.sleep(0)


def wait_gone(pid: int) -> bool:
    """Whether the process ends within 20 s; True at once when it already has."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        return bool(poller.poll(20_000))
    finally:
        os.close(pidfd)
