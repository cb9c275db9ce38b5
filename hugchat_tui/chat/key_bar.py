"""The footer: the keys that matter now."""

from __future__ import annotations

from typing import ClassVar

from textual.app import RenderResult
from textual.binding import Binding
from textual.content import Content
from textual.events import Click
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget

from hugchat_tui.common.line_list import justify
from hugchat_tui.common.tones import GOOD, MUTED, STRONG

_ALWAYS = ("app.palette", "app.help")


class KeyBar(Widget):
    """At most MOST keys on one line: those of what has the focus first, then the screen's; a click presses one.

    note: a word at the right end.
    """

    MOST: ClassVar[int] = 6

    DEFAULT_CSS = """
    KeyBar { height: 1; dock: bottom; background: $panel; }
    """

    urgent: reactive[Binding | None] = reactive(None)  # what stands first now, whatever has the focus
    note: reactive[str] = reactive("")

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def _bindings_changed(self, screen: Screen[object]) -> None:
        self.refresh()

    def bindings(self) -> list[Binding]:
        """What is shown, in order, as far as it fits."""
        active: dict[str, Binding] = {}
        for _, binding, enabled, _ in self.screen.active_bindings.values():
            if enabled and binding.show:
                active.setdefault(binding.id or binding.action, binding)
        always = [active.pop(name) for name in _ALWAYS if name in active]
        first = [*([self.urgent] if self.urgent else []), *active.values()]
        first = first[: self.MOST - len(always)]
        room = self.size.width - (len(self.note) + 2 if self.note else 0)
        while first and sum(self._label(binding).cell_length for binding in [*first, *always]) > room:
            first.pop()
        return [*first, *always]

    def render(self) -> RenderResult:
        keys = Content("").join(self._label(binding) for binding in self.bindings())
        return justify(keys, Content.styled(f"{self.note} ", GOOD), self.size.width) if self.note else keys

    def on_click(self, event: Click) -> None:
        left = 0
        for binding in self.bindings():
            left += self._label(binding).cell_length
            if event.x < left:
                self.app.simulate_key(binding.key)
                return

    def _label(self, binding: Binding) -> Content:
        key = self.app.get_key_display(binding)
        return Content.assemble(" ", (key, STRONG), (f" {binding.description} ", MUTED))
