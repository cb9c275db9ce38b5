"""events.jsonl: what a run tells, one JSON object a line, only ever appended.

Every record has "type" and "time" (seconds since the epoch). The types and their fields:

    run         name, base, method, engine, world_size, dtype, device, parameters, trainable, total_steps, resumed_from,
                version (of this format: VERSION)
    phase       name, done, total (0: unknown), words
    step        step, loss, learning_rate, grad_norm, tokens (all so far), trained_tokens, tokens_per_s,
                trained_tokens_per_s, epoch, memory_bytes, seconds
    eval        step, loss, perplexity, tokens, best
    sample      step, prompt, answer, index
    checkpoint  step, path, bytes, best
    ack         command, id, step, words
    alert       kind (those of sft.training.alerts; patience, checkpoint, disk, signal), words, step
    heartbeat   step, paused (true while it waits to be continued)
    end         how ("done", "stopped", "failed" or "killed"), step, words, hint

A number that is not finite is written as null, and the record's "nonfinite" lists the names of such fields. Readers
pass types and fields on that they do not know.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from sft.json_lines import CHUNK, Appender, read_lines, read_record
from sft.json_lines import Record as Record

EVENTS = "events.jsonl"
VERSION = 1
SAVING_PHASES = ("saving", "writing the result")

# What a reader must find again after a power cut.
_DURABLE = frozenset(("run", "checkpoint", "ack", "alert", "end"))
_BACK = 1 << 16


class EventWriter:
    """Appends records to a run's events; several processes may write them at once."""

    def __init__(self, path: Path) -> None:
        """path: the events.jsonl, made if need be. A line that a kill left unfinished is closed. Raises OSError."""
        self._appender = Appender(path)

    def write(self, type: str, **fields: object) -> None:
        """Append one record; run, checkpoint, ack, alert and end are on the disk when this returns.

        Numbers of numpy and torch, tuples and paths are taken too. Raises OSError when it could not be written whole.
        """
        nonfinite: list[str] = []
        record: Record = {"type": type, "time": time.time()}
        record |= {name: _plain(value, name, nonfinite) for name, value in fields.items()}
        if nonfinite:
            record["nonfinite"] = nonfinite
        self._appender.append(record, durable=type in _DURABLE)

    def close(self) -> None:
        self._appender.close()

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _plain(value: object, name: str, nonfinite: list[str]) -> object:
    """The value in JSON's own types; the names of numbers that JSON does not have go to the list."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        nonfinite.append(name)
        return None
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()  # a file name may hold bytes that are no text
    if isinstance(value, Mapping):
        return {
            _plain(str(key), name, nonfinite): _plain(item, f"{name}.{key}", nonfinite) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, f"{name}[{index}]", nonfinite) for index, item in enumerate(value)]
    item = getattr(value, "item", None)
    return _plain(item() if callable(item) else str(value), name, nonfinite)


class Tail(NamedTuple):
    """What was appended. offset: where to go on, in bytes.

    torn: lines that are no records, which were skipped. restarted: the file is shorter than the offset was, so it was
    read from its beginning. newer: the version of a run record that is newer than VERSION, else 0. more: call again
    at once, there is more.
    """

    records: list[Record]
    offset: int
    torn: int = 0
    restarted: bool = False
    newer: int = 0
    more: bool = False


def tail(path: Path, offset: int = 0, limit: int = CHUNK) -> Tail:
    """The records from a byte offset on, at most `limit` bytes of them; the time does not depend on the offset.

    A file that is not there holds none. A last line without its end is left for the next call. Raises OSError.
    """
    read = read_lines(path, offset, limit)
    records, torn, newer = _records(read.lines)
    return Tail(records, read.offset, torn + read.skipped, read.restarted, newer, read.more and read.offset > offset)


def last_records(path: Path, size: int = _BACK) -> list[Record]:
    """The whole records within about the last `size` bytes, oldest first; none where there is no file."""
    try:
        length = path.stat().st_size
    except FileNotFoundError:
        return []
    start = max(0, length - size)
    lines = read_lines(path, start, size).lines
    return _records(lines[1:] if start else lines)[0]


def recent(path: Path, count: int) -> tuple[list[Record], int]:
    """(the last `count` records, oldest first; the offset behind them). Reads backwards as far as that takes."""
    length = path.stat().st_size if path.exists() else 0
    back = _BACK
    while True:
        offset = max(0, length - back)
        found: deque[Record] = deque(maxlen=count)
        more = True
        while more:
            records, offset, _, _, _, more = tail(path, offset)
            found.extend(records)
        if len(found) == count or back >= length:
            return list(found), offset
        back *= 4


def _records(lines: Iterable[bytes]) -> tuple[list[Record], int, int]:
    """(records, lines that are none, the newest version above ours that a run record names or 0)."""
    records: list[Record] = []
    torn = newer = 0
    for line in lines:
        record = read_record(line)
        if record is None or not isinstance(record.get("type"), str):
            torn += bool(line.strip())
            continue
        version = record.get("version") if record["type"] == "run" else 0
        if isinstance(version, int) and version > max(newer, VERSION):
            newer = version
        records.append(record)
    return records, torn, newer
