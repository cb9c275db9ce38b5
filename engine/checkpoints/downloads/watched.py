"""A download as the manager sees it, and what its directory and its process say of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen

import msgspec

from engine.checkpoints.downloads.job import Job, Request, all_jobs
from engine.checkpoints.downloads.status import AT_REST, Status

_INTERRUPTED = "It was interrupted; what came is kept."


class Watched:
    """A download and its process: ours, somebody else's (`foreign`), or none. wanted: to be started."""

    def __init__(self, job: Job, status: Status) -> None:
        self.job = job
        self.status = status
        self.process: Popen[bytes] | None = None
        self.foreign = False
        self.wanted = False
        self.detached = False
        self.changed = asyncio.Event()
        self.ended = asyncio.Event()

    def create_again(self) -> None:
        """Write the request, unless it is there. Raises OSError."""
        known = self.status
        self.job.create(Request(known.repo_id, known.revision, known.file, known.cache_dir))

    @property
    def running(self) -> bool:
        return self.process is not None or self.foreign


def existing(data: Path) -> list[tuple[Job, Status, bool]]:
    found = []
    for job in all_jobs(data):
        request, status, running = job.request(), job.status(), job.running
        if request is None:
            continue  # being made this moment, or not ours
        status = status or job.first_status(request)
        if running:
            found.append((job, status, True))
        elif status.state == "done" and (job.seen or not Path(status.path).exists()):
            job.remove()
        elif status.state in AT_REST:
            found.append((job, status, False))
        else:
            found.append((job, interrupted(status), False))
    return found


def read(running: Sequence[Watched]) -> list[tuple[Watched, Status | None, bool]]:
    """The status of each, read after it was seen whether it still runs, so that the last word is not missed."""
    found = []
    for watched in running:
        process = watched.process
        ended = process.poll() is not None if process is not None else not watched.job.running
        status = watched.job.status()
        if ended and status is not None and status.state == "done":
            with contextlib.suppress(OSError):  # then the next start tells it once more
                watched.job.mark_seen(True)
        found.append((watched, status, ended))
    return found


def without_last_word(job: Job, status: Status, code: int | None) -> Status:
    """The status of a download whose process ended without one: killed, or by a mistake of ours that is in its log.

    code: its exit status, None when it was not our child.
    """
    status = interrupted(status)
    if code is not None and code > 0:
        said = job.last_words()
        message = f"Its process broke down: {said or f'status {code}'}"
        hint = "Try again; what came is kept."
        status = msgspec.structs.replace(status, state="failed", message=message, hint=hint, reason="unexpected")
    with contextlib.suppress(OSError):  # a full disk, or the directory is gone
        job.save_status(status)
    return status


def interrupted(status: Status) -> Status:
    return msgspec.structs.replace(
        status, state="paused", message=_INTERRUPTED, process=None, detached=False, rate=0.0, left_s=None
    )


def forget_plan(job: Job) -> None:
    request = job.request()
    if request is not None:
        job.save_request(msgspec.structs.replace(request, plan=None))
