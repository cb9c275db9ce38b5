"""Every download of this machine: begun, watched, paused and ended from the event loop.

Each runs in a process of its own and says how it is in its directory (see job.py), where all that is shown comes
from: a download that another program began, or an earlier start of this one, is watched in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from engine.checkpoints.downloads.choosing import parts_of
from engine.checkpoints.downloads.job import Job, Request, data_problem
from engine.checkpoints.downloads.processes import begin, close_stdin, say_to, signal_process
from engine.checkpoints.downloads.status import AT_REST, Status
from engine.checkpoints.downloads.watched import Watched, existing, forget_plan, read, without_last_word
from engine.checkpoints.hub_cache import HubReference
from engine.checkpoints.paths import hub_cache_dir
from engine.checkpoints.reading import reason
from engine.errors import EngineError

AT_ONCE = 3
_LOOK_EVERY_S = 0.2
_END_WITHIN_S = 10.0

OnChange = Callable[[Status], None]


class DownloadError(EngineError):
    """A download failed. reason: gated, not-found, token, network, server, space, cache, data, offline, checksum,
    unusable, paused, cancelled or unexpected; or its process could not be ended: elsewhere (on another machine, or
    nobody knows where) or stuck."""

    code = "download"

    def __init__(self, message: str, hint: str, reason: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


class Downloads:
    """The downloads under one data folder. Listeners are called on the event loop with every new status.

    end_within_s: seconds that a process is given to end by itself before it is killed.
    """

    def __init__(self, data: Path, *listeners: OnChange, end_within_s: float = _END_WITHIN_S) -> None:
        self._data = data
        self._end_within_s = end_within_s
        self._listeners = list(listeners)
        self._jobs: dict[str, Watched] = {}
        self._watch: asyncio.Task[None] | None = None
        self.closed = False
        self.arrived: list[Status] = []  # done when `start` found them, and nobody had seen that
        self._launching = asyncio.Lock()

    def listen(self, listener: OnChange) -> None:
        self._listeners.append(listener)

    async def start(self) -> None:
        """Find what there is: running ones are watched, interrupted ones are shown as paused.

        Finished ones go, unless nobody has seen that yet: those are in `arrived`, and listed until they are forgotten.
        May be called again, when others may have begun, deleted or brought back downloads.
        """
        found = await asyncio.to_thread(existing, self._data)
        there = {job.id for job, _, _ in found}
        for job, status, running in found:
            if job.id not in self._jobs:
                watched = self._jobs[job.id] = Watched(job, status)
                watched.foreign = running
                if status.state == "done":
                    self.arrived.append(status)
                self._show(watched, status)
        for id, watched in list(self._jobs.items()):
            if id not in there and not watched.running and not watched.wanted:
                del self._jobs[id]
        self._wake()

    def statuses(self) -> list[Status]:
        """All downloads, in the order in which they were begun."""
        return [watched.status for watched in self._jobs.values()]

    def status(self, id: str) -> Status:
        return self._jobs[id].status

    @property
    def active(self) -> list[Status]:
        """Those that have not come to rest."""
        return [status for status in self.statuses() if status.state not in AT_REST]

    async def add(self, reference: HubReference, *, cache_dir: Path | None = None) -> str:
        """Begin a download, or go on with the one there is of this reference; its id.

        Any part of a split GGUF file stands for the whole, which goes by its first part. Raises DownloadError when it
        cannot be written down.
        """
        reference = replace(reference, file=parts_of(reference.file)[0])
        cache = cache_dir or hub_cache_dir()
        job = Job.of(self._data, reference, cache)
        watched = self._jobs.get(job.id)
        if watched is None:
            request = Request(reference.repo_id, reference.revision, reference.file, str(cache))
            with self._writing_down():
                await asyncio.to_thread(job.create, request)
            status = await asyncio.to_thread(job.status) or job.first_status(request)
            watched = self._jobs.setdefault(job.id, Watched(job, status))
        async with self._launching:
            again = watched.status.state == "done"
        await self._go_on(watched, again=again)
        return job.id

    def is_foreign(self, id: str) -> bool:
        """Whether another program began it, or an earlier start of this one, and it runs."""
        watched = self._jobs.get(id)
        return watched is not None and watched.foreign

    async def resume(self, id: str) -> None:
        """Go on with one that is paused or failed."""
        await self._go_on(self._jobs[id])

    async def _go_on(self, watched: Watched, *, again: bool = False) -> None:
        """Start it, unless it runs. again: it was done, and the revision may name another commit now."""
        if watched.running and watched.status.state in AT_REST:
            await watched.ended.wait()  # its last word was read before its end was seen
        async with self._launching:
            if not watched.running:
                watched.foreign = await asyncio.to_thread(lambda: watched.job.running)
                if watched.foreign:
                    watched.ended = asyncio.Event()
                elif not watched.wanted:
                    with self._writing_down():
                        if again:
                            await asyncio.to_thread(forget_plan, watched.job)
                        await asyncio.to_thread(watched.create_again)  # it was deleted with what came of it, perhaps
                    self._queue(watched)
            self._wake()

    async def pause(self, id: str) -> None:
        """Stop its process, if need be with force; what came is kept. Returns when it has ended.

        Raises DownloadError when it cannot be reached or does not end.
        """
        watched = self._jobs[id]
        async with self._launching:  # what is just being started can be stopped when that is done
            watched.wanted = False
        if watched.running:
            await self._end(watched)
        elif watched.status.state not in AT_REST:
            self._show(watched, msgspec.structs.replace(watched.status, state="paused", message=""))

    async def cancel(self, id: str) -> None:
        """Stop it and delete what came of it, unless it is done by then: what is whole stays, as in `forget`.

        Raises DownloadError as `pause` does, and OSError when it cannot be deleted.
        """
        await self.pause(id)
        async with self._launching:
            watched = self._jobs.pop(id, None)
            if watched is None:
                return
            if watched.status.state == "done":
                await asyncio.to_thread(watched.job.remove)
                return
            try:
                await asyncio.to_thread(watched.job.discard)
            except OSError:
                self._jobs[id] = watched
                raise
        self._show(watched, msgspec.structs.replace(watched.status, state="failed", reason="cancelled", message=""))

    async def forget(self, id: str) -> None:
        """Take one that is done off the list; what it fetched stays."""
        if self._jobs[id].status.state == "done":
            if self._jobs[id].running:
                await self._jobs[id].ended.wait()  # its last word was read before its end was seen
            watched = self._jobs.pop(id)
            await asyncio.to_thread(watched.job.remove)

    async def detach(self, id: str) -> None:
        """Let it go on when this program ends."""
        watched = self._jobs[id]
        watched.detached = True
        if watched.process is not None:
            say_to(watched.process, b"detach\n")

    async def wait(self, id: str, on_change: OnChange = lambda status: None) -> Path:
        """Where the result lies, once it is done. on_change hears of it meanwhile.

        Raises DownloadError when it comes to rest otherwise.
        """
        watched = self._jobs[id]
        while watched.status.state not in AT_REST:
            on_change(watched.status)
            await watched.changed.wait()
        on_change(watched.status)
        status = watched.status
        if status.state == "done":
            return Path(status.path)
        if status.reason == "cancelled" or status.state == "paused":
            word = "cancelled" if status.reason == "cancelled" else "paused"
            raise DownloadError(f"The download of {status.reference} was {word}.", "Ask for it again to go on.", word)
        raise DownloadError(status.message, status.hint, status.reason)

    async def close(self, *, keep_going: bool = False) -> None:
        """Pause them all, or let them go on without us; those of other programs are left alone.

        One that does not end, not even when it is killed, is left behind.
        """
        async with self._launching:
            self.closed = True
        ours = [watched for watched in self._jobs.values() if watched.process is not None]
        if keep_going:
            for watched in ours:
                await self.detach(watched.job.id)
        await asyncio.gather(*(self._end_or_leave(watched) for watched in ours if not watched.detached))
        if keep_going:
            for watched in self._jobs.values():
                if watched.wanted and not watched.running:
                    await self._launch(watched)
                    await self.detach(watched.job.id)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    # Processes

    def _queue(self, watched: Watched) -> None:
        watched.wanted = True
        watched.detached = False  # that was said of the process that has ended
        watched.ended = asyncio.Event()
        status = msgspec.structs.replace(watched.status, state="queued", message="", hint="", reason="")
        self._show(watched, msgspec.structs.replace(status, detached=False))
        self._wake()

    def _wake(self) -> None:
        if not self.closed and (self._watch is None or self._watch.done()):
            self._watch = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """Start what is wanted and read what the processes say, until all of them rest."""
        while any(watched.wanted or watched.running for watched in self._jobs.values()):
            for watched in list(self._jobs.values()):
                async with self._launching:
                    if watched.wanted and not watched.running and self._running < AT_ONCE and not self.closed:
                        await self._launch(watched)
            running = [watched for watched in self._jobs.values() if watched.running]
            for watched, status, ended in await asyncio.to_thread(read, running):
                await self._take(watched, status, ended)
            await asyncio.sleep(_LOOK_EVERY_S)

    @property
    def _running(self) -> int:
        return sum(watched.running for watched in self._jobs.values())

    async def _launch(self, watched: Watched) -> None:
        watched.wanted = False
        try:
            await asyncio.to_thread(watched.job.mark_seen, False)
            await asyncio.to_thread(watched.job.save_status, watched.status)  # what an earlier run said is over
            watched.process = await asyncio.to_thread(begin, watched.job.directory, watched.job.log_path)
        except OSError as error:
            message = f"The download could not be started: {reason(error)}."
            hint = "Make room (disk, processes, open files or memory ran out) and try again."
            if (problem := data_problem(error, self._data)) is not None:
                message, hint = f"{message} {problem.message}", f"{problem.hint} Then try again."
            failed = msgspec.structs.replace(watched.status, state="failed", message=message, hint=hint)
            watched.ended.set()
            self._show(watched, msgspec.structs.replace(failed, reason="unexpected"))
            return
        if watched.detached:
            await self.detach(watched.job.id)

    async def _take(self, watched: Watched, status: Status | None, ended: bool) -> None:
        if ended:
            code = None
            if watched.process is not None:
                code = watched.process.returncode
                close_stdin(watched.process)
            watched.process, watched.foreign = None, False
            status = status or watched.status
            if status.state not in AT_REST and await asyncio.to_thread(lambda: watched.job.running):
                watched.foreign = True  # another program's process was faster to begin it, and ours left it to that
                return
            if status.state not in AT_REST:
                status = await asyncio.to_thread(without_last_word, watched.job, status, code)
            watched.ended.set()
        if status is not None and (status != watched.status) and not watched.wanted:
            self._show(watched, status)

    @contextlib.contextmanager
    def _writing_down(self) -> Iterator[None]:
        """Raises DownloadError for a data folder that cannot be written to."""
        try:
            yield
        except OSError as error:
            problem = data_problem(error, self._data)
            if problem is None:
                raise
            raise DownloadError(problem.message, problem.hint, problem.reason) from error

    async def _end_or_leave(self, watched: Watched) -> None:
        with contextlib.suppress(DownloadError):
            await self._end(watched)

    async def _end(self, watched: Watched) -> None:
        """Ask its process to end, kill it when it does not, and return when it has ended. Raises DownloadError."""
        name, ended = watched.status.reference, watched.ended
        for number, within in ((signal.SIGTERM, self._end_within_s), (signal.SIGKILL, _END_WITHIN_S)):
            asked, waited = False, 0.0
            while not ended.is_set() and waited < within:
                asked = asked or _signal(watched, number)  # one that has just begun has not said yet which it is
                pause = min(_LOOK_EVERY_S, within - waited)
                waited += pause
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), pause)
            if ended.is_set():
                return
            if not asked:
                raise DownloadError(
                    f"Something works on the download of {name}, and it is not the process that its record names.",
                    "That one is gone, or on another machine: pause the download where it was begun.",
                    "elsewhere",
                )
        pid = watched.process.pid if watched.process is not None else watched.status.pid
        raise DownloadError(
            f"The process of the download of {name} ({pid}) does not end, not even when it is killed.",
            "The disk that it writes to may not answer. When that is well, try again.",
            "stuck",
        )

    def _show(self, watched: Watched, status: Status) -> None:
        watched.status = status
        changed, watched.changed = watched.changed, asyncio.Event()
        changed.set()
        for listener in self._listeners:
            listener(status)


def _signal(watched: Watched, number: int) -> bool:
    """Send its process a signal; False when it is not known yet which that is. Raises DownloadError."""
    if watched.process is not None:
        watched.process.send_signal(number)
        return True
    mark = watched.status.process
    if mark is not None and mark.host != socket.gethostname():
        raise DownloadError(
            f"The download of {watched.status.reference} runs on another machine ({mark.host}).",
            "Pause it there.",
            "elsewhere",
        )
    return mark is not None and signal_process(mark, number)
