"""What takes up space on a disk: files and folders as `du` counts them, each of them once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from engine.checkpoints.reading import is_folder

BLOCK = 512  # bytes of st_blocks' unit, whatever the file system's own is
Inode = tuple[int, int]  # device and number: two names of one file have the same
_LATEST_S = 2.0**35  # since the epoch: file systems keep moments for which there is no calendar


class Entry(NamedTuple):
    """A file, folder or link. status: of itself, not of what a link leads to."""

    path: str
    status: os.stat_result
    is_folder: bool
    is_link: bool


@dataclass(slots=True)
class Occupied:
    """The files and folders that one row refers to.

    modified, used: of the newest, in seconds since the epoch; what claims to be later than the year 3000 is left out.
    A folder's times say nothing: reading it changes them.
    """

    bytes_of: dict[Inode, int] = field(default_factory=dict)
    modified: float = 0.0
    used: float = 0.0

    @property
    def size(self) -> int:
        return sum(self.bytes_of.values())

    def add(self, entry: Entry) -> None:
        self.count(entry.status)
        if not entry.is_folder and not entry.is_link:
            self.note_times(entry.status)

    def count(self, *statuses: os.stat_result) -> None:
        for status in statuses:
            self.bytes_of[status.st_dev, status.st_ino] = status.st_blocks * BLOCK

    def note_times(self, status: os.stat_result) -> None:
        if status.st_mtime < _LATEST_S:
            self.modified = max(self.modified, status.st_mtime)
        if status.st_atime < _LATEST_S:
            self.used = max(self.used, status.st_atime)


def walk(top: str) -> Iterator[Entry]:
    """What lies at `top`, itself first, and below it. Links are not followed, except `top` itself.

    What cannot be looked at is left out, as `du` does; a folder that cannot be read counts without what it holds.
    """
    found = entry_at(top)
    if found is None:
        return
    yield found
    waiting = [top] if found.is_folder or (found.is_link and is_folder(Path(top))) else []
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                listed = list(entries)
        except OSError:
            continue
        for entry in listed:
            try:
                below = entry.is_dir(follow_symlinks=False)
                yield Entry(entry.path, entry.stat(follow_symlinks=False), below, entry.is_symlink())
            except OSError:
                continue
            if below:
                waiting.append(entry.path)


def entry_at(path: str) -> Entry | None:
    """The file, folder or link with this path; None when there is nothing to be seen."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return Entry(path, status, stat.S_ISDIR(status.st_mode), stat.S_ISLNK(status.st_mode))


def followed(path: str) -> os.stat_result | None:
    """The status of what a link leads to; None when it leads nowhere, round in a circle, or where we may not look."""
    try:
        return os.stat(path)  # noqa: PTH116 (a string a time: there are tens of thousands)
    except (OSError, ValueError):
        return None
