"""The list of conversations, by age."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Offset
from textual.message import Message

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import local_date, shorten
from hugchat_tui.common.line_list import NO_ROW, LineList
from hugchat_tui.common.tones import ACCENT, FAINT, GOOD, MUTED, STRONG
from hugchat_tui.conversations.model import Conversation

_TITLE_CHARACTERS = 200  # of a title that are cleaned and kept; no sidebar is wider


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row: a conversation, or with id None the heading of a group or the gap above it."""

    text: str
    id: int | None = None


def age_group(updated_at: float, today: date) -> str:
    """The heading a conversation stands under: Today, Yesterday, This week (the last seven days) or Older."""
    days = (today - local_date(updated_at)).days
    if days <= 0:
        return "Today"
    if days == 1:
        return "Yesterday"
    return "This week" if days < 7 else "Older"


def _entries(conversations: Sequence[Conversation], today: date, more: bool) -> Iterator[_Entry]:
    group = ""
    for conversation in conversations:
        if (age := age_group(conversation.updated_at, today)) != group:
            if group:
                yield _Entry("")
            group = age
            yield _Entry(group)
        title = clean_line(conversation.title[:_TITLE_CHARACTERS]).strip()
        yield _Entry(title or "New conversation", conversation.id)
    if more:
        yield _Entry("")
        yield _Entry("Search finds the others.")


class Sidebar(LineList):
    """Shows conversations in the order given, newest first; it owns none of them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", id="sidebar.new"),
        Binding("r", "rename", "Rename", id="sidebar.rename"),
        Binding("d,delete", "delete", "Delete", id="sidebar.delete"),
        Binding("u", "screen.undo_delete", "Undo delete", show=False, id="sidebar.undo_delete"),
    ]

    DEFAULT_CSS = """
    Sidebar { width: 30; height: 1fr; padding: 1 0; background: $panel; }
    """

    jump_label = "s"
    help_title = "Conversations"

    class _About(Message):
        def __init__(self, sidebar: Sidebar, conversation_id: int) -> None:
            super().__init__()
            self.sidebar = sidebar
            self.conversation_id = conversation_id

        @property
        def control(self) -> Sidebar:
            return self.sidebar

    class Selected(_About):
        """Open this conversation."""

    class RenameRequested(_About):
        """Ask for another title of this conversation."""

    class DeleteRequested(_About):
        """Delete this conversation."""

    class NewRequested(Message):
        """Begin a new conversation."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._entries: list[_Entry] = []
        self._known = False  # whether conversations were ever set; before that an empty list says nothing
        self._current: int | None = None
        self._streaming: frozenset[int] = frozenset()
        self._unread: frozenset[int] = frozenset()

    def set_conversations(
        self, conversations: Sequence[Conversation], now: float | None = None, *, more: bool = False
    ) -> None:
        """Show these, newest first. The cursor stays on its conversation, or goes to the current one.

        more: there are older ones that are not among them.
        """
        at_cursor = self._id_at(self.cursor)
        self._known = True
        self._entries = list(_entries(conversations, local_date(time.time() if now is None else now), more))
        row = self._row_of(at_cursor)
        self.rows_changed(row if row != NO_ROW else self._row_of(self._current))

    def set_current(self, conversation_id: int | None) -> None:
        """Mark the conversation that is shown; the cursor goes there unless the person is moving it."""
        if conversation_id == self._current:
            return
        self._current = conversation_id
        row = self._row_of(conversation_id)
        if row != NO_ROW and not self.has_focus:
            self.cursor = row
        self.refresh()

    def set_streaming(self, conversation_ids: Collection[int]) -> None:
        """Mark the conversations in which a reply is being written."""
        self._streaming = frozenset(conversation_ids)
        self.refresh()

    def set_unread(self, conversation_ids: Collection[int]) -> None:
        """Mark the conversations whose newest reply has not been looked at."""
        self._unread = frozenset(conversation_ids)
        self.refresh()

    def jump_rows(self) -> list[tuple[int, Offset]]:
        """The conversations in view as (id, place on the screen), top first."""
        region = self.content_region
        top = self.scroll_offset.y
        return [
            (entry.id, Offset(region.x, region.y + index))
            for index, entry in enumerate(self._entries[top : top + region.height])
            if entry.id is not None
        ]

    # The list.

    def row_count(self) -> int:
        return len(self._entries)

    def can_choose(self, row: int) -> bool:
        return self._entries[row].id is not None

    def draw_row(self, row: int, line: int, width: int) -> Content:
        entry = self._entries[row]
        if entry.id is None:
            return Content.assemble((f"  {shorten(entry.text, width - 3)}", FAINT))
        current = entry.id == self._current
        if entry.id in self._streaming:
            mark = ("●", GOOD)
        elif entry.id in self._unread:
            mark = ("•", ACCENT)
        else:
            mark = (" ", "")
        title = shorten(entry.text, width - 4)
        style = STRONG if current or entry.id in self._unread else MUTED
        return Content.assemble(("▌" if current else " ", ACCENT), mark, " ", (title, style))

    def draw_empty(self, line: int, width: int) -> Content:
        words = ("No conversations yet.", "Ask something: it will", "be kept here.") if self._known else ()
        return Content.assemble((f"  {words[line]}", MUTED)) if line < len(words) else Content("")

    def _id_at(self, row: int) -> int | None:
        return self._entries[row].id if 0 <= row < len(self._entries) else None

    def _row_of(self, conversation_id: int | None) -> int:
        if conversation_id is None:
            return NO_ROW
        return next((row for row, entry in enumerate(self._entries) if entry.id == conversation_id), NO_ROW)

    # What the person does.

    @on(LineList.Chosen)
    def _chosen(self, message: LineList.Chosen) -> None:
        message.stop()
        if (conversation_id := self._id_at(message.row)) is not None:
            self.post_message(self.Selected(self, conversation_id))

    def action_new(self) -> None:
        self.post_message(self.NewRequested())

    def action_rename(self) -> None:
        if (conversation_id := self._id_at(self.cursor)) is not None:
            self.post_message(self.RenameRequested(self, conversation_id))

    def action_delete(self) -> None:
        if (conversation_id := self._id_at(self.cursor)) is not None:
            self.post_message(self.DeleteRequested(self, conversation_id))
