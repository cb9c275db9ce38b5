"""The form's lines: a key a line, and an input over the value of the one under the cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.dom import DOMNode
from textual.message import Message
from textual.widgets import Input
from textual.widgets.input import Selection

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import fit, shorten, shorten_start
from hugchat_tui.common.inputs import LineInput
from hugchat_tui.common.line_list import LineList
from hugchat_tui.common.tones import ACCENT, BAD, FAINT, MUTED, STRONG
from hugchat_tui.common.wrapping import wrapped
from hugchat_tui.monitor.form_fields import Draft, choices_at, field_at, is_folded, is_path, shown
from hugchat_tui.monitor.form_rows import Row, editable, note_at, placeholder, rows
from sft.recipe_fields import Problem

_MARK, _LABEL, _NUMBER = 2, 17, 13  # cells
_VALUE_AT = _MARK + _LABEL


class FormList(LineList, inherit_bindings=False):
    """Draws the lines of a draft. The input in it has the focus for it."""

    BINDINGS: ClassVar[list[BindingType]] = []

    can_focus = False

    def __init__(self, draft: Draft) -> None:
        super().__init__(classes="-active")  # its cursor is where the input is
        self.draft = draft
        self.made: Mapping[str, str] = {}  # by place, what would be taken where nothing stands
        self._rows: list[Row] = []

    @property
    def row(self) -> Row | None:
        return self._rows[self.cursor] if 0 <= self.cursor < len(self._rows) else None

    def show(self, shown_rows: Sequence[Row], place: str) -> None:
        """Draw these, the cursor on the row of a place, or about where it was when that is gone."""
        self._rows = list(shown_rows)
        at = next((index for index, row in enumerate(self._rows) if row.place == place and self.can_choose(index)), -1)
        self.rows_changed(at if at >= 0 else self.cursor)

    def row_count(self) -> int:
        return len(self._rows)

    def can_choose(self, row: int) -> bool:
        return self._rows[row].kind not in ("problem", "gap")

    def watch_cursor(self, old: int, new: int) -> None:
        super().watch_cursor(old, new)
        if isinstance(self.parent, FormBody):
            self.parent.cursor_moved()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if isinstance(self.parent, FormBody):
            self.parent.place_input()

    def value_width(self, row: Row, width: int) -> int:
        """Cells that the value of a row is typed in."""
        numeric = row.kind == "text" and field_at(row.place).kind in (int, float)
        return _NUMBER if numeric else max(1, width - _VALUE_AT - 1)

    def draw_row(self, row: int, line: int, width: int) -> Content:
        shown_row = self._rows[row]
        match shown_row.kind:
            case "problem":
                return Content.styled(shorten(" " * _VALUE_AT + shown_row.label, width), BAD)
            case "gap":
                return Content("")
            case "section":
                return self._draw_section(shown_row, row == self.cursor, width)
        mark = ("● " if shown_row.changed else "  ", ACCENT)
        label = (fit(shown_row.label, _LABEL - 1) + " ", STRONG if row == self.cursor else MUTED)
        value = self._draw_choice(shown_row) if shown_row.kind == "choice" else self._draw_text(shown_row, width)
        note = note_at(shown_row.place)
        room = width - _VALUE_AT - value.cell_length - 2
        note = f"  {note}" if note and len(note) <= room else ""
        return Content.assemble(mark, label, value, (note, FAINT))

    def _draw_section(self, row: Row, at_cursor: bool, width: int) -> Content:
        arrow = "▸ " if row.folded else "▾ "
        name = (fit(row.place, _LABEL - 1) + " ", f"bold {ACCENT}")
        words = shorten(row.label, width - _VALUE_AT - 22)
        changed = ("  ● changed" if row.changed else "", ACCENT)
        wrong = ("  ! wrong" if row.wrong else "", BAD)
        return Content.assemble((arrow, ACCENT if at_cursor else MUTED), name, (words, MUTED), changed, wrong)

    def _draw_choice(self, row: Row) -> Content:
        now = self.draft.value(row.place)
        parts = [
            Content.styled(f"● {shown(choice)}  ", f"bold {ACCENT}")
            if type(choice) is type(now) and choice == now
            else Content.styled(f"○ {shown(choice)}  ", MUTED)
            for choice in choices_at(row.place)
        ]
        return Content("").join(parts).rstrip()

    def _draw_text(self, row: Row, width: int) -> Content:
        room = self.value_width(row, width)
        text = clean_line(self.draft.text(row.place))
        if not text:
            return Content.styled(fit(clean_line(placeholder(row.place, self.made)), room), FAINT)
        cut = shorten_start if is_path(row.place) else shorten
        return Content.styled(fit(cut(text, room), room), STRONG if row.changed else "$foreground")


class FieldInput(LineInput):
    """Stands over the value of the row under the cursor, and has the focus whatever that row is.

    So all keys come to one place in the order in which they were typed: what is typed behind a key that moves the
    cursor is meant for the row where it is then.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "screen.move('cursor_by(-1)')", "Up", show=False, id="form.up"),
        Binding("down", "screen.move('cursor_by(1)')", "Down", show=False, id="form.down"),
        Binding("pageup", "screen.move('cursor_page(-1)')", "Page up", show=False, id="form.page_up"),
        Binding("pagedown", "screen.move('cursor_page(1)')", "Page down", show=False, id="form.page_down"),
        Binding("shift+tab", "screen.move('cursor_by(-1)')", "Previous field", show=False, id="form.previous"),
        Binding("tab", "screen.complete", "Complete, or the next field", show=False, id="form.complete"),
        Binding("enter", "screen.open", "Unfold, choose, or the next field", show=False, id="form.open"),
        Binding("right,space", "screen.choose(1)", "Next choice", show=False, id="form.next_choice"),
        Binding("left", "screen.choose(-1)", "Previous choice", show=False, id="form.previous_choice"),
    ]

    DEFAULT_CSS = """
    FieldInput { layer: over; position: absolute; width: 1; background: $foreground 12%; }
    FieldInput:ansi { background: ansi_default; }
    FieldInput.-nowhere { width: 1; background: $primary 16%; & > .input--cursor { background: transparent; } }
    """

    jump_label = "f"
    help_title = "Form"

    typing = False  # the row under the cursor is a text
    locked = False  # nothing may be changed

    async def _on_key(self, event: events.Key) -> None:
        if await self._run_binding(event.key):
            event.prevent_default()
            event.stop()
        elif self.locked:
            event.prevent_default()
            if event.key in self._bindings.key_to_bindings:
                event.stop()
        elif not self.typing:
            event.prevent_default()

    async def _run_binding(self, key: str) -> bool:
        """Run a binding of the form or of this input now: by the time it would come from the app, more was typed."""
        found: list[tuple[DOMNode, Binding]] = []
        nodes: tuple[DOMNode, ...] = (self, self.screen)
        for node in nodes:
            bindings = node._bindings.copy()
            if keymap := self.app._keymap:
                bindings.apply_keymap(keymap)
            found += [(node, each) for each in bindings.key_to_bindings.get(key, ()) if not each.priority]
        if self.locked:
            found = [(node, each) for node, each in found if (each.id or "").startswith("form.")]
        if found and isinstance(self.parent, FormBody):
            self.parent.commit()  # the key is about what was typed before it, too
        for node, binding in sorted(found, key=lambda pair: not (pair[1].id or "").startswith("form.")):
            if await self.app.run_action(binding.action, node):
                return True
        return False

    def _on_paste(self, event: events.Paste) -> None:
        if not self.typing or self.locked:
            event.prevent_default()
            event.stop()


