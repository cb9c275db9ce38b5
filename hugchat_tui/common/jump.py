"""The jump overlay: a label on every part of the screen, and one key to go there."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Offset, Size
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import shorten
from hugchat_tui.common.tones import ACCENT, MUTED

Command = Literal["sidebar", "zoom", "close"]
PANE_COMMANDS: Mapping[str, tuple[Command, str]] = {
    "h": ("sidebar", "sidebar"),
    "z": ("zoom", "zoom"),
    "x": ("close", "close pane"),
}
_DIGITS = "123456789"


@runtime_checkable
class Jumpable(Protocol):
    """A widget that can be jumped to.

    jump_label: the letter it would like; two that want the same both get one.
    """

    jump_label: str


@dataclass(frozen=True, slots=True)
class NumberedThing:
    """One of the things 1 to 9 go to.

    place: where its number is drawn; None lists it at the bottom instead.
    """

    id: int
    title: str
    place: Offset | None = None


@dataclass(frozen=True, slots=True)
class JumpToWidget:
    widget: Widget


@dataclass(frozen=True, slots=True)
class JumpToThing:
    id: int


@dataclass(frozen=True, slots=True)
class JumpCommand:
    command: Command


Jump = JumpToWidget | JumpToThing | JumpCommand


def letters_for(wanted: Sequence[str]) -> list[str]:
    """A letter for each wish, each once, first come, first served; never a command's letter."""
    free = [letter for letter in string.ascii_lowercase if letter not in PANE_COMMANDS]
    letters = []
    for wish in wanted:
        letter = wish if wish in free else next((other for other in free if other not in wanted), free[0])
        free.remove(letter)
        letters.append(letter)
    return letters


def jumpable_widgets(below: Widget) -> list[Widget]:
    """The jumpable widgets that are in view, in the order they were composed."""
    return [
        widget
        for widget in below.walk_children(Widget)
        if isinstance(widget, Jumpable) and widget.focusable and widget.region and widget.is_on_screen
    ]


class JumpOverlay(ModalScreen[Jump | None]):
    """Ends with where to go, or None for any key that leads nowhere. The screen below does the going."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+o", "cancel", "Leave", id="jump.cancel"),
    ]

    DEFAULT_CSS = """
    JumpOverlay {
        background: $background 45%;
        .jump-label {
            position: absolute;
            width: auto;
            height: 1;
            padding: 0 1;
            background: $accent;
            color: auto;
            text-style: bold;
        }
        #jump-keys {
            dock: bottom;
            width: 100%;
            height: auto;
            padding: 0 1;
            background: $panel;
        }
    }
    """

    help_title = "Jump"

    def __init__(
        self,
        below: Widget,
        things: Sequence[NumberedThing] = (),
        *,
        numbered: str = "conversation",
        commands: Mapping[str, tuple[Command, str]] = PANE_COMMANDS,
    ) -> None:
        """below: the screen to jump in. things: what 1 to 9 go to, each a `numbered`; those past nine have no number.

        commands: by key, what else can be done, and what it is called.
        """
        super().__init__()
        self._numbered = numbered
        self._jump_commands = commands
        widgets = jumpable_widgets(below)
        letters = letters_for([widget.jump_label for widget in widgets if isinstance(widget, Jumpable)])
        self._widgets = dict(zip(letters, widgets, strict=True))
        self._things = dict(zip(_DIGITS, things, strict=False))
        self._drawn_at: Size | None = None

    def compose(self) -> ComposeResult:
        for key, widget in self._widgets.items():
            yield self._label(key, widget.region.offset)
        for key, thing in self._things.items():
            if thing.place is not None:
                yield self._label(key, thing.place)
        yield Static(self._keys(), id="jump-keys")

    def _label(self, key: str, place: Offset) -> Static:
        label = Static(Content(key), classes="jump-label")
        label.styles.offset = place
        return label

    def _keys(self) -> Content:
        unplaced = [(key, thing.title) for key, thing in self._things.items() if thing.place is None]
        lines = [_hints((key, shorten(clean_line(title), 60)) for key, title in [pair]) for pair in unplaced]
        fixed = [(key, words) for key, (_, words) in self._jump_commands.items()]
        reach = [("a-z", "part")] if self._widgets else []
        if self._things:
            reach.append(("1-9", self._numbered))
        return Content("\n").join([*lines, _hints([*reach, *fixed, ("esc", "leave")])])

    def on_key(self, event: events.Key) -> None:
        key = event.key
        if key in self._widgets:
            self._leave(event, JumpToWidget(self._widgets[key]))
        elif key in self._things:
            self._leave(event, JumpToThing(self._things[key].id))
        elif key in self._jump_commands:
            self._leave(event, JumpCommand(self._jump_commands[key][0]))
        elif event.is_printable:
            self._leave(event, None)

    def _leave(self, event: events.Key, jump: Jump | None) -> None:
        event.stop()
        self.dismiss(jump)

    def on_resize(self, event: events.Resize) -> None:
        # The labels stand where things were before.
        if self.is_mounted and self._drawn_at not in (None, event.size):
            self.dismiss(None)
        self._drawn_at = event.size

    def action_cancel(self) -> None:
        self.dismiss(None)


def _hints(pairs: Iterable[tuple[str, str]]) -> Content:
    parts = [Content.assemble((key, f"bold {ACCENT}"), (f" {words}", MUTED)) for key, words in pairs]
    return Content("  ").join(parts)
