"""The one-line search in a conversation."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input, Static

from hugchat_tui.chat.transcript import Transcript
from hugchat_tui.common.inputs import LineInput


class FindBar(Horizontal):
    """Finds as the person types; enter and down go to the next match, up to the one before, escape closes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,down", "next", "Next", id="find.next"),
        Binding("up", "previous", "Previous", id="find.previous"),
        Binding("escape", "close", "Close", id="find.close"),
    ]

    def __init__(self, transcript: Transcript) -> None:
        super().__init__(classes="find-bar")
        self._transcript = transcript
        self._input = LineInput(placeholder="Find in this conversation")
        self._count = Static(classes="find-count")

    def compose(self) -> ComposeResult:
        yield self._input
        yield self._count

    def open(self) -> None:
        """Show the bar with the last query selected."""
        self.display = True
        self._input.focus()
        self._input.select_all()
        self._find(self._input.value)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self._find(event.value)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_next()

    def show_match(self, ordinal: int, total: int) -> None:
        """Which match is the current one, of how many."""
        words = "no match" if not total else f"{ordinal:,} of {total:,}"
        self._count.update(Content(words))

    def _find(self, query: str) -> None:
        if not query:
            self._transcript.clear_find()
            self._count.update(Content(""))
            return
        self._transcript.find(query)

    def action_next(self) -> None:
        self._transcript.find_next()

    def action_previous(self) -> None:
        self._transcript.find_previous()

    def action_close(self) -> None:
        self._transcript.clear_find()
        self.display = False
        self._transcript.focus()
