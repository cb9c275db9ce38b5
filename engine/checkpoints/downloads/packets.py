"""Puts packets together before they are written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

_BATCH = 128 << 10
_READY_S = 0.0005  # a packet that takes longer was not there yet


def batched(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Packets put together as long as the next one lies ready: each write hands the interpreter to another thread.

    Whatever had to be waited for is given on at once, so that a kill loses next to nothing.
    """
    batch: list[bytes] = []
    size = 0
    packets = iter(chunks)
    try:
        asked = time.monotonic()
        while (packet := next(packets, None)) is not None:
            batch.append(packet)
            size += len(packet)
            if size >= _BATCH or time.monotonic() - asked > _READY_S:
                yield b"".join(batch)
                batch, size = [], 0
            asked = time.monotonic()
    except Exception:  # the connection broke: what it brought counts
        if batch:
            yield b"".join(batch)
        raise
    if batch:
        yield b"".join(batch)
