"""A one-line input that is safe to paste anything into."""

from __future__ import annotations

import re

from textual import events
from textual.geometry import Size
from textual.reactive import Reactive
from textual.widgets import Input

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.terminal_keys import forget_option_digits

_LINE_BREAKS = re.compile(r"[\r\n]+")


class LineInput(Input):
    """An Input whose cursor does not blink (that wakes an idle program) and whose pastes are cleaned.

    Textual's own keeps the first line of a paste and every control character in it; here all lines are
    joined.
    """

    DEFAULT_CSS = """
    LineInput {
        border: none;
        height: 1;
        padding: 0;
        background: transparent;
        &:focus { border: none; background-tint: transparent; }
        & > .input--placeholder { color: $foreground 66%; }
    }
    """

    # How much of a line was typed changes nothing around it. Textual arranges the whole screen anew with each letter.
    virtual_size = Reactive(Size(0, 0))

    def on_mount(self) -> None:
        self.cursor_blink = False
        forget_option_digits()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """One line does not scroll: up, down and their like are for what is around it."""
        return not action.startswith(("scroll_", "page_"))

    async def _on_key(self, event: events.Key) -> None:
        if event.key.startswith("alt+"):  # a key of its own, not the character that came with it
            event.prevent_default()

    def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        text = clean_line(_LINE_BREAKS.sub(" ", event.text.strip("\r\n")))
        if text:
            self.replace(text, *sorted(self.selection))
