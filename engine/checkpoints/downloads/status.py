"""What a download says of itself: one small document that its process writes and everyone else reads."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal[
    "queued", "looking up", "downloading", "checking", "stalled", "retrying", "waiting", "paused", "failed", "done"
]
"""queued: not started yet. waiting: another program holds a file of it. stalled: the server sends nothing.
retrying: a connection broke and the next try is due soon. paused, failed: resumable. done: in the cache."""

AT_REST: frozenset[State] = frozenset({"paused", "failed", "done"})


class FileStatus(msgspec.Struct, frozen=True):
    """One file of a download: bytes in all, and bytes that are on the disk."""

    path: str
    size: int
    done: int = 0
    state: Literal["queued", "downloading", "checking", "waiting", "done"] = "queued"


class ProcessMark(msgspec.Struct, frozen=True):
    """A process, told from every other one. host: its machine's name. boot, started: of the machine and of the
    process, as opaque words to be compared."""

    pid: int
    host: str
    boot: str
    started: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A download.

    id: names its job directory. file: the one file that was asked for, empty for what loading needs. commit: empty
    until the Hub was asked. done, total: bytes; total is 0 until it is known. rate: bytes a second over the last
    seconds. left_s: at that rate, None when unknown. message, hint, reason: why it waits, retries or failed (reason as
    in DownloadError). path: where the result lies, empty until it is done. process: that works on it, None without
    one. detached: goes on when the program that began it ends. updated: seconds since the epoch.
    """

    id: str
    repo_id: str
    revision: str = "main"
    file: str = ""
    commit: str = ""
    cache_dir: str = ""
    state: State = "queued"
    done: int = 0
    total: int = 0
    rate: float = 0.0
    left_s: float | None = None
    files: tuple[FileStatus, ...] = ()
    message: str = ""
    hint: str = ""
    reason: str = ""
    path: str = ""
    process: ProcessMark | None = None
    detached: bool = False
    updated: float = 0.0

    @property
    def pid(self) -> int:
        """Of its process, on whichever machine that runs; 0 without one."""
        return self.process.pid if self.process is not None else 0

    @property
    def reference(self) -> str:
        """The download as a person would ask for it: org/name, org/name/file.gguf, org/name@revision."""
        name = f"{self.repo_id}/{self.file}" if self.file else self.repo_id
        return name if self.revision == "main" else f"{name}@{self.revision}"
