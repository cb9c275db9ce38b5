"""Follows a run's events from their beginning, on the event loop; reading and decoding are done in a thread."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hugchat_tui.common.tasks import start
from hugchat_tui.monitor.batches import Batch
from hugchat_tui.monitor.history import RunHistory
from hugchat_tui.monitor.reading import beginning_of_rest, read_batches, read_elsewhere
from sft.runs import RunDirectory

_CHUNKS = 8  # that are read before the event loop is told
_POLL_S = 0.2
_TELL_EVERY_S = 0.05

_log = logging.getLogger(__name__)


class _Place(NamedTuple):
    """How far a file was read: up to an offset, the beginning of a line, when it had a size.

    file: device and inode, to notice another file in its place.
    """

    file: tuple[int, int] = (0, 0)
    size: int = 0
    offset: int = 0


class _Read(NamedTuple):
    """What was read. restarted: what was known before is void. more: go on at once. problem: "" without one."""

    batches: Sequence[Batch]
    place: _Place
    restarted: bool = False
    more: bool = False
    problem: str = ""


class RunFollower:
    """Keeps a run's history up to date while it is started.

    history: the same object all along. problem: why the events cannot be read, in words; "" when they can.
    loaded: all that was there at the start has been read.
    """

    def __init__(self, run: RunDirectory, on_change: Callable[[], None]) -> None:
        """on_change: called on the event loop after something changed, at most about twenty times a second."""
        self.run = run
        self.history = RunHistory()
        self.problem = ""
        self.loaded = False
        self._on_change = on_change
        self._place = _Place()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = start(self._follow())

    async def close(self) -> None:
        """Read no more; on_change is not called any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    async def _follow(self) -> None:
        try:
            await self._read_along()
        except Exception as error:  # noqa: BLE001 (of whatever kind: the person hears that this stands still)
            _log.exception("the events of %s are not read any more", self.run.path)
            self.problem = f"Its events cannot be read any more: {error or type(error).__name__}."
            self._on_change()

    async def _read_along(self) -> None:
        begin, end = await asyncio.to_thread(beginning_of_rest, self.run.events)
        rest = asyncio.create_task(read_elsewhere(self.run.events, begin, end)) if begin else None
        told_at = 0.0
        changed = False
        try:
            while True:
                read = await asyncio.to_thread(_read, self.run, self._place, begin if rest is not None else None)
                changed |= self._take(read)
                now = time.monotonic()
                if changed and (not read.more or now - told_at >= _TELL_EVERY_S):
                    changed, told_at = False, now
                    self._on_change()
                if rest is not None and (read.restarted or not read.more):
                    rest.cancel()  # it is of another file by now
                    rest = None
                if rest is not None and self._place.offset == begin:
                    await self._take_rest(await rest)
                    rest = None
                if not read.more:
                    await asyncio.sleep(_POLL_S)
        finally:
            if rest is not None:
                rest.cancel()
                await asyncio.wait((rest,))

    def _take(self, read: _Read) -> bool:
        """Whether anything is different now."""
        before = self.problem, self.loaded
        self._place = read.place
        self.problem = read.problem
        self.loaded |= not read.more
        if read.restarted:
            self.history.clear()
        for batch in read.batches:
            self.history.apply_batch(batch)
        return read.restarted or bool(read.batches) or before != (self.problem, self.loaded)

    async def _take_rest(self, rest: tuple[Sequence[Batch], int] | None) -> None:
        """Take what the other process read; without it, it is read here."""
        if rest is None:
            return
        batches, offset = rest
        for place, batch in enumerate(batches):
            self.history.apply_batch(batch)
            if place % _CHUNKS == 0:
                await asyncio.sleep(0)
        self._place = self._place._replace(offset=offset)


def _read(run: RunDirectory, place: _Place, until: int | None) -> _Read:
    """The next lines, in a thread. A call without news costs one look at the file's size.

    until: where to stop for now, because another reads what lies behind.
    """
    try:
        status = run.events.stat()
        if (status.st_dev, status.st_ino, status.st_size) == (*place.file, place.size):
            return _Read((), place)
        return _read_on(run, place, until)
    except FileNotFoundError:
        if not run.path.is_dir():
            return _Read((), place, problem=f"The run's directory is gone: {run.path}")
        return _Read((), _Place(), restarted=place.offset > 0)
    except OSError as error:
        return _Read((), place, problem=f"Its events cannot be read: {error.strerror or error}.")


def _read_on(run: RunDirectory, place: _Place, until: int | None) -> _Read:
    descriptor = os.open(run.events, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        file, size = (status.st_dev, status.st_ino), status.st_size
        offset = place.offset
        same = file == place.file and size >= offset
        # One that was emptied and has grown past the place since then shows by the end of a line that is not there.
        restarted = offset > 0 and not (same and os.pread(descriptor, 1, offset - 1) == b"\n")
        if restarted:
            offset = 0
        batches, offset, more = read_batches(run.events, descriptor, offset, until or size, _CHUNKS)
    finally:
        os.close(descriptor)
    more |= until is not None and bool(batches)
    return _Read(batches, _Place(file, 0 if more else size, offset), restarted, more)
