"""Compares what is here already with the checksums that the Hub names, while the rest is being fetched."""

from __future__ import annotations

import os
import queue
import threading
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.downloads.files import Progress, new_digest
from engine.checkpoints.reading import UnreadableError, open_regular

_CHUNK = 1 << 20
_SHOWN = 5  # names of damaged files


@dataclass(frozen=True, slots=True)
class _Checked:
    """path: where the file was read, in the snapshot or among the blobs."""

    progress: Progress
    path: Path
    whole: bool


class Checker:
    """One thread that reads one file after the other: a disk is not faster for being asked for several.

    All but that thread's work belongs to one other thread. sound, damaged: etags of blobs whose content is known to be
    right, or not to be. note: which files are damaged, in words.
    """

    def __init__(self, blobs: Path, snapshot: Path) -> None:
        self.sound: set[str] = set()
        self.damaged: set[str] = set()
        self._names: list[str] = []
        self._blobs = blobs
        self._snapshot = snapshot
        self._asked: queue.SimpleQueue[tuple[Progress, Path] | None] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[_Checked] = queue.SimpleQueue()
        self._pending: list[Progress] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="checker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def busy(self) -> bool:
        return bool(self._pending)

    def is_checking(self, etag: str) -> bool:
        return any(progress.wanted.etag == etag for progress in self._pending)

    def add(self, progress: Progress, path: Path) -> None:
        """Read it when its turn comes. path: its name in the snapshot, or its blob."""
        progress.state, progress.done = "queued", 0
        self._pending.append(progress)
        self._asked.put((progress, path))

    def results(self) -> list[Progress]:
        """Of what was read since this was asked last, the files that are to be linked or fetched; others are done."""
        found = []
        while not self._told.empty():
            checked = self._told.get()
            self._pending.remove(checked.progress)
            if self._is_done(checked):
                checked.progress.state = "done"
            else:
                checked.progress.state, checked.progress.done = "queued", 0
                found.append(checked.progress)
        return found

    def _is_done(self, checked: _Checked) -> bool:
        wanted = checked.progress.wanted
        pointer, blob = self._snapshot / wanted.path, self._blobs / wanted.etag
        if checked.path == blob or os.path.realpath(pointer) == os.path.realpath(blob):  # else it is a copy
            (self.sound if checked.whole else self.damaged).add(wanted.etag)
        if not checked.whole:
            self._names.append(wanted.path)
        return checked.whole and checked.path == pointer

    def is_fetched(self, etag: str) -> None:
        """It has its name among the blobs, in the place of a damaged one, perhaps."""
        self.damaged.discard(etag)
        self.sound.add(etag)

    @property
    def note(self) -> str:
        if not self._names:
            return ""
        more = f" and {len(self._names) - _SHOWN} more" if len(self._names) > _SHOWN else ""
        return f"Damaged here, so that it is fetched anew: {', '.join(self._names[:_SHOWN])}{more}."

    def close(self) -> None:
        self._ended.set()
        self._asked.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None and not self._ended.is_set():
            progress, path = asked
            progress.state = "checking"
            try:
                whole = self._is_whole(progress, path)
            except (OSError, UnreadableError):
                whole = False  # it went away, or the disk cannot read it: then it is fetched, too
            self._told.put(_Checked(progress, path, whole))

    def _is_whole(self, progress: Progress, path: Path) -> bool:
        digest = new_digest(progress.wanted)
        with open_regular(path) as file:
            while not self._ended.is_set() and (chunk := file.read(_CHUNK)):
                digest.update(chunk)
                progress.done += len(chunk)
        return digest.hexdigest() == progress.wanted.etag
