"""The details beside a list: facts, files, template and model card, one under the other in one scrolling page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from hugchat_tui.chat.transcript import Entry, Transcript
from hugchat_tui.chat.transcript.painter import GUTTER, MARGIN
from hugchat_tui.library.at_once import at_once


class DetailsPage(Transcript, inherit_bindings=False):
    """A transcript whose entries are sections. It draws what is in view only, cleans every text, and colours code."""

    BINDINGS: ClassVar[list[BindingType]] = at_once(
        (
            Binding("up,k", "scroll_rows(-1)", "Up", show=False, id="details.up"),
            Binding("down,j", "scroll_rows(1)", "Down", show=False, id="details.down"),
            Binding("pageup", "scroll_pages(-1)", "Page up", show=False, id="details.page_up"),
            Binding("pagedown", "scroll_pages(1)", "Page down", show=False, id="details.page_down"),
            Binding("home,g", "scroll_to_top", "Top", show=False, id="details.top"),
            Binding("end,G", "follow_end", "End", show=False, id="details.end"),
            Binding("J,shift+j", "move_cursor(1)", "Next section", show=False, id="details.next"),
            Binding("K,shift+k", "move_cursor(-1)", "Previous section", show=False, id="details.previous"),
        )
    )

    DEFAULT_CSS = """
    DetailsPage { border-left: vkey $panel; }
    """

    jump_label = "d"
    help_title = "Details"

    class Widened(Message):
        """It has another width: what was wrapped for it is to be wrapped anew."""

    def __init__(self) -> None:
        super().__init__()
        self._about = ""
        self._sections: list[Entry] = []
        self._measured = 0

    @property
    def measure(self) -> int:
        """Cells that a row of text has."""
        return self.scrollable_content_region.width - GUTTER - MARGIN

    def show(self, about: str, sections: Sequence[Entry]) -> None:
        """Show the sections of a thing: from the top when it is another thing than before.

        about: identifies the thing.
        """
        if about == self._about and list(sections) == self._sections:
            return
        self._sections = list(sections)
        if about == self._about:
            self.following = False  # it is, where all of the page is in view, and there may be more of it now
            self.set_entries(sections, at_end=False)
            return
        self._about = about
        self.set_entries([])
        self.set_entries(sections, at_end=False)
        if sections:
            self.selected_key = sections[0].key
            self.go_to(sections[0].key)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        if self.measure != self._measured:
            self._measured = self.measure
            self.post_message(self.Widened())
