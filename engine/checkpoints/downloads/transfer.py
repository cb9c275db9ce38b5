"""Fetches the files of one commit into a repository of the cache: several at once, in segments, each checked.

Every file goes the same way: its bytes into a Partial, by up to CONNECTIONS requests at a time; behind them a thread
computes the checksum of what is there from the start without a gap; when both are through and the checksum is the
Hub's, the file gets its name, `blobs/ETAG`, and a link in the snapshot. What was here before is compared with its
checksum beside that, and fetched like the rest where it is damaged; until then the damaged file stays where it is.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from engine.checkpoints.downloads.active import ActiveFile, Place, close_all
from engine.checkpoints.downloads.checking import Checker
from engine.checkpoints.downloads.files import Progress, has_size, link, new_digest
from engine.checkpoints.downloads.job import WantedFile
from engine.checkpoints.downloads.packets import batched
from engine.checkpoints.downloads.partial import Partial, discard, written_bytes
from engine.checkpoints.downloads.requests import BadAnswerError, Remote, Trouble, trouble_of
from engine.checkpoints.hub_errors import FetchFailedError

CONNECTIONS = 4
SEGMENT = 32 << 20
_HASH_CHUNK = 1 << 20
_SYNC_EVERY_S = 5.0
_TICK_S = 0.1
_RESTARTS = 3  # of a file whose server knows no ranges
_STILL_S = 3.0  # without a byte for so long a transfer is called stalled
_ROUNDS = 3  # over files that vanish from the snapshot while others are fetched
_COMPARING = "What is here already is compared with its checksums."


@dataclass(frozen=True, slots=True)
class Patience:
    """How broken connections are retried: seconds before the first try and the longest before any, and for how long
    without a single byte."""

    first_s: float = 0.5
    longest_s: float = 30.0
    give_up_s: float = 900.0


class StoppedError(Exception):
    """The transfer was told to stop; all that came is kept."""


class Transfer:
    """One run over the files. `run` does the work; the rest may be read from other threads at any time."""

    def __init__(
        self,
        remote: Remote,
        repository: Path,
        commit: str,
        files: Iterable[WantedFile],
        *,
        stop: threading.Event,
        on_link: Callable[[str], None] = lambda path: None,
        patience: Patience = Patience(),
    ) -> None:
        """repository: its directory in the cache. stop: set from anywhere to end the run early. on_link: is
        told each file of the snapshot right before it gets its name there.
        """
        self.remote = remote
        self.blobs = repository / "blobs"
        self.snapshot = repository / "snapshots" / commit
        self.locks = repository.parent / ".locks" / repository.name
        self.files = [Progress(wanted) for wanted in sorted(files, key=lambda wanted: wanted.size)]
        self.trouble: Trouble | None = None
        self.note = ""
        self.patience = patience
        self._stop = stop
        self._on_link = on_link
        self._ended = threading.Event()  # by a failure or by being through
        self._last_byte = time.monotonic()
        self._failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self._unchecked: list[Progress] = []  # here since before the download began
        self._sound: set[str] = set()  # blobs whose content is known to be right, and those that are damaged
        self._checker = Checker(self.blobs, self.snapshot)
        self._rounds = 0
        self._names_damaged: list[str] = []
        for progress in self.files:
            if not self._is_here(progress.wanted):
                progress.done = written_bytes(self.blobs, progress.wanted.etag, progress.wanted.size)
            elif progress.wanted.here:
                self._unchecked.append(progress)
            else:
                progress.state, progress.done = "done", progress.wanted.size

    @property
    def done(self) -> int:
        return sum(progress.done for progress in self.files)

    @property
    def total(self) -> int:
        return sum(progress.wanted.size for progress in self.files)

    @property
    def missing(self) -> int:
        """Bytes that have to be fetched if what is here is whole; to be asked before the run."""
        return self.total - self.done - sum(progress.wanted.size for progress in self._unchecked)

    @property
    def words(self) -> str:
        """What there is to be said besides the state."""
        if self.trouble is not None:
            return self.trouble.words
        return _COMPARING if self._checker.busy else f"{self._checker.note} {self.note}".strip()

    @property
    def state(self) -> Literal["downloading", "checking", "stalled", "retrying", "waiting"]:
        states = {progress.state for progress in self.files}
        if self.trouble is not None:
            return "retrying"
        if "downloading" in states:
            return "stalled" if time.monotonic() - self._last_byte > _STILL_S else "downloading"
        if "checking" in states:
            return "checking"
        return "waiting" if "waiting" in states else "downloading"

    def run(self) -> None:
        """Fetch, check and link everything. Raises FetchFailedError or StoppedError."""
        self._last_byte = time.monotonic()
        unchecked = {progress.wanted.path for progress in self._unchecked}
        waiting = [each for each in self.files if each.state != "done" and each.wanted.path not in unchecked]
        with ExitStack() as cleanup:
            active: list[ActiveFile] = []
            cleanup.callback(close_all, active)
            pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="connection")
            cleanup.callback(pool.shutdown, cancel_futures=True)
            cleanup.callback(self.remote.abort)
            cleanup.callback(self._checker.close)
            cleanup.callback(self._ended.set)
            self._checker.start()
            for progress in self._unchecked:
                self._checker.add(progress, self.snapshot / progress.wanted.path)
            synced = time.monotonic()
            while self._goes_on(waiting, active):
                while sum(file.unstarted for file in active) < CONNECTIONS and self._activate(waiting, active, pool):
                    pass
                self._pause()
                for file in active:
                    file.progress.done = file.partial.written
                    if not file.hasher.is_alive():
                        self._conclude(file, pool)
                active[:] = [file for file in active if not file.closed]
                waiting += self._checker.results()
                if time.monotonic() - synced > _SYNC_EVERY_S:
                    synced = time.monotonic()
                    for file in active:
                        file.partial.sync()

    def _goes_on(self, waiting: list[Progress], active: list[ActiveFile]) -> bool:
        """Whether something is left to do. What somebody deleted from the snapshot meanwhile is done again.

        Raises FetchFailedError when that is so time and again.
        """
        if waiting or active or self._checker.busy:
            return True
        waiting += [progress for progress in self.files if not self._is_here(progress.wanted)]
        if not waiting:
            return False
        self._rounds += 1
        if self._rounds == _ROUNDS:
            raise _vanished(waiting[0].wanted)
        for progress in waiting:
            progress.state, progress.done = "queued", 0
        return True

    def _pause(self) -> None:
        """Let the threads work for a moment. Raises what ended one of them, or StoppedError."""
        try:
            raise self._failures.get(timeout=_TICK_S)
        except queue.Empty:
            pass
        if self._stop.is_set():
            raise StoppedError

    def _activate(self, waiting: list[Progress], active: list[ActiveFile], pool: ThreadPoolExecutor) -> bool:
        """Begin with the first file that nobody else is fetching; False when there is none."""
        for progress in waiting:
            etag = progress.wanted.etag
            if self._checker.is_checking(etag) or etag in {file.progress.wanted.etag for file in active}:
                continue  # the same content under another name comes first, and is linked then
            lock = FileLock(self.locks / f"{etag}.lock", mode=0o664, thread_local=False)
            try:
                self.locks.mkdir(parents=True, exist_ok=True)
                lock.acquire(blocking=False)
            except Timeout:
                progress.state = "waiting"
                continue
            waiting.remove(progress)
            blob = self.blobs / etag
            if etag not in self._checker.damaged and has_size(blob, progress.wanted.size):
                if etag in self._checker.sound:
                    discard(self.blobs, etag)
                    self._link(progress)
                else:
                    self._checker.add(progress, blob)  # of another revision, or another program finished it
                lock.release()
                return True
            if not active:
                self._last_byte = time.monotonic()  # there was nothing to be fetched for a while, perhaps
            file = ActiveFile(progress, Partial(self.blobs, etag, progress.wanted.size, SEGMENT), lock)
            active.append(file)
            progress.state = "downloading"
            self._start(file, pool)
            return True
        return False

    def _start(self, file: ActiveFile, pool: ThreadPoolExecutor) -> None:
        file.hasher = threading.Thread(target=self._hash, args=(file,), daemon=True)
        file.hasher.start()
        places = [Place(index, file.partial.era) for index in file.partial.unfinished]
        file.work = [pool.submit(self._fetch, file, place) for place in places]

    def _conclude(self, file: ActiveFile, pool: ThreadPoolExecutor) -> None:
        """The checksum is known: name the file, or fetch it once more. Raises FetchFailedError."""
        wanted = file.progress.wanted
        if not file.digest:
            return  # it failed, and the run is about to be told
        if file.digest == wanted.etag:
            file.closed = True
            try:
                file.partial.finish(self.blobs / wanted.etag)
                self._checker.is_fetched(wanted.etag)
                self._link(file.progress)
            except FileNotFoundError as error:
                raise _vanished(wanted) from error
            finally:
                file.lock.release()
            return
        if file.damaged:
            file.close()
            discard(self.blobs, wanted.etag)
            raise FetchFailedError(
                f"{wanted.path} arrived damaged twice: its checksum is not the one the Hub names. It was thrown away.",
                "Try again later; if it stays so, a proxy on the way changes what it delivers.",
                "checksum",
            )
        file.damaged = True
        self.note = f"{wanted.path} arrived damaged and is fetched once more."
        file.partial.begin_again()
        file.progress.state = "downloading"
        self._start(file, pool)

    def _link(self, progress: Progress) -> None:
        self._on_link(progress.wanted.path)
        link(self.blobs / progress.wanted.etag, self.snapshot / progress.wanted.path)
        progress.state, progress.done = "done", progress.wanted.size

    def _is_here(self, wanted: WantedFile) -> bool:
        """Whether the snapshot has it whole; one that was cut off is fetched anew."""
        return has_size(self.snapshot / wanted.path, wanted.size)

    # In threads of their own

    def _hash(self, file: ActiveFile) -> None:
        """The checksum of the file, computed behind its growing start; it begins again when the file does."""
        partial, wanted = file.partial, file.progress.wanted
        try:
            era, at, digest = -1, 0, new_digest(wanted)
            while at < wanted.size or era != partial.era:
                with partial.changed:
                    if era != partial.era:
                        era, at, digest = partial.era, 0, new_digest(wanted)
                    ready = partial.prefix - at
                    if not ready and wanted.size:
                        partial.changed.wait(_TICK_S)
                        if self._ended.is_set():
                            return
                        continue
                data = partial.read(at, min(ready, _HASH_CHUNK))
                digest.update(data)
                at += len(data)
                if partial.written == wanted.size:
                    file.progress.state = "checking"
            file.digest = digest.hexdigest()
        except Exception as error:  # noqa: BLE001 (raised again where the run is watched)
            self._failures.put(error)

    def _fetch(self, file: ActiveFile, place: Place) -> None:
        """Fill one segment, however often the connection breaks."""
        tries = 0
        try:
            while not self._ended.is_set() and place.era == file.partial.era:
                before = file.partial.lacking(place.index, place.era)
                try:
                    self._stream(file, place)
                    return
                except Exception as error:
                    trouble = trouble_of(error, self.remote.reference)
                    if trouble is None:
                        raise
                    tries = tries + 1 if file.partial.lacking(place.index, place.era) == before else 1
                    self._wait(trouble, tries)
        except StoppedError:
            return
        except Exception as error:  # noqa: BLE001 (raised again where the run is watched)
            self._failures.put(error)

    def _stream(self, file: ActiveFile, place: Place) -> None:
        partial, wanted = file.partial, file.progress.wanted
        span = partial.lacking(place.index, place.era)
        if span is None:
            return
        start, end = span
        whole = (start, end) == (0, wanted.size)
        with self.remote.open(wanted.path, wanted.size, None if whole else (start, end)) as body:
            if body.from_the_start and not whole:
                self._begin_again(file, place)
                start, end = 0, wanted.size
            for data in batched(body.chunks):
                if self._ended.is_set():
                    raise StoppedError
                if not partial.write(place.index, place.era, data[: end - start]):
                    return
                start += min(len(data), end - start)
                self._last_byte = time.monotonic()
                self.trouble = None
                if start == end:
                    return  # a server that sends more than it was asked for; the checksum decides
        if start < end:
            raise BadAnswerError(f"{wanted.path} broke off {end - start:,} bytes before its end")

    def _begin_again(self, file: ActiveFile, place: Place) -> None:
        """The server knows no ranges: this very answer brings the file from its start, over one connection.

        Raises FetchFailedError when it was so often enough, and StoppedError where another connection was first.
        """
        path = file.progress.wanted.path
        with file.restarting:
            if place.era != file.partial.era:
                raise StoppedError
            file.restarts += 1
            if file.restarts > _RESTARTS:
                raise FetchFailedError(
                    f"The server sends {path} only as a whole, and the connection broke {_RESTARTS} times on the way.",
                    "Try again with a better connection.",
                    "server",
                )
            place.index, place.era = 0, file.partial.begin_again(segment=max(1, file.progress.wanted.size))
        self.note = f"The server sends {path} only as a whole: it started over."

    def _wait(self, trouble: Trouble, tries: int) -> None:
        """Wait before the next try. Raises FetchFailedError when that makes no sense any more, or StoppedError."""
        patience = self.patience
        pause = min(patience.longest_s, patience.first_s * 2 ** min(tries - 1, 20))
        if trouble.retry_after_s is not None:
            pause = max(pause, trouble.retry_after_s)
        if time.monotonic() + pause - self._last_byte > patience.give_up_s:
            raise trouble.failure
        self.trouble = trouble.again_in(pause)
        if self._ended.wait(pause):
            raise StoppedError


def _vanished(wanted: WantedFile) -> FetchFailedError:
    return FetchFailedError(
        f"{wanted.path} was fetched and is gone again: something deletes in the cache while this download runs.",
        "Wait for its end, then try again.",
        "cache",
    )
