"""A multi-line editor for prose: TextArea without what prose does not need, and safe to paste anything into."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import TextArea
from textual.widgets.text_area import Location

from hugchat_tui.common.clean import clean
from hugchat_tui.common.terminal_keys import UNREAD_ENTERS, forget_option_digits, teach_alt_enter


def normalise(text: str) -> str:
    """Foreign text as an editor takes it: \\n line ends, control characters made visible."""
    return clean(text.replace("\r\n", "\n").replace("\r", "\n"))


def _edit(keys: str, action: str, title: str, name: str) -> Binding:
    return Binding(keys, action, title, show=False, id=f"edit.{name}")


class PlainEditor(TextArea, inherit_bindings=False):
    """What enter and ^j do is up to the bindings of a subclass, so that a person's keymap can change it."""

    # TextArea's own bindings have no ids, and two of them (f6, f7) belong to the panes here.
    BINDINGS: ClassVar[list[BindingType]] = [
        _edit("up", "cursor_up", "Line up", "up"),
        _edit("down", "cursor_down", "Line down", "down"),
        _edit("left", "cursor_left", "Character left", "left"),
        _edit("right", "cursor_right", "Character right", "right"),
        _edit("ctrl+left,alt+left", "cursor_word_left", "Word left", "word_left"),
        _edit("ctrl+right,alt+right", "cursor_word_right", "Word right", "word_right"),
        _edit("home,ctrl+a", "cursor_line_start", "Start of the line", "line_start"),
        _edit("end,ctrl+e", "cursor_line_end", "End of the line", "line_end"),
        _edit("pageup", "cursor_page_up", "Page up", "page_up"),
        _edit("pagedown", "cursor_page_down", "Page down", "page_down"),
        _edit("shift+left", "cursor_left(True)", "Select left", "select_left"),
        _edit("shift+right", "cursor_right(True)", "Select right", "select_right"),
        _edit("shift+up", "cursor_up(True)", "Select up", "select_up"),
        _edit("shift+down", "cursor_down(True)", "Select down", "select_down"),
        _edit("ctrl+shift+left", "cursor_word_left(True)", "Select a word left", "select_word_left"),
        _edit("ctrl+shift+right", "cursor_word_right(True)", "Select a word right", "select_word_right"),
        _edit("shift+home", "cursor_line_start(True)", "Select to the start of the line", "select_line_start"),
        _edit("shift+end", "cursor_line_end(True)", "Select to the end of the line", "select_line_end"),
        _edit("alt+a", "select_all", "Select all", "select_all"),
        _edit("backspace,shift+backspace", "delete_left", "Delete left", "delete_left"),
        _edit("delete,ctrl+d", "delete_right", "Delete right", "delete_right"),
        _edit(
            "ctrl+w,ctrl+backspace,alt+backspace",
            "delete_word_left",
            "Delete a word left",
            "delete_word_left",
        ),
        _edit("alt+delete,alt+d", "delete_word_right", "Delete a word right", "delete_word_right"),
        _edit("ctrl+u", "delete_to_start_of_line", "Delete to the start of the line", "delete_line_start"),
        _edit(
            "ctrl+k",
            "delete_to_end_of_line_or_delete_line",
            "Delete to the end of the line",
            "delete_line_end",
        ),
        _edit("ctrl+x", "cut", "Cut", "cut"),
        _edit("ctrl+c,super+c", "copy", "Copy what is selected", "copy"),
        _edit("ctrl+v", "paste", "Paste what was copied here", "paste"),
        _edit("ctrl+z,super+z", "undo", "Undo", "undo"),
        _edit("ctrl+y,super+y", "redo", "Redo", "redo"),
    ]

    def __init__(self, text: str = "", *, placeholder: Content | str = "", id: str | None = None) -> None:
        super().__init__(normalise(text), id=id, highlight_cursor_line=False, placeholder=placeholder)
        self.cursor_blink = False  # blinking wakes an idle program twice a second

    def on_mount(self) -> None:
        teach_alt_enter()
        forget_option_digits()

    def insert_paste(self, text: str) -> None:
        """Replace the selection with foreign text, made safe."""
        if result := self._replace_via_keyboard(normalise(text), *self.selection):
            self.move_cursor(result.end_location)

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        self.insert_paste(event.text)

    async def _on_key(self, event: events.Key) -> None:
        if not event.is_printable and await self._run_binding(event.key):
            event.prevent_default()
            event.stop()
        elif event.key == "enter":
            # Not TextArea's new line: a binding decides.
            event.prevent_default()
        elif event.key in UNREAD_ENTERS:
            event.prevent_default()
            event.stop()
            self.app.simulate_key(UNREAD_ENTERS[event.key])
        elif event.key == "space" and event.character is None:
            # Terminals with the Kitty protocol may send the key without its text.
            event.prevent_default()
            event.stop()
            self._replace_via_keyboard(" ", *self.selection)

    async def _run_binding(self, key: str) -> bool:
        """Run this editor's own binding of a key now; returns whether there was one that did something.

        Textual runs a binding only when its key has bubbled up to the app. Letters typed right behind it are in the
        text by then: "^u, text" typed ahead deleted the text, and "question, enter, more" sent both.
        """
        bindings = self._bindings.copy()
        if keymap := self.app._keymap:
            bindings.apply_keymap(keymap)
        for binding in bindings.key_to_bindings.get(key, ()):
            if not binding.priority and await self.app.run_action(binding.action, self):
                return True
        return False

    def action_newline(self) -> None:
        self._replace_via_keyboard("\n", *self.selection)

    def action_paste(self) -> None:
        self.insert_paste(self.app.clipboard)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "copy":  # else the key is the application's
            return bool(self.selected_text)
        return True

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self.selected_text)

    def action_cut(self) -> None:
        """Cut the selection, or the line when nothing is selected."""
        if self.selection.is_empty:
            self.select_line(self.cursor_location[0])
        if self.selected_text:
            self.action_copy()
            self.action_delete_left()

    def find_matching_bracket(self, bracket: str, search_from: Location) -> Location | None:
        """None: prose has no brackets to match, and TextArea would scan the whole text at every move."""
        return None

    def _recompute_cursor_offset(self) -> None:
        # TextArea asks for the cursor's place half-way through undo and redo, when the scroll bar comes or goes
        # and the cursor may stand on a line that is no more: it raised, and the app was gone (Textual #6687).
        location = self.clamp_visitable(self.cursor_location)
        self._cursor_offset = self.wrapped_document.location_to_offset(location)
