"""A page of lines that scrolls: samples, events, the log, the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content

from hugchat_tui.common.line_list import LineList
from hugchat_tui.common.tones import MUTED
from hugchat_tui.common.wrapping import draw_words
from hugchat_tui.library.at_once import at_once


class Page(LineList, inherit_bindings=False):
    """Lines without a cursor. A subclass lays its lines out for a width; that is done anew when the width changes."""

    BINDINGS: ClassVar[list[BindingType]] = at_once(
        (
            Binding("up,k", "scroll_rows(-1)", "Up", show=False, id="page.up"),
            Binding("down,j", "scroll_rows(1)", "Down", show=False, id="page.down"),
            Binding("pageup", "scroll_pages(-1)", "Page up", show=False, id="page.page_up"),
            Binding("pagedown", "scroll_pages(1)", "Page down", show=False, id="page.page_down"),
            Binding("home,g", "scroll_top", "Top", show=False, id="page.top"),
            Binding("end,G", "scroll_bottom", "End", show=False, id="page.end"),
        )
    )
    DEFAULT_CSS = """
    Page { height: 1fr; scrollbar-gutter: stable; }
    Page:focus > .line-list--row { background: transparent; }
    """

    words: tuple[str, ...] = ()  # instead of lines, while there are none

    def __init__(self) -> None:
        super().__init__()
        self.lines: Sequence[Content] = ()
        self._laid_out_for = 0

    def lay_out(self, width: int) -> Sequence[Content]:
        """All lines, each in at most so many cells."""
        raise NotImplementedError

    def changed(self) -> None:
        """What it shows is different: lay it out anew; where the person has scrolled to stays."""
        width = self.scrollable_content_region.width
        self._laid_out_for = width
        if width:
            self.lines = self.lay_out(width)
            self.rows_changed()

    @property
    def at_end(self) -> bool:
        return self.scroll_offset.y >= self.max_scroll_y - 1

    def on_resize(self, event: events.Resize) -> None:
        if self.scrollable_content_region.width != self._laid_out_for:
            self.changed()

    def on_show(self) -> None:
        self.changed()

    # The list

    def row_count(self) -> int:
        return len(self.lines)

    def can_choose(self, row: int) -> bool:
        return False

    def draw_row(self, row: int, line: int, width: int) -> Content:
        return self.lines[row]

    def draw_empty(self, line: int, width: int) -> Content:
        return draw_words(self.words, line, width, MUTED)

    def action_scroll_rows(self, by: int) -> None:
        self.scroll_relative(y=by, animate=False)

    def action_scroll_pages(self, by: int) -> None:
        self.scroll_relative(y=by * max(1, self.scrollable_content_region.height - 1), animate=False)

    def action_scroll_top(self) -> None:
        self.scroll_home(animate=False)

    def action_scroll_bottom(self) -> None:
        self.scroll_end(animate=False)
