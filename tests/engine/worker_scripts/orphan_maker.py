"""A program to be killed: `orphan_maker.py VERB` prints the pid of its worker once that is in a long call."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from engine import protocol
from engine.client import Worker


async def main() -> None:
    worker = await Worker.spawn(session="scripted_session")
    await worker.load(Path("/any"))
    question = protocol.ChatMessage(role="user", content=sys.argv[1])
    async for event in worker.generate([question], protocol.Sampling()):
        if isinstance(event, protocol.Piece):
            sys.stdout.write(f"{worker.pid}\n")
            sys.stdout.flush()


asyncio.run(main())
