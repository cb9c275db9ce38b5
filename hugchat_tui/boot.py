"""The first frame: the outline of the chat screen, painted before the modules that fill it are imported.

It needs a fraction of what the chat screen needs, so a person sees the app at once and can begin to type: keys that
arrive meanwhile are kept and given to the chat screen.
"""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

NARROW = 100  # cells of width below which the sidebar hides
_SIDEBAR = 30
_PLACEHOLDER = "Ask anything · / for commands"


class Outline(Widget):
    """Draws the panel, the prompt and the words in it where the chat screen will have them."""

    DEFAULT_CSS = """
    Outline { width: 1fr; height: 1fr; background: $background; color: $primary; }
    Outline > .outline--panel { background: $panel; }
    Outline > .outline--quiet { color: $foreground 50%; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"outline--panel", "outline--quiet"}

    def __init__(self, sidebar: bool | None) -> None:
        """sidebar: whether the panel is shown; None when the width decides."""
        super().__init__()
        self._sidebar = sidebar

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        shown = width >= NARROW if self._sidebar is None else self._sidebar
        panel = min(_SIDEBAR if width >= NARROW else _SIDEBAR - 4, width) if shown else 0
        inner = max(0, width - panel - 2)
        text, style = " " * (inner + 2), self.rich_style
        if y == height - 5:
            text = f"╭{'─' * inner}╮"
        elif y == height - 4:
            text = f"│ {_PLACEHOLDER:<{max(0, inner - 1)}.{max(0, inner - 1)}}│"
        elif y == height - 3:
            text = f"╰{'─' * inner}╯"
        if y == height - 4:
            edges, quiet = style, self.get_component_rich_style("outline--quiet")
            main = [Segment(text[:1], edges), Segment(text[1:-1], quiet), Segment(text[-1:], edges)]
        else:
            main = [Segment(text, style)]
        return Strip([Segment(" " * panel, self.get_component_rich_style("outline--panel")), *main], width)


class BootScreen(Screen[None]):
    """Shows the outline and keeps what is typed."""

    def __init__(self, sidebar: bool | None) -> None:
        super().__init__()
        self._sidebar = sidebar
        self.typed: list[events.Key | events.Paste] = []

    def compose(self) -> ComposeResult:
        yield Outline(self._sidebar)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.typed.append(event)

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self.typed.append(event)
