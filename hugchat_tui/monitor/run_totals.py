"""What the events of a run come to, for a list of runs: read once, and then only what was appended.

Steps and heartbeats, which are nearly all of a long run's lines, are not decoded.
"""

from __future__ import annotations

import math
from pathlib import Path

from hugchat_tui.monitor.batches import finite, usable_step
from sft.json_lines import Record, read_lines, read_record
from sft.runs import is_start

_MANY = (b'{"type": "step"', b'{"type": "heartbeat"')
_TOLD = frozenset(("ack", "alert", "end"))


class RunTotals:
    """begun_at: time of the first event, 0 before. best: (step, loss) of the best evaluation so far.

    worked_s: from each start of the run to its end or to the last event. whole: read up to the end of the file once.
    """

    def __init__(self, events: Path) -> None:
        self.whole = False
        self._events = events
        self._offset = 0
        self._begin()

    def _begin(self) -> None:
        self.begun_at = 0.0
        self.best: tuple[int, float] | None = None
        self._worked_before_s = 0.0  # by earlier starts of the run
        self._began: float | None = None  # of this start
        self._latest: float | None = None

    @property
    def worked_s(self) -> float:
        if self._began is None or self._latest is None:
            return self._worked_before_s
        return self._worked_before_s + max(0.0, self._latest - self._began)

    def read(self, chunks: int) -> list[Record]:
        """Read at most so many megabytes on; answers to commands, alerts and ends among them, oldest first.

        Raises OSError.
        """
        told: list[Record] = []
        for _ in range(chunks):
            read = read_lines(self._events, self._offset)
            if read.restarted:
                self._begin()
                told.clear()
            stalled = read.offset == self._offset
            self._offset = read.offset
            for place, line in enumerate(read.lines):
                if not line.startswith(_MANY):
                    told += self._take(line, read.lines[place - 1] if place else b"")
            self._note_time(read.lines[-1] if read.lines else b"")
            if not read.more or stalled:
                self.whole = True
                break
        return told

    def _take(self, line: bytes, before: bytes) -> list[Record]:
        record = read_record(line)
        if record is None:
            return []
        kind = record.get("type")
        at = finite(record["time"])
        if math.isnan(at):
            return []
        self.begun_at = self.begun_at or at
        if self._began is None or is_start(record):
            self._note_time(before)
            self._worked_before_s = self.worked_s
            self._began = self._latest = at
        if kind == "eval":
            step, loss = usable_step(record.get("step")), finite(record.get("loss"))
            if step is not None and not math.isnan(loss):
                self.best = min(self.best or (step, math.inf), (step, loss), key=lambda each: each[1])
        return [record] if kind in _TOLD else []

    def _note_time(self, line: bytes) -> None:
        record = read_record(line)
        if record is not None and not math.isnan(at := finite(record["time"])):
            self._latest = at
