"""How far this process has read its data files, also packed ones: as the kernel tells it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")


class ReadingPosition:
    """Bytes of the files of some sources, which are read in this order. files: of each source, with their sizes."""

    def __init__(self, files: Sequence[Sequence[tuple[Path, int]]]) -> None:
        self._before = []  # bytes of the sources before each
        self._starts: dict[str, tuple[int, int]] = {}  # of each file: its source, and the bytes before it
        self.total = 0
        for source, its_files in enumerate(files):
            self._before.append(self.total)
            for path, size in its_files:
                self._starts[os.path.realpath(path)] = source, self.total
                self.total += size

    def end(self, source: int) -> int:
        """Once this source was read."""
        return [*self._before, self.total][source + 1]

    def read(self, source: int) -> int:
        """While this source is at hand. Where the kernel does not tell (not Linux), whole sources are counted."""
        done = self._before[source]
        if not _DESCRIPTORS.is_dir():
            return done
        for descriptor in os.listdir(_DESCRIPTORS):  # noqa: PTH208 - names are all that is needed
            try:
                its_source, start = self._starts.get(os.readlink(_DESCRIPTORS / descriptor), (-1, 0))  # noqa: PTH115
                if its_source == source:
                    done = max(done, start + _position(descriptor))
            except OSError:  # closed meanwhile
                continue
        return done


def _position(descriptor: str) -> int:
    first = Path("/proc/self/fdinfo", descriptor).read_text().split("\n", 1)[0]
    return int(first.removeprefix("pos:"))
