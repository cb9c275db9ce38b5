"""What a transcript shows: entries, the text that streams into them, and the rows of the viewport.

The top row of the viewport is kept as an `Anchor`; the scroll position that Textual knows is derived from it. What
moves the scroll position from outside (wheel, scroll bar, selecting past an edge) moves the anchor by as many rows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Unpack

from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from hugchat_tui.chat.transcript import palette
from hugchat_tui.chat.transcript.entries import Changes, Entry
from hugchat_tui.chat.transcript.frame import Frame
from hugchat_tui.chat.transcript.lexers import LEXERS
from hugchat_tui.chat.transcript.painter import GUTTER, MARGIN, Dress, Painter
from hugchat_tui.chat.transcript.palette import Palette, palette_of, plain_palette
from hugchat_tui.chat.transcript.rows import Row
from hugchat_tui.chat.transcript.stack import Anchor, Stack
from hugchat_tui.chat.transcript.unseen import Unseen
from hugchat_tui.common.alarm import Alarm

if TYPE_CHECKING:
    from hugchat_tui.chat.transcript.rendering import Rendering

_FLUSH_S = 0.033  # between two flushes of streamed text, at least
# The core that draws may be one that the model computes with: drawing takes one part in so many of its time, unless
# that would mean fewer frames than eyes want.
_DRAWING_SHARE = 40
_SMOOTH_S = 0.1
# However long a flush takes, keys get their turn.
_FLUSH_SHARE = 5
_LONGEST_FLUSH_S = 0.4
_SLICE_S = 0.006  # of work while idle
_REST_S = 0.01  # between two slices
_FAR = 3  # screens: a longer way is a jump


class TranscriptView(ScrollView):
    """A conversation drawn row by row; no widget a message."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(palette.COMPONENT_CLASSES)
    DEFAULT_CSS = palette.DEFAULT_CSS

    following: reactive[bool] = reactive(True, repaint=False)
    new_lines_below: reactive[int] = reactive(0, repaint=False)

    class Follow(Message, namespace="transcript"):
        """The transcript began or ceased to follow its end, or the count of new lines below changed."""

        def __init__(self, following: bool, new_lines: int) -> None:
            super().__init__()
            self.following = following
            self.new_lines = new_lines

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._palette: Palette | None = None
        self._stack = Stack(Frame.of(plain_palette(), 80))
        self._painter = Painter(plain_palette(), 80)
        self._top = Anchor(0, 0)
        self._unseen = Unseen(self._stack)
        self._drawn_height = 0  # rows of all entries when they were last shown
        self._thumb = (0, 0, 0)  # of the scroll bar: where it begins, its length, both in half cells; the height
        self._pending: dict[int, list[str]] = {}
        self._flushing = Alarm(self, self.flush)
        self._flushed_at = 0.0
        self._flush_cost = 0.0
        self._frame_cost = 0.0  # seconds of this thread from one flush to the next: the flush, drawing, all else
        self._thread_time = 0.0
        self._working = Alarm(self, self._work)
        self._drawing = False
        self._requested: set[str] = set()  # lexers

    # Entries

    @property
    def entries(self) -> list[Entry]:
        """The entries that are shown, the text that is waiting to be flushed included."""
        self.flush()
        return [slot.entry for slot in self._stack.slots]

    def set_entries(self, entries: Sequence[Entry], *, at_end: bool = True) -> None:
        """Show these entries instead. at_end: from their end; else from where the person is, if that is still there.

        Raises ValueError when two have the same key.
        """
        self.flush()
        here = self._stack.slots[self._top.entry].entry.key if len(self._stack) else None
        self._stack.replace([replace(entry) for entry in entries])
        index = None if here is None else self._stack.index_of(here)
        if at_end or not len(self._stack):
            self.following = True
        elif index is None:
            self._top = Anchor(0, 0)
            self.following = False
        else:
            self._top = Anchor(index, self._top.row)
        self._unseen.reset()
        self._show()

    def append(self, entry: Entry) -> None:
        """Show one more entry. Raises ValueError when its key is there already."""
        self._stack.append(replace(entry))
        self._show()

    def feed(self, key: int, text: str) -> None:
        """Add streamed text to an entry. It is shown with what else comes in the next 33 to 100 ms.

        Raises KeyError when there is no such entry.
        """
        self._index(key)
        self._pending.setdefault(key, []).append(text)
        if self.is_running:
            interval = self._flush_interval
            due = self._flushed_at + interval - time.perf_counter()
            if due > interval / 4:
                self._flushing.set(due)
            else:
                self.flush()  # at once: to be woken again in a moment costs more than an early frame

    @property
    def _flush_interval(self) -> float:
        smooth = min(_SMOOTH_S, max(_FLUSH_S, _DRAWING_SHARE * self._frame_cost))
        return max(smooth, min(_LONGEST_FLUSH_S, _FLUSH_SHARE * self._flush_cost))

    def flush(self) -> None:
        """Show the streamed text that is waiting."""
        self._flushing.cancel()
        if not self._pending:
            return
        began = time.perf_counter()
        pending, self._pending = self._pending, {}
        for key, pieces in pending.items():
            index = self._stack.index_of(key)
            if index is None:  # truncated meanwhile
                continue
            self._stack.slots[index].entry.text += "".join(pieces)
            self._show(Anchor(index, self._stack.refresh(index)))
        self._flushed_at = time.perf_counter()
        self._flush_cost = self._flushed_at - began
        used = time.thread_time()
        self._frame_cost, self._thread_time = used - self._thread_time, used

    def update_entry(self, key: int, **changes: Unpack[Changes]) -> None:
        """Change what an entry says. Raises KeyError when there is no such entry."""
        self.flush()
        index = self._index(key)
        entry = self._stack.slots[index].entry
        text = changes.pop("text", entry.text)
        ended = entry.streaming and not changes.get("streaming", True)
        rewritten = "role" in changes and changes["role"] != entry.role
        for field, value in changes.items():
            setattr(entry, field, value)
        if rewritten or not text.startswith(entry.text):
            entry.text = text
            self._stack.rewrite(index)
        elif ended or text != entry.text:
            entry.text = text
            self._stack.refresh(index)
        self._stack.retitle(index)
        self._show()

    def truncate_after(self, key: int | None) -> None:
        """Drop the entries after this one, all of them for None. Raises KeyError when there is no such entry."""
        self.flush()
        self._stack.truncate(0 if key is None else self._index(key) + 1)
        self._show()

    def follow_end(self) -> None:
        """Show the end, and stay there while it moves on."""
        self.following = True
        self._show()

    def go_to(self, key: int) -> None:
        """Show an entry from its title on. Raises KeyError when there is no such entry."""
        self._look_at(Anchor(self._index(key), 0))

    def _index(self, key: int) -> int:
        index = self._stack.index_of(key)
        if index is None:
            raise KeyError(key)
        return index

    # The viewport

    @property
    def _height(self) -> int:
        return self.scrollable_content_region.height

    def _look_at(self, top: Anchor) -> None:
        """Let the viewport begin at a row."""
        self._top = top
        self.following = False
        self._show()
        self.following = self._at_end

    @property
    def _at_end(self) -> bool:
        return self._stack.row_of(self._top) + self._height >= self._stack.height

    def _show(self, changed: Anchor | None = None) -> None:
        """Bring the viewport up to date. changed: the first row that changed, where only rows from there on did."""
        height = self._height
        if not self.is_running or height <= 0:
            return
        before = self._top
        self._fit_frame()
        self._top = Anchor(0, 0) if not len(self._stack) else self._stack.viewport(self._top, height, self.following)
        self._place()
        self.new_lines_below = self._unseen.count(self._first_row + height, self.following)
        first = self._first_row
        y = 0 if changed is None or before != self._top else max(0, self._stack.row_of(changed) - first)
        end = height if y == 0 else min(height, max(self._drawn_height, self._stack.height) - first)
        self._drawn_height = self._stack.height
        if y < end:
            self.refresh(Region(0, y, self.size.width, end - y))
        if changed is None or _has_work(self._stack.slots[changed.entry].rendering):
            self._wake()

    @property
    def _first_row(self) -> int:
        return self._stack.row_of(self._top) if len(self._stack) else 0

    def _fit_frame(self) -> None:
        """Render for the present width and colours; the top row keeps its text."""
        width = self.scrollable_content_region.width
        if self._palette is None:
            self._palette = palette_of(self)
        frame = Frame.of(self._palette, width - GUTTER - MARGIN)
        if frame == self._stack.frame:
            return
        index, row = self._top
        rendering = self._stack.slots[index].rendering if len(self._stack) else None
        shown = rendering.rows[row] if rendering is not None and row < len(rendering.rows) else None
        self._stack.reframe(frame)
        self._unseen.reframe()
        self._painter = Painter(self._palette, width)
        if shown is not None and not self.following:
            self._stack.ensure(index)
            rendering = self._stack.slots[index].rendering
            assert rendering is not None
            offset = shown.spans[0].start if shown.spans else 0
            self._top = Anchor(index, rendering.row_of(shown.line.number, offset))

    def notify_style_update(self) -> None:
        super().notify_style_update()
        if self._palette is not None and self.is_running:
            self.call_later(self._recolour)  # the components have their new styles only then

    def _recolour(self) -> None:
        palette = palette_of(self)
        if palette != self._palette:
            self._palette = palette
            self._show()

    def _place(self) -> None:
        """Tell Textual where the viewport is, without a layout of the screen and without its watchers."""
        region, first = self.scrollable_content_region, self._first_row
        self.set_reactive(Widget.virtual_size, Size(region.width, self._stack.height))
        if first != round(self.scroll_y):
            self.set_reactive(Widget.scroll_y, float(first))
            self.set_reactive(Widget.scroll_target_y, float(first))
        # A scroll bar drawn for every row that streams in is half the cost of a frame, and all of its cyclic garbage:
        # while nobody scrolls, half a cell is exact enough.
        total = max(1, region.height, self.virtual_size.height)
        halves = 2 * region.height
        thumb = first * halves // total, region.height * halves // total, region.height
        if thumb != self._thumb or not self.following:
            self._thumb = thumb
            bar = self.vertical_scrollbar
            bar.window_virtual_size, bar.window_size, bar.position = total, region.height, first

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        by = round(new_value) - round(old_value)
        if not by or not len(self._stack):
            return
        near = abs(by) <= _FAR * self._height
        self._look_at(self._stack.moved(self._top, by) if near else self._stack.at(round(new_value)))

    def on_resize(self, event: events.Resize) -> None:
        self._show()

    def watch_following(self) -> None:
        self.post_message(self.Follow(self.following, self.new_lines_below))

    def watch_new_lines_below(self) -> None:
        self.refresh(Region(0, self._height - 1, self.size.width, 1))
        self.post_message(self.Follow(self.following, self.new_lines_below))

    def on_unmount(self) -> None:
        self._flushing.cancel()
        self._working.cancel()

    # Work that can wait

    @property
    def working(self) -> bool:
        """Whether work ahead is still being done; an idle transcript has no timer."""
        return self._working.is_set

    @property
    def busy(self) -> bool:
        """Whether text waits to be shown, or code in view for its colours."""
        first, last = self._entries_in(0) if len(self._stack) else (0, -1)
        renderings = [slot.rendering for slot in self._stack.slots[first : last + 1]]
        return bool(self._pending) or any(map(_has_work, renderings))

    def _wake(self) -> None:
        self._working.set(_REST_S)

    def _work(self) -> None:
        """Render what is near the viewport and colour code, a slice at a time, until there is nothing to do."""
        if not len(self._stack) or self._height <= 0:
            return
        deadline = time.perf_counter() + _SLICE_S
        first, last = self._entries_in(0)
        near_first, near_last = self._entries_in(2 * self._height)
        near = [*range(first, near_last + 1), *range(first - 1, near_first - 1, -1)]
        for index in near:
            if not self._stack.ready(index):
                if self._stack.render(index, deadline):
                    self._show()
                self._wake()
                return
        for index in near:
            rendering = self._stack.slots[index].rendering
            if rendering is None:
                continue
            self._request_lexers(rendering.unknown_languages())
            if rendering.colouring:
                if rendering.colour(deadline) and first <= index <= last:
                    self.refresh()
                self._wake()
                return
        self._stack.trim(near_first, near_last)

    def _entries_in(self, margin: int) -> tuple[int, int]:
        """The first and the last entry within so many rows of the viewport."""
        first = self._first_row
        return self._stack.at(first - margin).entry, self._stack.at(first + self._height + margin).entry

    def _request_lexers(self, languages: set[str]) -> None:
        loop = asyncio.get_running_loop()

        def loaded() -> None:
            # In a context that knows the app, as that of the thread does not: a timer started without one fails.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._wake, context=context.copy())

        context = copy_context()
        for language in languages - self._requested:
            self._requested.add(language)
            LEXERS.request(language, loaded)

    # Painting

    def strips(self) -> list[Strip]:
        """Every row of every entry as it is drawn. All of them are rendered: for tests and exports."""
        return [
            self._painter.strip(row, self._dress(Anchor(index, number), row))
            for index in range(len(self._stack))
            for number, row in enumerate(self._stack.rows(index))
        ]

    def render_lines(self, crop: Region) -> list[Strip]:
        self._drawing = True
        try:
            return super().render_lines(crop)
        finally:
            self._drawing = False

    def render_line(self, y: int) -> Strip:
        """A row of the viewport. Textual asks for one outside of drawing to learn which character is where."""
        found = self._row_at(y)
        if found is None:
            return self._painter.blank if self._drawing else Strip.blank(self.size.width)
        place, row = found
        if not self._drawing:
            return self._addressed(place, row)
        strip = self._painter.strip(row, self._dress(place, row))
        if self.new_lines_below and y == self._height - 1:
            return self._painter.with_pill(strip, self.new_lines_below)
        return strip

    def _row_at(self, y: int) -> tuple[Anchor, Row] | None:
        """The row that is drawn at a height of the viewport, None below the end."""
        number = self._first_row + y
        if number >= self._stack.height:
            return None
        place = self._stack.at(number)
        rendering = self._stack.slots[place.entry].rendering
        if rendering is None or place.row >= len(rendering.rows):
            return None
        return place, rendering.rows[place.row]

    def _dress(self, place: Anchor, row: Row) -> Dress:
        slot = self._stack.slots[place.entry]
        assert slot.rendering is not None
        body = slot.rendering.body
        bar = self._stack.frame.palette[slot.entry.role] if place.row < body.start else None
        return Dress(bar, caret=slot.entry.streaming and place.row == body.stop - 1)

    def _addressed(self, place: Anchor, row: Row) -> Strip:
        """The row with every character's position attached."""
        raise NotImplementedError


def _has_work(rendering: Rendering | None) -> bool:
    """Whether rows or colours of an entry are still to be made."""
    return rendering is None or not rendering.done or rendering.colouring or bool(rendering.unknown_languages())
