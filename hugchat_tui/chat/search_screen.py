"""Search through every message of every conversation."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import ClassVar, Protocol

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from hugchat_tui.common.alarm import Alarm
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import counted, moment, shorten
from hugchat_tui.common.inputs import LineInput
from hugchat_tui.common.line_list import LineList, justify
from hugchat_tui.common.tones import BAD, FAINT, MATCH, MUTED, STRONG
from hugchat_tui.conversations.errors import StoreError
from hugchat_tui.conversations.model import SearchHit

SEARCH_DELAY_S = 0.08
_PAGE_AHEAD = 10  # rows before the end at which the next page is asked for
_WHO = {"user": "you", "assistant": "reply", "system": "system prompt"}


class Search(Protocol):
    """Answers a query with hits from the `offset`-th on, newest first; an empty list is the end.

    Raises StoreError.
    """

    def __call__(self, query: str, *, offset: int = 0) -> Awaitable[list[SearchHit]]: ...


class HitList(LineList):
    """Two lines a hit: where and when it was said, and the words around the match."""

    ROW_HEIGHT = 2
    can_focus = False

    def __init__(self) -> None:
        super().__init__(classes="-active")  # the input above has the focus for it
        self.hits: list[SearchHit] = []
        self.words = "Type to search every conversation."
        self.failed = False

    def row_count(self) -> int:
        return len(self.hits)

    def draw_row(self, row: int, line: int, width: int) -> Content:
        hit = self.hits[row]
        if line == 0:
            title = clean_line(hit.conversation_title) or "New conversation"
            where = Content.assemble((f" {title}", STRONG), (f"  {_WHO[hit.role]}", FAINT))
            return justify(where, Content.styled(f"{moment(hit.created_at, time.time())} ", MUTED), width)
        return Content.assemble(("   ", ""), _marked(hit)).truncate(width, ellipsis=True)

    def draw_empty(self, line: int, width: int) -> Content:
        if line:
            return Content("")
        return Content.assemble((shorten(f" {self.words}", width), BAD if self.failed else MUTED))


def _marked(hit: SearchHit) -> Content:
    """The snippet with its matches marked; cleaned in pieces, because cleaning may change lengths."""
    parts: list[tuple[str, str]] = []
    done = 0
    for start, end in hit.spans:
        parts += [(clean_line(hit.snippet[done:start]), MUTED), (clean_line(hit.snippet[start:end]), MATCH)]
        done = end
    return Content.assemble(*parts, (clean_line(hit.snippet[done:]), MUTED))


class SearchScreen(ModalScreen[SearchHit | None]):
    """Asks as the person types and ends with the hit to open, or None.

    Answers to older queries are dropped.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Leave", id="search.cancel"),
        Binding("up", "move('cursor_by(-1)')", "Up", show=False, id="search.up"),
        Binding("down", "move('cursor_by(1)')", "Down", show=False, id="search.down"),
        Binding("pageup", "move('cursor_page(-1)')", "Page up", show=False, id="search.page_up"),
        Binding("pagedown", "move('cursor_page(1)')", "Page down", show=False, id="search.page_down"),
    ]

    DEFAULT_CSS = """
    SearchScreen {
        align: center middle;
        background: $background 60%;
        & > Vertical {
            width: 94%;
            max-width: 110;
            height: 84%;
            background: $surface;
            border: round $primary;
            border-title-color: $text-primary;
            border-subtitle-color: $foreground 60%;
            padding: 0 1;
        }
        LineInput { padding: 0 1; }
        #search-rule { height: 1; color: $foreground 25%; }
        HitList { height: 1fr; }
    }
    """

    help_title = "Search"

    def __init__(self, search: Search) -> None:
        super().__init__()
        self._search = search
        self._box = Vertical()
        self._input = LineInput(placeholder="search all conversations")
        self._list = HitList()
        self._asked = 0  # counts queries; an answer to any but the last is stale
        self._delay = Alarm(self, self._ask_first_page)
        self._at_end = True
        self._asking = False

    def compose(self) -> ComposeResult:
        with self._box:
            yield self._input
            yield Static(Content("─" * 200), id="search-rule")
            yield self._list

    def on_mount(self) -> None:
        self._box.border_title = Content("Search all conversations")
        self._box.border_subtitle = Content("enter open · esc leave")
        self._input.focus()

    @on(Input.Changed)
    def _query_changed(self) -> None:
        self._asked += 1
        self._delay.cancel()
        self._delay.set(SEARCH_DELAY_S)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self._list.action_choose()

    @on(LineList.Chosen)
    def _chosen(self, message: LineList.Chosen) -> None:
        self.dismiss(self._list.hits[message.row])

    @on(LineList.Moved)
    def _moved(self, message: LineList.Moved) -> None:
        if not self._at_end and not self._asking and message.row >= len(self._list.hits) - _PAGE_AHEAD:
            self._ask(len(self._list.hits))

    def _ask_first_page(self) -> None:
        if self._input.value.strip():
            self._ask(0)
        else:
            self._show([], "Type to search every conversation.")

    def _ask(self, offset: int) -> None:
        self._asking = True
        self.run_worker(self._answer(self._input.value.strip(), offset, self._asked), group="search", exclusive=True)

    async def _answer(self, query: str, offset: int, asked: int) -> None:
        try:
            hits = await self._search(query, offset=offset)
        except StoreError as error:
            if asked == self._asked:
                self._show([], clean_line(str(error)), failed=True)
            return
        if asked != self._asked:
            return
        self._asking = False
        self._at_end = not hits
        if offset == 0:
            self._show(hits, f"Nothing matches “{clean_line(query)}”.")
        else:
            self._list.hits += hits
            self._list.rows_changed(self._list.cursor)
            self._count()

    def _show(self, hits: list[SearchHit], words: str, *, failed: bool = False) -> None:
        self._asking, self._at_end = False, not hits
        self._list.hits, self._list.words, self._list.failed = hits, words, failed
        self._list.rows_changed(0)
        self._count()

    def _count(self) -> None:
        count = len(self._list.hits)
        found = f"{counted(count, 'message')}{'' if self._at_end else ' so far'} · " if count else ""
        self._box.border_subtitle = Content(f"{found}enter open · esc leave")

    async def action_move(self, action: str) -> None:
        await self._list.run_action(action)

    def action_cancel(self) -> None:
        self.dismiss(None)
