"""Reads a run's events many lines at a time; of a long file a second process reads the rest meanwhile."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from engine.checkpoints.children import ChildFailedError, end_with_parent, run_module
from hugchat_tui.monitor.batches import Batch, decode, decode_lines
from sft.json_lines import Record, read_lines

_CHUNK = 1 << 19  # bytes that are decoded at once, while the event loop may have to wait
_LARGE = 128 << 20  # bytes from which a second process is worth its start
_SHARE = 0.5  # that is read here meanwhile: the other one has to start first, and what both have read is taken in here
_LONGEST_LINE = 1 << 20


def read_batches(events: Path, descriptor: int, offset: int, end: int, most: int) -> tuple[list[Batch], int, bool]:
    """(at most so many batches from an offset up to an end, the offset behind them, whether there is more up to there).

    Both are the beginnings of lines, or `end` is as far as the file goes. Raises OSError.
    """
    batches: list[Batch] = []
    more = offset < end
    while more and len(batches) < most:
        data = os.pread(descriptor, min(_CHUNK, end - offset), offset)
        whole = data.rfind(b"\n") + 1
        if not whole and len(data) == _CHUNK:  # a line longer than that
            data = os.pread(descriptor, min(_LONGEST_LINE, end - offset), offset)
            whole = data.rfind(b"\n") + 1
        more = 0 < len(data) < end - offset
        if whole:
            batches.append(decode(data, whole))
            offset += whole
        elif more:  # longer than any record of ours: passed over
            long = read_lines(events, offset)
            batch = decode_lines(long.lines)
            batches.append(batch._replace(torn=batch.torn + long.skipped))
            more = offset < long.offset < end
            offset = long.offset
    return batches, offset, more


def beginning_of_rest(events: Path) -> tuple[int, int]:
    """(where the part begins that another process should read, where it ends); (0, 0): the file is not that long."""
    try:
        with events.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < _LARGE:
                return 0, 0
            middle = int(size * _SHARE)
            file.seek(middle)
            found = file.read(_LONGEST_LINE).find(b"\n") + 1
            return (middle + found, size) if found else (0, 0)
    except OSError:
        return 0, 0  # whoever reads it says why


class _Part(msgspec.Struct, array_like=True):
    """A batch on its way from one process to the other. steps: the bytes of its array, rows after rows."""

    rows: int
    steps: memoryview
    step: Record | None
    others: list[tuple[int, Record]]
    torn: int


class _Rest(msgspec.Struct, array_like=True):
    parts: list[_Part]
    offset: int


async def read_elsewhere(events: Path, begin: int, end: int) -> tuple[Sequence[Batch], int] | None:
    """The batches between two offsets, and the offset behind them; None where the other process failed."""
    folder = None
    try:
        folder = await asyncio.to_thread(_temporary_folder)
        answer = Path(folder.name, "rest")
        arguments = (__name__, str(events), str(begin), str(end), str(answer))
        await run_module(arguments, lambda line: None)
        return await asyncio.to_thread(_taken, answer)
    except (ChildFailedError, OSError, msgspec.DecodeError):
        return None
    finally:
        if folder is not None:
            await asyncio.to_thread(folder.cleanup)


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="hugchat-events-", ignore_cleanup_errors=True)


def _taken(answer: Path) -> tuple[Sequence[Batch], int]:
    rest = msgspec.msgpack.decode(answer.read_bytes(), type=_Rest)
    batches = [
        Batch(np.frombuffer(part.steps).reshape(part.rows, -1), part.step, part.others, part.torn)
        for part in rest.parts
    ]
    return batches, rest.offset


def main() -> int:
    """The other process: EVENTS BEGIN END ANSWER."""
    end_with_parent()
    events, begin, end, answer = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    descriptor = os.open(events, os.O_RDONLY)
    batches, offset, _ = read_batches(events, descriptor, begin, end, sys.maxsize)
    parts = [
        _Part(len(each.steps), memoryview(each.steps.tobytes()), each.step, each.others, each.torn) for each in batches
    ]
    answer.write_bytes(msgspec.msgpack.encode(_Rest(parts, offset)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
