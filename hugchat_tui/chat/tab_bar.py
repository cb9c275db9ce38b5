"""The line of open conversations. It shows itself when there is more than one."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.tones import MUTED, STRONG

MAX_TITLE_CELLS = 24


@dataclass(frozen=True, slots=True)
class Tab:
    """active: keys go there; shown: it is on the screen; busy: a reply is being written."""

    title: str
    active: bool
    shown: bool
    busy: bool


class TabBar(Widget):
    """Draws the tabs on one line, the active one always in sight; a click posts Chosen."""

    class Chosen(Message):
        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    tabs: reactive[tuple[Tab, ...]] = reactive((), layout=True)

    def watch_tabs(self) -> None:
        self.display = len(self.tabs) > 1

    def render(self) -> Content:
        labels = [self._label(index, tab) for index, tab in enumerate(self.tabs)]
        active = next((index for index, tab in enumerate(self.tabs) if tab.active), 0)
        first = self._first(labels, active)
        line = Content("").join(labels[first:])
        return Content.assemble(("‹", MUTED), line) if first else line

    def on_click(self, event: Click) -> None:
        labels = [self._label(index, tab) for index, tab in enumerate(self.tabs)]
        active = next((index for index, tab in enumerate(self.tabs) if tab.active), 0)
        first = self._first(labels, active)
        left = 1 if first else 0
        for index in range(first, len(labels)):
            left += labels[index].cell_length
            if event.x < left:
                self.post_message(self.Chosen(index))
                return

    def _first(self, labels: list[Content], active: int) -> int:
        """The first tab to draw so that the active one fits."""
        first = 0
        while first < active and sum(label.cell_length for label in labels[first : active + 1]) > self.size.width - 2:
            first += 1
        return first

    @staticmethod
    def _label(index: int, tab: Tab) -> Content:
        title = Content(clean_line(tab.title) or "New conversation").truncate(MAX_TITLE_CELLS, ellipsis=True)
        mark = "● " if tab.busy else ""
        number = f"{index + 1} " if index < 9 else ""
        tone = STRONG if tab.active else "$foreground" if tab.shown else MUTED
        ground = "$surface" if tab.active else "$panel"
        return Content.assemble(" ", number, mark, title, " ").stylize(f"{tone} on {ground}")
