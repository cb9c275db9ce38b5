"""A list that draws lines: no widget a row, only what is in view is rendered."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

NO_ROW = -1


class LineList(ScrollView, can_focus=True, inherit_bindings=False):
    """Base of the app's lists. A subclass says how many rows there are and draws one line of one.

    A row is ROW_HEIGHT lines. `cursor` is the highlighted row, NO_ROW when none can be. Rows that
    `can_choose` refuses (headings, broken checkpoints) are shown and skipped by the cursor.
    """

    ALLOW_SELECT = False
    ROW_HEIGHT: ClassVar[int] = 1

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor_by(-1)", "Up", show=False, id="list.up"),
        Binding("down,j", "cursor_by(1)", "Down", show=False, id="list.down"),
        Binding("pageup", "cursor_page(-1)", "Page up", show=False, id="list.page_up"),
        Binding("pagedown", "cursor_page(1)", "Page down", show=False, id="list.page_down"),
        Binding("home,g", "cursor_first", "First", show=False, id="list.first"),
        Binding("end,G", "cursor_last", "Last", show=False, id="list.last"),
        Binding("enter", "choose", "Open", id="list.choose"),
    ]

    COMPONENT_CLASSES: ClassVar[set[str]] = {"line-list--row", "line-list--cursor"}

    DEFAULT_CSS = """
    LineList {
        background: transparent;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        scrollbar-color: $foreground 30%;
        scrollbar-background: $foreground 5%;
        scrollbar-background-hover: $foreground 5%;
        scrollbar-background-active: $foreground 5%;
        & > .line-list--cursor { background: $foreground 10%; }
        &:focus > .line-list--cursor { background: $primary 16%; }
        &.-active > .line-list--cursor { background: $primary 16%; }
        &:ansi > .line-list--cursor {
            background: $block-cursor-background;
            color: $block-cursor-foreground;
        }
    }
    """

    cursor: reactive[int] = reactive(NO_ROW, init=False, repaint=False)

    class Chosen(Message):
        """Enter or a click on a row."""

        def __init__(self, line_list: LineList, row: int) -> None:
            super().__init__()
            self.line_list = line_list
            self.row = row

        @property
        def control(self) -> LineList:
            return self.line_list

    class Moved(Message):
        """The cursor is on another row; NO_ROW when on none."""

        def __init__(self, line_list: LineList, row: int) -> None:
            super().__init__()
            self.line_list = line_list
            self.row = row

        @property
        def control(self) -> LineList:
            return self.line_list

    # What a subclass says.

    def row_count(self) -> int:
        raise NotImplementedError

    def draw_row(self, row: int, line: int, width: int) -> Content:
        """Line `line` of the row (0 up to ROW_HEIGHT) in at most `width` cells."""
        raise NotImplementedError

    def can_choose(self, row: int) -> bool:
        return True

    def draw_empty(self, line: int, width: int) -> Content:
        """Line `line` of what is shown when there are no rows."""
        return Content("")

    # What it may call.

    def rows_changed(self, cursor: int = NO_ROW) -> None:
        """Draw everything anew after the rows changed; the cursor goes to the nearest row it may stand on."""
        before, height = self.virtual_size.height, self.row_count() * self.ROW_HEIGHT
        self.virtual_size = Size(0, height)  # another height is a layout, which draws everything anew
        target = self._nearest(cursor)
        if target == self.cursor:
            self.post_message(self.Moved(self, target))
        self.cursor = target
        if before == height and height:
            self.refresh_lines(0, height)
        else:
            self.refresh()
        if target != NO_ROW:
            self._show_row(target)

    # Moving.

    def validate_cursor(self, cursor: int) -> int:
        return self._nearest(cursor) if cursor != NO_ROW else NO_ROW

    def watch_cursor(self, old: int, new: int) -> None:
        for row in (old, new):
            if row != NO_ROW:
                self.refresh_lines(row * self.ROW_HEIGHT, self.ROW_HEIGHT)
        if new != NO_ROW and self.is_mounted:
            self._show_row(new)
        self.post_message(self.Moved(self, new))

    def _nearest(self, row: int) -> int:
        """The row nearest to `row` that can be chosen, below rather than above; NO_ROW if none can."""
        count = self.row_count()
        row = max(0, min(row, count - 1))
        below = next((index for index in range(row, count) if self.can_choose(index)), NO_ROW)
        if below != NO_ROW:
            return below
        return next((index for index in range(row - 1, -1, -1) if self.can_choose(index)), NO_ROW)

    def _show_row(self, row: int) -> None:
        # A heading directly above is shown with its first row.
        top = row - 1 if row and not self.can_choose(row - 1) else row
        height = (row - top + 1) * self.ROW_HEIGHT
        self.scroll_to_region(Region(0, top * self.ROW_HEIGHT, 1, height), animate=False, force=True)

    def action_cursor_by(self, step: int) -> None:
        row = self.cursor + step
        while 0 <= row < self.row_count():
            if self.can_choose(row):
                self.cursor = row
                return
            row += step
        if step < 0:
            self.scroll_home(animate=False)

    def action_cursor_page(self, direction: int) -> None:
        if self.cursor != NO_ROW:
            rows = max(1, self.scrollable_content_region.height // self.ROW_HEIGHT - 1)
            self.cursor = max(0, self.cursor + direction * rows)

    def action_cursor_first(self) -> None:
        if self.row_count():
            self.cursor = 0
            self.scroll_home(animate=False)

    def action_cursor_last(self) -> None:
        if self.row_count():
            self.cursor = self.row_count() - 1

    def action_choose(self) -> None:
        if self.cursor != NO_ROW:
            self.post_message(self.Chosen(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        row = (offset.y + self.scroll_offset.y) // self.ROW_HEIGHT
        if row < self.row_count() and self.can_choose(row):
            event.stop()
            self.cursor = row
            self.action_choose()

    # Drawing.

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        row, line = divmod(y + self.scroll_offset.y, self.ROW_HEIGHT)
        count = self.row_count()
        at_cursor = row == self.cursor and row < count
        style = self.get_visual_style("line-list--cursor" if at_cursor else "line-list--row")
        if row < count:
            content = self.draw_row(row, line, width)
            if at_cursor and self.app.native_ansi_color:
                # The sixteen colours know no tint that every text colour can be read on.
                content = content.without_spans
        else:
            content = Content("") if count else self.draw_empty(y, width)
        strip = Strip(content.render_segments(style), content.cell_length)
        return strip.adjust_cell_length(width, style.rich_style)


def justify(left: Content, right: Content, width: int) -> Content:
    """Both on one line, apart; the left one is cut with an ellipsis when they do not fit."""
    room = width - right.cell_length
    if left.cell_length > room - 1:
        left = left.truncate(max(0, room - 1), ellipsis=True)
    gap = room - cell_len(left.plain)
    return Content.assemble(left, " " * max(0, gap), right)
