"""The footer: the keys that matter now."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Protocol, runtime_checkable

from textual.app import RenderResult
from textual.binding import Binding
from textual.content import Content
from textual.events import Click
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget

from hugchat_tui.actions import BY_ID
from hugchat_tui.common.line_list import justify
from hugchat_tui.common.tones import GOOD, MUTED, STRONG

_ALWAYS = ("app.palette", "app.help")
_WIDE = 110  # cells from which keys are shown that matter less


@runtime_checkable
class Labelling(Protocol):
    """A part of the screen whose keys do something else, or nothing, depending on what the cursor is on."""

    def footer_label(self, binding: Binding) -> str:
        """What the footer says of its binding now; empty: nothing, it could not be done."""


class KeyBar(Widget):
    """At most MOST keys on one line: those of what has the focus first, then the screen's; a click presses one.

    Where the line is long, those follow that are for wide screens. note: a word at the right end.
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
        more: dict[str, Binding] = {}
        for node, binding, enabled, _ in self.screen.active_bindings.values():
            name = binding.id or binding.action
            wide = name in BY_ID and BY_ID[name].wide and self.size.width >= _WIDE
            if not enabled or not (binding.show or wide) or name in active or name in more:
                continue
            words = node.footer_label(binding) if isinstance(node, Labelling) else binding.description
            if words:
                (active if binding.show else more)[name] = replace(binding, description=words)
        always = [active.pop(name) for name in _ALWAYS if name in active]
        first = [*([self.urgent] if self.urgent else []), *active.values()]
        first = [*first[: self.MOST - len(always)], *more.values()]
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