class FormBody(Container):
    """The list with its input; owns which row is edited.

    unfolded: names of the sections whose keys are shown. problems: what is said below the rows.
    """

    DEFAULT_CSS = """
    FormBody { layers: base over; width: 1fr; height: 1fr; }
    FormBody > FormList { layer: base; height: 1fr; scrollbar-gutter: stable; }
    """

    class Moved(Message):
        """The cursor is on another row, or the rows are others; `left`: the place it was on before."""

        def __init__(self, left: str) -> None:
            super().__init__()
            self.left = left

    class Typed(Message):
        """What stands at a place was changed."""

        def __init__(self, place: str) -> None:
            super().__init__()
            self.place = place

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self.draft = draft
        self.list = FormList(draft)
        self.input = FieldInput()
        self.unfolded: set[str] = set()
        self.problems: list[Problem] = []
        self._edited = ""  # the place that the input stands for

    def compose(self) -> ComposeResult:
        yield self.list
        yield self.input

    def on_mount(self) -> None:
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    @property
    def place(self) -> str:
        """Of the row under the cursor."""
        return self.list.row.place if self.list.row is not None else ""

    @property
    def text(self) -> str:
        """What the draft has at the edited place, "" where nothing is typed."""
        return self.draft.text(self._edited) if self.input.typing else ""

    def focus_row(self) -> None:
        self.screen.set_focus(self.input)

    def settle(self) -> None:
        """Take what is in the input, and empty entries off their lists."""
        self.commit()
        place, fewer = self.draft.tidy(self.place)
        if fewer:
            self.draw(place)
            self.reload()

    def draw(self, place: str = "") -> None:
        """Draw the draft and its problems anew, the cursor on a place, or where it is."""
        width = max(20, self.list.scrollable_content_region.width - _VALUE_AT - 1)
        lines: list[Row] = []
        for row in rows(self.draft, self.unfolded, self.problems):
            if row.kind == "problem":
                lines += [Row("problem", row.place, words) for words in wrapped(row.label, width)]
            else:
                lines.append(row)
        self.list.show(lines, place or self.place)
        self.cursor_moved()

    def go_to_problem(self) -> None:
        """Put the cursor on the first line that something is wrong with."""
        self.unfolded |= {problem.place.partition(".")[0] for problem in self.problems if is_folded(problem.place)}
        first = next((row.place for row in rows(self.draft, self.unfolded, self.problems) if row.kind == "problem"), "")
        self.draw(first)

    def cursor_moved(self) -> None:
        """Let the input stand where the cursor is, with the text that is there, if there is one to be typed."""
        row = self.list.row
        if row is None:
            return
        left = self._edited
        if row.place != left:
            self.commit()
            self._edited = ""
            place, fewer = self.draft.tidy(row.place)
            if fewer:
                self.draw(place)
            self._edited = row.place if (row := self.list.row) is not None else ""
            self.input.typing = row is not None and row.kind == "text" and editable(self.draft, row.place)
            self.reload()
        self.place_input()
        self.post_message(self.Moved(left if left != self._edited else ""))

    def place_input(self) -> None:
        """Put the input over its row; not seen where there is nothing to type, or that is out of sight."""
        row = self.list.row
        y = self.list.cursor - int(self.list.scroll_offset.y)
        shows = self.input.typing and row is not None and 0 <= y < self.list.size.height
        self.input.set_class(not shows, "-nowhere")
        width = self.list.scrollable_content_region.width
        if shows and row is not None:
            self.input.placeholder = clean_line(placeholder(row.place, self.list.made))
            self.input.styles.offset = (_VALUE_AT, y)
            self.input.styles.width = self.list.value_width(row, width)
        else:  # in a corner: what is not on the screen at all would lose the focus
            self.input.placeholder = ""
            self.input.styles.offset = (max(0, width - 1), max(0, min(y, self.list.size.height - 1)))
            self.input.styles.width = 1

    def reload(self) -> None:
        """Show what stands at the edited place; a number is taken the place of by what is typed."""
        self.input.value = self.text
        end = len(self.input.value)
        numeric = self.input.typing and field_at(self._edited).kind in (int, float)
        self.input.selection = Selection(0 if numeric else end, end)

    def commit(self) -> None:
        """Take what is in the input."""
        if self.input.typing and self._edited and self.input.value != self.draft.text(self._edited):
            is_new = self.draft.value(self._edited) is None
            self.draft.put(self._edited, self.input.value)
            if is_new:
                self.draw()  # there is a line for one more now
            self.post_message(self.Typed(self._edited))

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.value == self.input.value:
            self.commit()
