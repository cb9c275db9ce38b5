"""A file that is being fetched: its bytes so far, the threads that work on it, and the lock that makes it ours."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

from filelock import FileLock

from engine.checkpoints.downloads.files import Progress
from engine.checkpoints.downloads.partial import Partial, discard


@dataclass(slots=True)
class Place:
    """A segment of a file since it last began."""

    index: int
    era: int


@dataclass(slots=True, eq=False)
class ActiveFile:
    progress: Progress
    partial: Partial
    lock: FileLock
    hasher: threading.Thread = field(default_factory=threading.Thread)
    work: list[Future[None]] = field(default_factory=list)
    restarting: threading.Lock = field(default_factory=threading.Lock)
    restarts: int = 0
    digest: str = ""
    damaged: bool = False
    closed: bool = False

    @property
    def unstarted(self) -> int:
        return sum(not (future.running() or future.done()) for future in self.work)

    def close(self) -> None:
        """Leave what came for another run."""
        self.hasher.join()
        self.progress.done = self.partial.written
        self.partial.close()
        if not self.progress.done:
            discard(self.partial.path.parent, self.progress.wanted.etag)
        self.lock.release()
        self.closed = True


def close_all(files: Iterable[ActiveFile]) -> None:
    for file in files:
        if not file.closed:
            file.close()
