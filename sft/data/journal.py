"""How far preparing a set has come: written after each shard, so that a killed process loses the shard at hand only."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np

from sft.data.conversation import BadRow
from sft.data.histogram import Histogram
from sft.data.problems import Problems, Tally
from sft.data.shards import Place, Reason, ShardSize, check_shard

JOURNAL = "journal.jsonl"


class State(msgspec.Struct, kw_only=True):
    """What was done when a shard was closed, or so many rows were read that there could have been one.

    source: its number; row: rows read of it; taken: how often conversations were taken from those. evaluation_from: the
    first document of the source that is for evaluation, -1 before there is one. The rest as in shards.Meta.
    """

    lengths: Histogram
    shards: tuple[ShardSize, ...] = ()
    source: int = 0
    row: int = 0
    taken: int = 0
    evaluation_from: int = -1
    documents: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    rows: int = 0
    duplicates: int = 0
    cut: int = 0
    split: int = 0
    dropped: int = 0
    bad: tuple[Reason, ...] = ()
    noted: tuple[Reason, ...] = ()


def reasons(tallies: dict[str, Tally]) -> tuple[Reason, ...]:
    return tuple(
        Reason(name, tally.count, tuple(Place(place.source, place.line, place.detail) for place in tally.places))
        for name, tally in tallies.items()
    )


def problems_of(rows: int, bad: tuple[Reason, ...], noted: tuple[Reason, ...]) -> Problems:
    """The Problems that such reasons were counted by."""
    problems = Problems()
    for reason in bad:
        for number in range(reason.rows):
            place = reason.places[min(number, len(reason.places) - 1)]
            problems.add(BadRow(place.source, place.line, reason.reason, place.detail))
    for reason in noted:
        for number in range(reason.rows):
            place = reason.places[min(number, len(reason.places) - 1)]
            problems.note(reason.reason, place.source, place.line)
    problems.rows = rows
    return problems


class Journal:
    """The journal in the folder of a set that is being made."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / JOURNAL

    def last(self, dtype: np.dtype[np.unsignedinteger]) -> State | None:
        """The last state whose shards are all there; what was written behind it is deleted. dtype: of the tokens."""
        lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
        state = None
        good = 0
        for line in lines:
            try:
                read = msgspec.json.decode(line, type=State)
                if not line.endswith(b"\n"):
                    break
                # Those before it were checked with their own lines.
                if read.shards:
                    check_shard(self._path.parent, len(read.shards) - 1, read.shards[-1], dtype)
            except (msgspec.DecodeError, OSError, ValueError):
                break
            state = read
            good += 1
        temporary = self._path.with_suffix(".tmp")
        temporary.write_bytes(b"".join(lines[:good]))
        temporary.replace(self._path)
        return state

    def append(self, state: State) -> None:
        """Raises OSError."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(state) + b"\n")
            file.flush()
            os.fsync(file.fileno())
