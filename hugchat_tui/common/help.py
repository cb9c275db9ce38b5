"""F1: the keys that work right now, read from the bindings themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import App, ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, Static

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import fit, shorten
from hugchat_tui.common.inputs import LineInput
from hugchat_tui.common.line_list import LineList
from hugchat_tui.common.tones import ACCENT, FAINT, MUTED, STRONG
from hugchat_tui.common.wrapping import wrapped

_KEYS_WIDTH = 22
_ID_WIDTH = 24
_WIDE = 90
_NARROWEST_ABOUT = 24
_TEXTUALS_OWN = frozenset({"app.focus_next", "app.focus_previous"})  # every screen of Textual has these
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class HelpEntry:
    """One action with its keys.

    id: its name in the keymap file, empty when it has none. group: where it belongs.
    """

    group: str
    keys: str
    title: str
    description: str
    id: str


def group_title(node: DOMNode) -> str:
    """What a part is called: its `help_title`, "Everywhere" for the app, or its class in words."""
    if isinstance(node, App):
        return "Everywhere"
    title = getattr(node, "help_title", None)
    return title if isinstance(title, str) else _WORDS.sub(" ", type(node).__name__.strip("_")).capitalize()


def help_entries(active: Mapping[str, ActiveBinding], key_display: Callable[[Binding], str]) -> list[HelpEntry]:
    """The bindings that work, nearest part first, each action once with all of its keys.

    active: as `Screen.active_bindings` gives it, innermost part first, a person's keymap applied.
    """
    keys: dict[tuple[DOMNode, str], list[str]] = {}
    bindings: dict[tuple[DOMNode, str], Binding] = {}
    for node, binding, enabled, _ in active.values():
        stray = not binding.id and binding.action in _TEXTUALS_OWN
        if enabled and binding.description and not stray:
            place = (node, binding.action)
            bindings.setdefault(place, binding)
            # A display of the binding's own stands for all of its keys.
            shown = key_display(binding)
            if shown not in keys.setdefault(place, []):
                keys[place].append(shown)
    parts = list(dict.fromkeys(node for node, _ in bindings))
    # What the footer shows matters most; within that the order is the one in which the bindings were written.
    order = sorted(bindings, key=lambda place: (parts.index(place[0]), not bindings[place].show))
    return [_entry(place[0], bindings[place], keys[place]) for place in order]


def _entry(node: DOMNode, binding: Binding, keys: Iterable[str]) -> HelpEntry:
    description = binding.tooltip if binding.tooltip != binding.description else ""
    shown_keys = "  ".join(clean_line(key) for key in keys)
    return HelpEntry(group_title(node), shown_keys, binding.description, description, binding.id or "")


class _HelpList(LineList):
    can_focus = False

    def __init__(self, entries: Iterable[HelpEntry]) -> None:
        super().__init__()
        self._entries = list(entries)
        self._shown: list[HelpEntry | str] = []
        self._rows: list[Content] = []

    def filter(self, query: str) -> None:
        """Show the entries in which every word of the query occurs."""
        words = query.lower().split()
        self._shown = []
        group = ""
        for entry in self._entries:
            text = f"{entry.group} {entry.keys} {entry.title} {entry.description} {entry.id}".lower()
            if all(word in text for word in words):
                if entry.group != group:
                    self._shown += ["", entry.group] if self._shown else [entry.group]
                    group = entry.group
                self._shown.append(entry)
        self._lay_out()
        self.scroll_home(animate=False)

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        """Each entry in as many lines as its words need."""
        width = self.scrollable_content_region.width
        self._rows = [line for shown in self._shown for line in _lines(shown, width)] if width else []
        self.rows_changed()

    def row_count(self) -> int:
        return len(self._rows)

    def can_choose(self, row: int) -> bool:
        return False

    def draw_row(self, row: int, line: int, width: int) -> Content:
        return self._rows[row]

    def draw_empty(self, line: int, width: int) -> Content:
        return Content.styled(" No key matches.", MUTED) if line == 0 else Content("")


def _lines(entry: HelpEntry | str, width: int) -> list[Content]:
    """An entry, or the title of a group, in lines of so many cells; what it does goes on below itself."""
    if isinstance(entry, str):
        return [Content.styled(f" {entry}", f"bold {ACCENT}")]
    id_width = _ID_WIDTH if width >= _WIDE else 0
    room = max(1, width - _KEYS_WIDTH - id_width - 4)
    title = shorten(entry.title, room)
    beside = room - cell_len(title) - 2  # else all of it stands below
    about = wrapped(entry.description, beside if beside >= _NARROWEST_ABOUT else room) if entry.description else []
    first = about.pop(0) if about and beside >= _NARROWEST_ABOUT else ""
    words = Content.assemble((title, "$foreground"), (f"  {first}" if first else "", MUTED))
    gap = " " * max(0, room - words.cell_length)
    shown_id = (fit(entry.id, id_width), FAINT) if id_width else ("", "")
    lines = [Content.assemble("   ", (fit(entry.keys, _KEYS_WIDTH), STRONG), words, gap, " ", shown_id)]
    indent = " " * (3 + _KEYS_WIDTH + (cell_len(title) + 2 if first else 0))
    return lines + [Content.assemble(indent, (line, MUTED)) for line in about]


class HelpScreen(ModalScreen[None]):
    """Lists the bindings of what has the focus, its ancestors, the screen and the app."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1", "close", "Close", id="help.close"),
        Binding("up", "scroll_list(-1)", "Up", show=False, id="help.up"),
        Binding("down", "scroll_list(1)", "Down", show=False, id="help.down"),
        Binding("pageup", "page_list(-1)", "Page up", show=False, id="help.page_up"),
        Binding("pagedown", "page_list(1)", "Page down", show=False, id="help.page_down"),
    ]

    DEFAULT_CSS = """
    HelpScreen {
        align: center middle;
        background: $background 60%;
        & > Vertical {
            width: 94%;
            max-width: 120;
            height: 90%;
            background: $surface;
            border: round $primary;
            border-title-color: $text-primary;
            border-subtitle-color: $foreground 60%;
            padding: 0 1;
        }
        LineInput { padding: 0 1; }
        #help-rule { height: 1; color: $foreground 25%; }
        _HelpList { height: 1fr; }
    }
    """

    def __init__(self, screen: Screen[object]) -> None:
        super().__init__()
        entries = help_entries(screen.active_bindings, screen.app.get_key_display)
        self._list = _HelpList(entries)
        self._about = entries[0].group if entries else ""
        self._input = LineInput(placeholder="type to filter")

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(f"Keys · {self._about}")
            box.border_subtitle = Content("↑↓ scroll · esc close")
            yield self._input
            yield Static(Content("─" * 200), id="help-rule")
            yield self._list

    def on_mount(self) -> None:
        self._list.filter("")
        self._input.focus()

    @on(Input.Changed)
    def _filter(self) -> None:
        self._list.filter(self._input.value)

    def action_scroll_list(self, lines: int) -> None:
        self._list.scroll_relative(y=lines, animate=False)

    def action_page_list(self, pages: int) -> None:
        self._list.scroll_relative(y=pages * max(1, self._list.size.height - 1), animate=False)

    def action_close(self) -> None:
        self.dismiss(None)
