"""The names of a run's panes, each behind the number that shows it."""

from __future__ import annotations

from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from hugchat_tui.common.tones import ACCENT, FAINT, MUTED, STRONG

PANES = ("charts", "samples", "events", "log", "recipe")
TITLES = ("Charts", "Samples", "Events", "Log", "Recipe")


class PaneBar(Widget):
    """A click shows a pane."""

    DEFAULT_CSS = """
    PaneBar { height: 1; background: $panel; }
    """

    active: reactive[str] = reactive(PANES[0])

    class Chosen(Message):
        def __init__(self, pane: str) -> None:
            super().__init__()
            self.pane = pane

    def render(self) -> RenderResult:
        return Content("").join(self._label(index) for index in range(len(PANES)))

    def _label(self, index: int) -> Content:
        active = PANES[index] == self.active
        label = Content.assemble(
            (f" {index + 1} ", ACCENT if active else FAINT), (TITLES[index], STRONG if active else MUTED), " "
        )
        return label.stylize("on $background") if active else label

    def on_click(self, event: events.Click) -> None:
        right = 0
        for index, pane in enumerate(PANES):
            right += self._label(index).cell_length
            if event.x < right:
                self.post_message(self.Chosen(pane))
                return
