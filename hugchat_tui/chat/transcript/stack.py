"""The entries one above the other: which rows each takes, and which of them have been rendered. No Textual here.

Every entry has a height: an estimate until it is rendered at the present width, exact from then on. A place in the
conversation is an `Anchor`, so a corrected height elsewhere moves nothing that is looked at.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from hugchat_tui.chat.transcript.entries import Entry
from hugchat_tui.chat.transcript.frame import Frame
from hugchat_tui.chat.transcript.rows import Row

if TYPE_CHECKING:
    from hugchat_tui.chat.transcript.rendering import Rendering

_KEPT_ROWS = 30_000  # rows of entries that are not looked at; about 20 MB
_FOREVER = float("inf")


class Anchor(NamedTuple):
    """A row: the entry's index and the row in it."""

    entry: int
    row: int


class Slot:
    """An entry with its height in rows, its rendering if it has one, and when that was looked at last."""

    __slots__ = ("entry", "exact", "height", "rendering", "used")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.height = 0
        self.exact = False
        self.rendering: Rendering | None = None
        self.used = 0


class Stack:
    """frame: the room and colours that entries are rendered for."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.slots: list[Slot] = []
        self._indices: dict[int, int] = {}
        self._starts = [0]  # the first row of each entry as far as it is known; rebuilt from there when asked for
        self._clock = 0

    def __len__(self) -> int:
        return len(self.slots)

    # Entries

    def replace(self, entries: Iterable[Entry]) -> None:
        """Show these entries and no others. A rendering is kept where the same entry is shown again.

        Raises ValueError when two have the same key."""
        old = {slot.entry.key: slot for slot in self.slots if slot.rendering is not None}
        self.slots, self._indices, self._starts = [], {}, [0]
        for entry in entries:
            kept = old.get(entry.key)
            if kept is not None and kept.entry == entry:
                self._put(kept)
            else:
                self.append(entry)

    def append(self, entry: Entry) -> None:
        """Add an entry at the end. Raises ValueError when its key is there already."""
        slot = Slot(entry)
        slot.height = self._estimate(entry)
        self._put(slot)

    def _put(self, slot: Slot) -> None:
        if slot.entry.key in self._indices:
            raise ValueError(f"the transcript has an entry with key {slot.entry.key} already")
        self._indices[slot.entry.key] = len(self.slots)
        self.slots.append(slot)

    def truncate(self, length: int) -> None:
        """Drop the entries from an index on."""
        for slot in self.slots[length:]:
            del self._indices[slot.entry.key]
        del self.slots[length:]
        del self._starts[length + 1 :]

    def index_of(self, key: int) -> int | None:
        return self._indices.get(key)

    def reframe(self, frame: Frame) -> None:
        """Render for another width or other colours from now on. Heights stay exact where only colours changed."""
        same_width = (frame.width, frame.measure) == (self.frame.width, self.frame.measure)
        self.frame = frame
        for slot in self.slots:
            slot.rendering = None
            if not same_width:
                slot.exact = False
                slot.height = self._estimate(slot.entry)
        self._starts = [0]

    def _estimate(self, entry: Entry) -> int:
        """Rows that an entry will take, roughly, in no time."""
        text = entry.text
        return 2 + bool(entry.footer) + bool(text) + text.count("\n") + len(text) // self.frame.measure

    # Rows

    @property
    def height(self) -> int:
        """Rows of all entries."""
        return self.start(len(self.slots))

    def start(self, index: int) -> int:
        """The first row of an entry."""
        while len(self._starts) <= index:
            self._starts.append(self._starts[-1] + self.slots[len(self._starts) - 1].height)
        return self._starts[index]

    def at(self, row: int) -> Anchor:
        """The place of a row, the nearest one where there is none."""
        row = max(0, min(row, self.height - 1))
        index = min(bisect_right(self._starts, row), len(self.slots)) - 1
        # Entries without rows do not occur: each has a title and a blank row.
        return Anchor(index, row - self._starts[index])

    def row_of(self, place: Anchor) -> int:
        return self.start(place.entry) + place.row

    def rows(self, index: int) -> list[Row]:
        """The rows of an entry, rendered now if they are not there."""
        self.ensure(index)
        rendering = self.slots[index].rendering
        assert rendering is not None
        return rendering.rows

    def _set_height(self, index: int, height: int) -> None:
        slot = self.slots[index]
        if slot.height != height:
            slot.height = height
            del self._starts[index + 1 :]

    # Rendering

    def ready(self, index: int) -> bool:
        """Whether an entry's rows are all there."""
        rendering = self.slots[index].rendering
        return rendering is not None and rendering.done

    def ensure(self, index: int) -> None:
        """Render an entry if it is not."""
        self.render(index, _FOREVER)

    def render(self, index: int, deadline: float) -> bool:
        """Work on an entry's rows until `time.perf_counter()` passes the deadline. True when they are all there."""
        slot = self.slots[index]
        self._clock += 1
        slot.used = self._clock
        if slot.rendering is None:
            # An empty transcript, which is the first thing a person sees, needs none of what rendering imports.
            from hugchat_tui.chat.transcript.rendering import Rendering

            slot.rendering = Rendering(slot.entry, self.frame)
        if slot.rendering.done or slot.rendering.advance(deadline):
            slot.exact = True
            self._set_height(index, len(slot.rendering.rows))
            return True
        return False

    def refresh(self, index: int) -> int:
        """Take over what an entry's text has gained. Returns the first row of the entry that changed."""
        rendering = self.slots[index].rendering
        if rendering is None:
            self.slots[index].exact = False
            self._set_height(index, self._estimate(self.slots[index].entry))
            return 0
        was_done = rendering.done
        rendering.take_text()
        self.ensure(index)
        return rendering.changed if was_done else 0

    def retitle(self, index: int) -> None:
        """An entry's title, detail, footer or role changed."""
        rendering = self.slots[index].rendering
        if rendering is not None and rendering.done:
            rendering.retitle()
            self._set_height(index, len(rendering.rows))

    def rewrite(self, index: int) -> None:
        """An entry's text is another one."""
        slot = self.slots[index]
        slot.rendering, slot.exact = None, False
        self._set_height(index, self._estimate(slot.entry))

    def trim(self, first: int, last: int) -> None:
        """Let go of the renderings used longest ago, outside [first, last], where there are too many rows of them.

        Heights stay."""
        far = [
            slot for index, slot in enumerate(self.slots) if slot.rendering is not None and not first <= index <= last
        ]
        rows = sum(slot.height for slot in far)
        for slot in sorted(far, key=lambda slot: slot.used):
            if rows <= _KEPT_ROWS:
                break
            rows -= slot.height
            slot.rendering = None

    # Places

    def moved(self, place: Anchor, by: int) -> Anchor:
        """The place so many rows below, or above where negative. Entries on the way are rendered."""
        index, row = place.entry, place.row + by
        self.ensure(index)
        while row < 0 and index > 0:
            index -= 1
            self.ensure(index)
            row += self.slots[index].height
        while row >= self.slots[index].height and index < len(self.slots) - 1:
            row -= self.slots[index].height
            index += 1
            self.ensure(index)
        return Anchor(index, max(0, min(row, self.slots[index].height - 1)))

    def viewport(self, top: Anchor, height: int, at_end: bool) -> Anchor:
        """The top row of a view of so many rows, all of them rendered: the last ones, or from `top` on."""
        return self.last_page(height) if at_end else self.filled(top, height)

    def filled(self, top: Anchor, height: int) -> Anchor:
        """The same top row with what is below it rendered, or the one that leaves no empty rows below the end."""
        index = max(0, min(top.entry, len(self.slots) - 1))
        self.ensure(index)
        row = max(0, min(top.row, self.slots[index].height - 1))
        below = self.slots[index].height - row
        last = index
        while below < height and last < len(self.slots) - 1:
            last += 1
            self.ensure(last)
            below += self.slots[last].height
        return Anchor(index, row) if below >= height else self.last_page(height)

    def last_page(self, height: int) -> Anchor:
        """The top row that shows the end, rendered."""
        index = len(self.slots) - 1
        self.ensure(index)
        rows = self.slots[index].height
        while rows < height and index > 0:
            index -= 1
            self.ensure(index)
            rows += self.slots[index].height
        return Anchor(index, max(0, rows - height))
