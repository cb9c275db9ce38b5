"""The process of one download; it imports the Hub's client, which is slow and reads its settings at import.

    python -m engine.checkpoints.downloads.run DIRECTORY

DIRECTORY: of the job (see job.py), where all is read from and reported to. SIGTERM pauses. So does the end of stdin,
which is the end of the program that began it, unless a line "detach" came before.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from filelock import Timeout

from engine.checkpoints.downloads.job import Job, Request, data_problem
from engine.checkpoints.downloads.processes import mark_of
from engine.checkpoints.downloads.status import FileStatus, State, Status
from engine.checkpoints.hub_errors import FetchFailedError, cache_problem, in_words

if TYPE_CHECKING:
    from engine.checkpoints.downloads.transfer import Transfer

_REPORT_S = 0.2
_RATE_OVER_S = 5.0
_LOCK_S = 2.0
_GRACE_S = 1.0  # for connections to end by themselves when it is told to pause
_QUERY = re.compile(r"\?[^\s'\"]+")  # of an address: it may hold a signature that opens the file


class Reporter:
    """Writes the status a few times a second, from a thread of its own, for as long as the download runs."""

    def __init__(self, job: Job, first: Status) -> None:
        self.job = job
        self.base = first
        self.transfer: Transfer | None = None
        self._history: deque[tuple[float, int]] = deque()
        self._writing = threading.Lock()
        self._final = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def change(self, **changes: object) -> None:
        with self._writing:
            self.base = msgspec.structs.replace(self.base, **changes)

    def end(self, state: State, **changes: object) -> None:
        """The last word. Whoever calls it first has it."""
        with self._writing:
            if self._final.is_set():
                return
            self._final.set()
            status = msgspec.structs.replace(self._status(), state=state, rate=0.0, left_s=None, **changes)
            if state != "done":
                status = msgspec.structs.replace(status, files=tuple(map(_at_rest, status.files)))
            with contextlib.suppress(OSError):  # a full disk; who watches sees that the process has ended
                status = msgspec.structs.replace(status, process=None, detached=False, updated=time.time())
                self.job.save_status(status)

    def _work(self) -> None:
        while not self._final.wait(_REPORT_S):
            with self._writing:
                if not self._final.is_set():
                    with contextlib.suppress(OSError):  # a full disk may have room again at the next
                        self.job.save_status(self._status())

    def _status(self) -> Status:
        transfer = self.transfer
        now = time.time()
        if transfer is None:
            return msgspec.structs.replace(self.base, updated=now)
        done, total = transfer.done, transfer.total
        rate = self._rate(done)
        files = tuple(FileStatus(file.wanted.path, file.wanted.size, file.done, file.state) for file in transfer.files)
        return msgspec.structs.replace(
            self.base,
            state=transfer.state,
            done=done,
            total=total,
            rate=rate,
            left_s=(total - done) / rate if rate > 0 else None,
            files=files,
            message=transfer.words,
            updated=now,
        )

    def _rate(self, done: int) -> float:
        now = time.monotonic()
        self._history.append((now, done))
        while now - self._history[0][0] > _RATE_OVER_S:
            self._history.popleft()
        since, before = self._history[0]
        return max(0.0, (done - before) / (now - since)) if now > since else 0.0


def _at_rest(file: FileStatus) -> FileStatus:
    return file if file.state == "done" else msgspec.structs.replace(file, state="queued")


def main() -> None:
    job = Job(Path(sys.argv[1]))
    request = job.request()
    lock = job.lock()
    try:
        lock.acquire(timeout=_LOCK_S)  # whoever looks whether it runs holds it for a moment
    except Timeout:
        return  # it is being downloaded already
    if request is None:
        return
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^c is for the program in the foreground, which then pauses us
    first = msgspec.structs.replace(job.first_status(request), state="looking up", process=mark_of(os.getpid()))
    reporter = Reporter(job, first)
    threading.Thread(target=_listen, args=(reporter, stop), daemon=True).start()
    threading.Thread(target=_leave_soon, args=(reporter, stop), daemon=True).start()
    reporter.start()
    _end(reporter, job, request, stop)


def _end(reporter: Reporter, job: Job, request: Request, stop: threading.Event) -> None:
    """Download, and say how it ended."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the client is imported
    from engine.checkpoints.downloads.fetching import download
    from engine.checkpoints.downloads.transfer import StoppedError

    try:
        path = download(job, request, reporter, stop)
    except StoppedError:
        reporter.end("paused", message="", hint="", reason="")
    except FetchFailedError as error:
        reporter.end("failed", message=error.message, hint=error.hint, reason=error.reason)
    except Exception as error:  # noqa: BLE001 - whatever ends this process is told to who asked
        sys.stderr.write(_without_secrets("".join(traceback.format_exception(error))))
        failure = _failure(error, job, request)
        reporter.end("failed", message=_without_secrets(failure.message), hint=failure.hint, reason=failure.reason)
    else:
        reporter.end("done", path=str(path))


def _failure(error: Exception, job: Job, request: Request) -> FetchFailedError:
    from huggingface_hub.errors import HfHubHTTPError

    from engine.checkpoints.hub_queries.failures import failure_of

    if not isinstance(error, OSError) or isinstance(error, HfHubHTTPError):
        return failure_of(error, request.repo_id)
    problem = data_problem(error, job.directory) or cache_problem(error, Path(request.cache_dir))
    return problem or in_words(error, request.repo_id)


def _without_secrets(text: str) -> str:
    """The text without the token, which a server may quote, and without what follows a ? in an address."""
    from huggingface_hub import get_token

    token = get_token()
    return _QUERY.sub("?...", text.replace(token, "...") if token else text)


def _listen(reporter: Reporter, stop: threading.Event) -> None:
    """What our parent says; its end is ours, unless we were let go."""
    detached = False
    # The descriptor, not sys.stdin: its lock held by a daemon thread would make the interpreter abort at its end.
    while data := os.read(0, 1024):
        if b"detach" in data:
            detached = True
            reporter.change(detached=True)
    if not detached:
        stop.set()


def _leave_soon(reporter: Reporter, stop: threading.Event) -> None:
    """What came is on record at any time, so a server that says nothing need not be waited for."""
    stop.wait()
    time.sleep(_GRACE_S)
    try:
        reporter.end("paused", message="", hint="", reason="")
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
