"""A file that is on its way: its bytes so far, and which they are, in two files that outlive every kind of end.

    blobs/ETAG.hugchat.incomplete   the bytes, each at its place; segments fill side by side
    blobs/ETAG.hugchat.map          how far each segment is: a memory-mapped table

The table, little-endian: b"HUGMAP01", the file's size (u64), bytes a segment (u64), the boot of the machine in which
it was written (16 bytes), then for each segment two u64: bytes that were written, and bytes known to be on the disk.
Both files are written through the system's page cache, so a process that is killed loses nothing. Only when the
machine itself went down may the first number be ahead of the disk: then the second one counts.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import threading
from pathlib import Path

from engine.checkpoints.downloads.processes import boot_id

_MAGIC = b"HUGMAP01"
_HEADER = struct.Struct("<8sQQ16s")
_PAIR = struct.Struct("<QQ")
_NUMBER = struct.Struct("<Q")
_MAP_LIMIT = 1 << 26

NOTIFY_EVERY = 1 << 20  # bytes: who waits for more of a file is not woken for every packet

PARTIAL_SUFFIX = ".hugchat.incomplete"
MAP_SUFFIX = ".hugchat.map"


class Partial:
    """The bytes of one file so far. Segments may be written from different threads, each by one at a time.

    size: of the whole file. segment: bytes a segment; the last one is shorter. `changed` is notified when
    another MiB came, a segment is complete, or the file began again.
    """

    def __init__(self, blobs: Path, etag: str, size: int, segment: int) -> None:
        """Take up what is there, or begin. Raises OSError."""
        self.path = blobs / f"{etag}{PARTIAL_SUFFIX}"
        self.map_path = blobs / f"{etag}{MAP_SUFFIX}"
        self.size = size
        self.changed = threading.Condition()
        self.era = 0  # counts beginnings: what belongs to an earlier one is not written any more
        blobs.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        known = _read_map(self.map_path, size)
        if known is None:
            os.truncate(self._file, 0)
            self._begin(segment, [])
        else:
            segment, done = known
            there = os.fstat(self._file).st_size
            starts = range(0, max(size, 1), segment)
            whole = [min(count, segment, size - at, max(0, there - at)) for at, count in zip(starts, done, strict=True)]
            self._begin(segment, whole)

    def _begin(self, segment: int, done: list[int]) -> None:
        self.segment = segment
        count = max(1, -(-self.size // segment))
        self.done = done or [0] * count
        self._whole = 0  # segments from the start that lack nothing
        self._count_whole()
        self._synced = list(self.done)
        table = b"".join(_PAIR.pack(value, value) for value in self.done)
        temporary = self.map_path.with_name(f"{self.map_path.name}.tmp")
        temporary.write_bytes(_HEADER.pack(_MAGIC, self.size, segment, _boot()) + table)
        temporary.replace(self.map_path)
        with self.map_path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def start_of(self, index: int) -> int:
        return index * self.segment

    def length_of(self, index: int) -> int:
        return min(self.segment, self.size - index * self.segment)

    def lacking(self, index: int, era: int) -> tuple[int, int] | None:
        """The first byte that a segment lacks and the one behind its last; None when the file began again."""
        with self.changed:
            if era != self.era:
                return None
            start = self.start_of(index)
            return start + self.done[index], start + self.length_of(index)

    @property
    def unfinished(self) -> list[int]:
        """Indices of the segments that lack bytes."""
        return [index for index, done in enumerate(self.done) if done < self.length_of(index)]

    @property
    def written(self) -> int:
        """Bytes in all segments together."""
        return sum(self.done)

    @property
    def prefix(self) -> int:
        """Bytes from the start without a gap."""
        if self._whole == len(self.done):
            return self.size
        return self.start_of(self._whole) + self.done[self._whole]

    def _count_whole(self) -> None:
        """Each segment is counted once in a file's life: asking for `prefix` costs the same however many there are."""
        while self._whole < len(self.done) and self.done[self._whole] == self.length_of(self._whole):
            self._whole += 1

    def write(self, index: int, era: int, data: bytes) -> bool:
        """Add bytes to a segment; False when the file began again since `era`. Raises OSError, ENOSPC among them.

        More than the segment lacks is a mistake of the caller's.
        """
        with self.changed:
            if era != self.era:
                return False
            at = self.start_of(index) + self.done[index]
        view = memoryview(data)
        while view:
            view = view[os.pwrite(self._file, view, at + len(data) - len(view)) :]
        with self.changed:
            if era != self.era:
                return False
            before, after = self.done[index], self.done[index] + len(data)
            self.done[index] = after
            _NUMBER.pack_into(self._map, _HEADER.size + index * _PAIR.size, after)
            self._count_whole()
            if before // NOTIFY_EVERY != after // NOTIFY_EVERY or after == self.length_of(index):
                self.changed.notify_all()
        return True

    def read(self, at: int, count: int) -> bytes:
        return os.pread(self._file, count, at)

    def begin_again(self, *, segment: int | None = None) -> int:
        """Throw away what is there; the new era."""
        with self.changed:
            self.era += 1
            os.truncate(self._file, 0)
            self._map.close()
            self._begin(segment or self.segment, [])
            self.changed.notify_all()
            return self.era

    def sync(self) -> None:
        """Bring to the disk what was written before this call. Raises OSError."""
        with self.changed:
            era, done = self.era, list(self.done)
        if done == self._synced:
            return
        os.fdatasync(self._file) if hasattr(os, "fdatasync") else os.fsync(self._file)
        with self.changed:
            if era == self.era:
                self._synced = done
                for index, value in enumerate(done):
                    _NUMBER.pack_into(self._map, _HEADER.size + index * _PAIR.size + _NUMBER.size, value)

    def finish(self, blob: Path) -> None:
        """Give the whole file its name. To be called when its checksum is right. Raises OSError."""
        os.fsync(self._file)
        self.close()
        self.path.replace(blob)
        self.map_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave both files as they are, to be taken up later."""
        self._map.close()
        os.close(self._file)


def discard(blobs: Path, etag: str) -> None:
    """Delete what there is of a file that is on its way. To be called with its lock held."""
    for suffix in (PARTIAL_SUFFIX, MAP_SUFFIX, f"{MAP_SUFFIX}.tmp"):
        (blobs / f"{etag}{suffix}").unlink(missing_ok=True)


def written_bytes(blobs: Path, etag: str, size: int) -> int:
    """How much of a file is here already, from its table alone; 0 when that cannot be told."""
    known = _read_map(blobs / f"{etag}{MAP_SUFFIX}", size)
    return sum(known[1]) if known is not None and (blobs / f"{etag}{PARTIAL_SUFFIX}").exists() else 0


def _read_map(path: Path, size: int) -> tuple[int, list[int]] | None:
    """(bytes a segment, bytes of each segment) of a table for a file of this size; None when it is no such table."""
    try:
        if path.stat().st_size > _MAP_LIMIT:
            return None
        data = path.read_bytes()
        magic, its_size, segment, boot = _HEADER.unpack_from(data)
    except (OSError, struct.error):
        return None
    table = data[_HEADER.size :]
    if magic != _MAGIC or its_size != size or not segment or len(table) != max(1, -(-size // segment)) * _PAIR.size:
        return None
    which = 0 if boot == _boot() else 1
    return segment, [pair[which] for pair in _PAIR.iter_unpack(table)]


def _boot() -> bytes:
    """16 bytes that another boot of this machine does not have."""
    return hashlib.blake2b(boot_id().encode(), digest_size=16).digest()
