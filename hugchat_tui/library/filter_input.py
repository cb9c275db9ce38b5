"""What is typed to find something in a list, while the list's cursor is moved from here."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from hugchat_tui.common.inputs import LineInput
from hugchat_tui.common.line_list import LineList


class FilterInput(LineInput):
    """Its keys are its own: not those of the library, which are taken before what was typed ahead of them is read."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,tab", "submit", "To the list", id="filter.submit"),
        Binding("escape", "leave", "Leave", id="filter.leave"),
        Binding("up", "move('cursor_by(-1)')", "Up", show=False, id="filter.up"),
        Binding("down", "move('cursor_by(1)')", "Down", show=False, id="filter.down"),
        Binding("pageup", "move('cursor_page(-1)')", "Page up", show=False, id="filter.page_up"),
        Binding("pagedown", "move('cursor_page(1)')", "Page down", show=False, id="filter.page_down"),
    ]

    DEFAULT_CSS = """
    FilterInput { padding: 0 1; background: $foreground 6%; }
    """

    jump_label = "f"
    help_title = "Find"

    class Left(Message):
        """Escape: what was typed is not wanted any more."""

    def __init__(self, filtered: LineList, placeholder: str) -> None:
        super().__init__(placeholder=placeholder)
        self._filtered = filtered

    def on_focus(self) -> None:
        self._filtered.add_class("-active")  # it is moved in as if it had the focus

    def on_blur(self) -> None:
        self._filtered.remove_class("-active")

    async def action_move(self, action: str) -> None:
        await self._filtered.run_action(action)

    def action_leave(self) -> None:
        self.post_message(self.Left())
