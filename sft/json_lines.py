"""Files of one JSON object a line that several processes append to while others read along.

A line is written by one call, so that no two mix; what a kill or a full disk left unfinished is closed by whoever
writes next, and then is a torn line that readers skip. Readers remember a byte offset.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

Record = dict[str, Any]

CHUNK = 1 << 20


class Appender:
    """Appends records to one file; several processes may have one each."""

    def __init__(self, path: Path) -> None:
        """Open for appending, made if need be. Raises OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        size = os.fstat(self._descriptor).st_size
        self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def append(self, record: Mapping[str, object], *, durable: bool = False) -> None:
        """Append one record in one write; durable: it is on the disk when this returns.

        Raises OSError when the line could not be written whole; the next one then begins on a line of its own.
        """
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        data = b"\n" + line if self._torn else line
        self._torn = True
        written = os.write(self._descriptor, data)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes of a line were written: is the disk full?")
        self._torn = False
        if durable:
            os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class Lines(NamedTuple):
    """Whole lines without their ends. offset: where to go on, in bytes.

    skipped: lines longer than the limit. restarted: the file is shorter than the offset was, so it was read from its
    beginning. more: something is behind the offset already, a whole line or a part of one.
    """

    lines: list[bytes]
    offset: int
    skipped: int = 0
    restarted: bool = False
    more: bool = False


def read_lines(path: Path, offset: int = 0, limit: int = CHUNK) -> Lines:
    """The lines from an offset on: at most `limit` bytes, whatever lies before and behind them.

    A file that is not there holds none. A last line without its end is left for the next call. Raises OSError, also
    for what is no file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe would block for ever
    except FileNotFoundError:
        return Lines([], 0, restarted=offset > 0)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
            raise OSError(errno.EINVAL, "It is not a regular file", str(path))
        size = status.st_size
        restarted = size < offset
        start = 0 if restarted else offset
        data = os.pread(descriptor, limit, start)
        end = data.rfind(b"\n") + 1
        if not end and len(data) == limit:
            # A line longer than the limit is no record of ours: step over it, holding no more than that much.
            following = _line_end(descriptor, start + limit, limit)
            return Lines([], following or start, int(following > 0), restarted, 0 < following < size)
        return Lines(data[:end].split(b"\n")[:-1], start + end, 0, restarted, start + len(data) < size)
    finally:
        os.close(descriptor)


def _line_end(descriptor: int, start: int, chunk: int) -> int:
    """The offset behind the next newline; 0 when there is none yet."""
    while data := os.pread(descriptor, chunk, start):
        found = data.find(b"\n")
        if found >= 0:
            return start + found + 1
        start += len(data)
    return 0


def read_record(line: bytes) -> Record | None:
    """The JSON object on a line that has a number as its "time"; None for anything else."""
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    moment = record.get("time")
    return record if isinstance(moment, int | float) and not isinstance(moment, bool) else None
