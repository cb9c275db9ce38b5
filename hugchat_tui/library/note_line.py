"""A line of words about a list: what it leaves out, or what it waits for."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from hugchat_tui.common.format import shorten
from hugchat_tui.common.tones import MUTED


class NoteLine(Widget):
    """It is not there while there is nothing to say."""

    DEFAULT_CSS = """
    NoteLine { height: 1; padding: 0 1; display: none; }
    """

    words: reactive[str] = reactive("")

    def show(self, words: str) -> None:
        """Say these words, which have been cleaned; nothing is drawn anew where they are the same."""
        self.words = words
        self.display = bool(words)

    def render(self) -> RenderResult:
        return Content.styled(shorten(self.words, self.size.width), MUTED)
