"""What a person does in a transcript: move, select, copy, find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeAlias

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.selection import Selection
from textual.strip import Strip

from hugchat_tui.chat.transcript import messages
from hugchat_tui.chat.transcript.entries import Entry
from hugchat_tui.chat.transcript.find import Finder, Match
from hugchat_tui.chat.transcript.numbering import (
    MOST_NUMBERS,
    CodeBlock,
    block_at,
    blocks_to_number,
    code_of,
)
from hugchat_tui.chat.transcript.painter import GUTTER, Dress, Highlight, pill_text
from hugchat_tui.chat.transcript.rows import Row
from hugchat_tui.chat.transcript.selection import (
    Position,
    between,
    selected_columns,
    selected_text,
    word_at,
)
from hugchat_tui.chat.transcript.stack import Anchor
from hugchat_tui.chat.transcript.view import TranscriptView
from hugchat_tui.chat.transcript.wrap import column_at
from hugchat_tui.common.clean import clean


class Transcript(TranscriptView, can_focus=True):
    """A conversation that can be read, searched and copied from by mouse and by keyboard."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_rows(-1)", "Up", show=False, id="transcript.up"),
        Binding("down", "scroll_rows(1)", "Down", show=False, id="transcript.down"),
        Binding("pageup", "scroll_pages(-1)", "Page up", show=False, id="transcript.page_up"),
        Binding("pagedown,space", "scroll_pages(1)", "Page down", show=False, id="transcript.page_down"),
        Binding("home", "scroll_to_top", "Top", show=False, id="transcript.top"),
        Binding("end", "follow_end", "Follow the newest text", show=False, id="transcript.end"),
        Binding("j", "move_cursor(1)", "Next message", show=False, id="transcript.next"),
        Binding("k", "move_cursor(-1)", "Previous message", show=False, id="transcript.previous"),
        Binding("g", "first_message", "First message", show=False, id="transcript.first"),
        Binding("G,shift+g", "last_message", "Last message", show=False, id="transcript.last"),
        Binding("v", "select_lines", "Select lines", show=False, id="transcript.select"),
        Binding("y", "copy", "Copy", show=False, id="transcript.copy"),
        Binding("c", "number_code", "Copy a code block", show=False, id="transcript.copy_code"),
        Binding("slash", "find", "Find", show=False, id="transcript.find"),
        Binding("escape", "leave_mode", "Leave the selection", show=False, id="transcript.leave"),
        *(
            Binding(str(digit), f"copy_code({digit})", show=False, id=f"transcript.copy_code_{digit}")
            for digit in range(1, MOST_NUMBERS + 1)
        ),
    ]

    jump_label = "m"

    CursorMoved: TypeAlias = messages.CursorMoved
    Copied: TypeAlias = messages.Copied
    LinkActivated: TypeAlias = messages.LinkActivated
    FindRequested: TypeAlias = messages.FindRequested
    FindMoved: TypeAlias = messages.FindMoved

    selected_key: reactive[int | None] = reactive(None, repaint=False)

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._finder: Finder | None = None
        self._line_range: tuple[Position, Position] | None = None  # rows where line selection began, and is
        self._numbered: list[CodeBlock] = []

    def set_entries(self, entries: Sequence[Entry], *, at_end: bool = True) -> None:
        self._forget_places()
        super().set_entries(entries, at_end=at_end)

    def truncate_after(self, key: int | None) -> None:
        self._forget_places()
        super().truncate_after(key)

    def _forget_places(self) -> None:
        """Entries go: what was selected and numbered among them is no more."""
        if self.is_running:
            self.action_leave_mode()
        if self._finder is not None:
            self._finder.restart()

    # The cursor

    def watch_selected_key(self, key: int | None) -> None:
        self.refresh()
        self.post_message(self.CursorMoved(key))

    def on_focus(self) -> None:
        self._place_cursor(focused=True)  # has_focus is set after this handler
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def _show(self, changed: Anchor | None = None) -> None:
        if changed is not None and self._finder is not None:
            changed = self._first_of_line(changed)  # a match that ends in the new text may begin rows above it
        super()._show(changed)
        self._place_cursor(focused=self.has_focus)

    def _first_of_line(self, place: Anchor) -> Anchor:
        rows, row = self._stack.rows(place.entry), place.row
        while 0 < row < len(rows) and rows[row - 1].line is rows[row].line:
            row -= 1
        return Anchor(place.entry, row)

    def _place_cursor(self, focused: bool) -> None:
        """While the transcript has the focus, one of its entries has the cursor."""
        if self.selected_key is not None and self._stack.index_of(self.selected_key) is None:
            self.selected_key = None
        if self.selected_key is None and focused and len(self._stack) and self._height > 0:
            self._select(self._last_visible())

    def _last_visible(self) -> int:
        return self._stack.at(self._first_row + max(0, self._height - 2)).entry

    def _select(self, index: int) -> None:
        self.selected_key = self._stack.slots[index].entry.key

    def _selected_entry(self) -> Entry | None:
        index = None if self.selected_key is None else self._stack.index_of(self.selected_key)
        return None if index is None else self._stack.slots[index].entry

    def action_move_cursor(self, by: int) -> None:
        if self._line_range is not None:
            self._extend_lines(by)
            return
        if not len(self._stack):
            return
        current = None if self.selected_key is None else self._stack.index_of(self.selected_key)
        index = self._last_visible() if current is None else current + by
        index = max(0, min(index, len(self._stack) - 1))
        self._select(index)
        self._stack.ensure(index)
        y = self._stack.start(index) - self._first_row
        if y < 0 or y + self._stack.slots[index].height - 1 > self._height:
            self._look_at(Anchor(index, 0))

    def action_first_message(self) -> None:
        if self._line_range is not None:
            self._extend_lines(-self._stack.height)
        elif len(self._stack):
            self._select(0)
            self._look_at(Anchor(0, 0))

    def action_last_message(self) -> None:
        if self._line_range is not None:
            self._extend_lines(self._stack.height)
        elif len(self._stack):
            self._select(len(self._stack) - 1)
            self.follow_end()

    # Scrolling

    def action_scroll_rows(self, by: int) -> None:
        if self._line_range is not None:
            self._extend_lines(by)
        elif len(self._stack):
            self._look_at(self._stack.moved(self._top, by))

    def action_scroll_pages(self, by: int) -> None:
        self.action_scroll_rows(by * max(1, self._height - 1))

    def action_scroll_to_top(self) -> None:
        if len(self._stack):
            self._look_at(Anchor(0, 0))

    def action_follow_end(self) -> None:
        self.follow_end()

    # Selecting

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selected_text(selection, self._stack), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        if selection is None:
            self._line_range = None
        self.refresh()

    def _set_selection(self, selection: Selection) -> None:
        self.screen.selections = {self: selection}

    def action_select_lines(self) -> None:
        """Begin to select rows, at the message that has the cursor if it is in view; again to leave."""
        if self._line_range is not None:
            self.action_leave_mode()
            return
        if not len(self._stack):
            return
        first, number = self._first_row, self._first_row
        if self.selected_key is not None and (index := self._stack.index_of(self.selected_key)) is not None:
            start = self._stack.start(index)
            if first <= start < first + self._height:
                number = start
        place = self._stack.at(number)
        position = self._row_start(place)
        self._line_range = position, position
        self._extend_lines(0)

    def _row_start(self, place: Anchor) -> Position:
        row = self._stack.rows(place.entry)[place.row]
        return Position(place.entry, row.line.number, row.spans[0].start if row.spans else 0)

    def _place_of(self, position: Position) -> Anchor:
        self._stack.ensure(position.entry)
        rendering = self._stack.slots[position.entry].rendering
        assert rendering is not None
        return Anchor(position.entry, rendering.row_of(position.line, position.offset))

    def _extend_lines(self, by: int) -> None:
        assert self._line_range is not None
        began, head = self._line_range
        place = self._stack.moved(self._place_of(head), by)
        head = self._row_start(place)
        self._line_range = began, head
        first, last = min(began, head), max(began, head)
        end = self._place_of(last)
        row = self._stack.rows(end.entry)[end.row]
        stop = max((start + length for _, start, length in row.spans), default=0)
        self._set_selection(between(first, last._replace(offset=stop)))
        y = self._stack.row_of(place) - self._first_row
        if y < 0:
            self._look_at(place)
        elif y >= self._height:
            self._look_at(self._stack.moved(place, 1 - self._height))

    def on_click(self, event: events.Click) -> None:
        """Words and lines by repeated clicks; links, and the pill."""
        event.prevent_default()  # Textual would select the whole conversation on a double click
        pill = pill_text(self.new_lines_below) if self.new_lines_below else ""
        if pill and event.y == self._height - 1 and event.x >= self.size.width - len(pill) - 1:
            self.follow_end()
            return
        found = self._row_at(event.y)
        if found is None or (event.chain == 1 and self.text_selection is not None):
            return
        place, row = found
        column = column_at(row.text, event.x - GUTTER)
        offset = row.offset_at(column)
        if event.chain == 1:
            self._select(place.entry)
            for start, end, url in row.links:
                if start <= column < end:
                    self.post_message(self.LinkActivated(url))
            return
        text = row.line.text
        start, end = word_at(text, offset) if event.chain == 2 else (0, len(text))
        position = Position(place.entry, row.line.number, start)
        self._set_selection(between(position, position._replace(offset=end)))

    def _addressed(self, place: Anchor, row: Row) -> Strip:
        address = Position(place.entry, row.line.number, 0)
        text = " " * GUTTER + row.text
        return Strip(
            [
                Segment(character, Style.from_meta({"offset": address._replace(offset=at).to_offset()}))
                for column, character in enumerate(text)
                for at in (row.offset_at(column - GUTTER),)
            ]
        )

    # Copying

    def action_copy(self) -> None:
        """Copy the selection, or the Markdown of the message that has the cursor."""
        selection = self.text_selection
        if selection is not None and (text := selected_text(selection, self._stack)):
            self.post_message(self.Copied(text, "selection"))
            self.action_leave_mode()
        elif (entry := self._selected_entry()) is not None:
            self.flush()
            self.post_message(self.Copied(clean(entry.text), "message"))

    def action_number_code(self) -> None:
        """Number the code blocks of the message that has the cursor, or else those in view."""
        if self._numbered or not len(self._stack):
            self._numbered = []
        else:
            index = None if self.selected_key is None else self._stack.index_of(self.selected_key)
            rows = range(self._first_row, self._first_row + self._height)
            self._numbered = blocks_to_number(self._stack, index, rows)
        self.refresh()

    def action_copy_code(self, number: int) -> None:
        """Copy the code block with this number whole."""
        if number <= len(self._numbered):
            self.post_message(self.Copied(code_of(self._stack, self._numbered[number - 1]), "code block"))
        self._numbered = []
        self.refresh()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "copy_code":
            return bool(self._numbered)
        if action == "leave_mode":
            return bool(self._numbered) or self._line_range is not None or self.text_selection is not None
        return True

    def action_leave_mode(self) -> None:
        self._numbered = []
        self._line_range = None
        if self.text_selection is not None:
            self.screen.clear_selection()
        self.refresh()

    # Finding

    def action_find(self) -> None:
        self.post_message(self.FindRequested())

    def find(self, query: str) -> int:
        """Mark what matches, without regard to case, and go to the first match from the top of the view on.

        Returns how many matches there are; entries that were never rendered are counted by their source.
        """
        self._finder = Finder(query)
        count = self._finder.count(self._stack)
        self._step(1)
        self.refresh()
        return count

    def find_next(self) -> bool:
        """Go to the next match, from the last to the first. False when there is none."""
        return self._step(1)

    def find_previous(self) -> bool:
        """Go to the match before. False when there is none."""
        return self._step(-1)

    def clear_find(self) -> None:
        """Take the marks away; the view stays."""
        self._finder = None
        self.refresh()

    def _step(self, by: int) -> bool:
        finder = self._finder
        if finder is None or not len(self._stack):
            return False
        match = finder.step(self._stack, by, self._top.entry)
        if match is not None:
            place = self._place_of(Position(match.entry, match.line, match.start))
            y = self._stack.row_of(place) - self._first_row
            if not 0 <= y < self._height - 1:
                self._look_at(self._stack.moved(place, -(self._height // 3)))
        self.refresh()
        self.post_message(self.FindMoved(finder.ordinal, finder.total))
        return match is not None

    # Painting

    def _dress(self, place: Anchor, row: Row) -> Dress:
        dress = super()._dress(place, row)
        palette = self._stack.frame.palette
        slot = self._stack.slots[place.entry]
        if self.has_focus and slot.entry.key == self.selected_key and place.row < slot.height - 1:
            dress = dress._replace(bar=palette["cursor"])
        if row.fence is not None and self._numbered:
            dress = dress._replace(badge=self._badge(place))
        highlights = [*self._marks(place, row), *self._selected(place, row)]
        return dress._replace(highlights=tuple(highlights)) if highlights else dress

    def _badge(self, place: Anchor) -> int:
        block = block_at(self._stack, place)
        return self._numbered.index(block) + 1 if block in self._numbered else 0

    def _marks(self, place: Anchor, row: Row) -> list[Highlight]:
        finder = self._finder
        rendering = self._stack.slots[place.entry].rendering
        if finder is None or rendering is None or place.row not in rendering.body:
            return []
        palette = self._stack.frame.palette
        current = finder.match
        return [
            (first, last, palette["current-match" if found == current else "match"])
            for start, end in finder.ranges(row.line)
            for found in (Match(place.entry, row.line.number, start, end),)
            for first, last in row.columns(start, end)
        ]

    def _selected(self, place: Anchor, row: Row) -> list[Highlight]:
        selection = self.text_selection
        if selection is None:
            return []
        whole, own = (
            self.screen.get_component_rich_style("screen--selection", partial=partial) for partial in (False, True)
        )
        style = Style.from_color(own.color, whole.bgcolor)  # most themes leave the text its colour
        return [(first, last, style) for first, last in selected_columns(selection, place.entry, row)]
