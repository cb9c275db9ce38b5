"""How much came below while the person looked elsewhere."""

from __future__ import annotations

from hugchat_tui.chat.transcript.stack import Anchor, Stack

_ALL_ROWS = 1 << 30  # of an entry whose height is an estimate


class Unseen:
    """Remembers the row behind the last one that was seen, and counts what is below it."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._seen = Anchor(0, 0)

    def reset(self) -> None:
        """All that is there counts as seen."""
        self._seen = self._end_of(len(self._stack) - 1)

    def reframe(self) -> None:
        """Rows have another width: what was seen of the last entry counts as all of it."""
        self._seen = self._end_of(min(self._seen.entry, len(self._stack) - 1))

    def count(self, bottom: int, following: bool) -> int:
        """New rows below the view, which ends before row `bottom`."""
        stack = self._stack
        total = stack.height
        if following or bottom >= total:
            self.reset()
            return 0
        entry, row = self._seen
        if entry >= len(stack):  # truncated meanwhile
            entry, row = len(stack) - 1, _ALL_ROWS
        if row == _ALL_ROWS and stack.ready(entry):
            row = stack.slots[entry].height
        seen = stack.start(entry) + min(row, stack.slots[entry].height)
        self._seen = stack.at(bottom) if bottom > seen else Anchor(entry, row)
        return total - max(seen, bottom)

    def _end_of(self, entry: int) -> Anchor:
        """Behind the last row of an entry, however many it turns out to have."""
        if entry < 0:
            return Anchor(0, 0)
        return Anchor(entry, self._stack.slots[entry].height if self._stack.ready(entry) else _ALL_ROWS)
