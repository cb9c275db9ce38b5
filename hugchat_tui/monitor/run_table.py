"""The list of runs: two lines each, sorted and filtered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.app import RenderResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import counted, shorten, shorten_middle
from hugchat_tui.common.line_list import LineList, justify
from hugchat_tui.common.tones import ACCENT, BAD, FAINT, MUTED, STRONG, WARN
from hugchat_tui.common.wrapping import draw_words
from hugchat_tui.library.at_once import at_once
from hugchat_tui.monitor.rows import RunRow
from hugchat_tui.monitor.run_columns import MARKS, RUN_COLUMNS, base_name, facts, in_order, matches, progress_words
from hugchat_tui.monitor.run_tones import run_tones

_EMPTY = (
    "There are no training runs yet.",
    "",
    "n starts one: a base, your data, and what is to be learned.",
    "In the chat, + and - mark replies; marked ones can be trained on.",
    "Runs that were started by hugchat sft run are listed here too.",
)
_NARROWEST_NAME = 12
_NARROWEST_ORIGIN = 14


class RunTable(LineList, inherit_bindings=False):
    """Shows rows; it owns none of them. overlaid: names of the runs that are drawn besides the one under the cursor."""

    ROW_HEIGHT = 2
    # Enter is the monitor's, under the name that it has in the table of actions.
    BINDINGS: ClassVar[list[BindingType]] = at_once(LineList.BINDINGS, "list.choose")
    DEFAULT_CSS = """
    RunTable { height: 1fr; }
    """

    jump_label = "r"
    help_title = "Runs"

    class Arranged(Message):
        """Order, rows or marks changed: what stands around the list is to be drawn anew."""

    def __init__(self) -> None:
        super().__init__()
        self.column = RUN_COLUMNS[0]
        self.reversed = False
        self.archived = False  # whether archived runs are shown
        self.query_text = ""
        self.problem = ""
        self.overlaid: list[str] = []
        self.hidden = 0  # archived runs that are not shown
        self._all: Sequence[RunRow] = ()
        self._shown: list[RunRow] = []
        self._ready = False
        self._said = self._said_without_rows()
        self._tones: dict[str, str] = {}  # of the curves, by the names of the runs that are drawn over each other

    # Rows

    @property
    def row(self) -> RunRow | None:
        """The one under the cursor."""
        return self._shown[self.cursor] if 0 <= self.cursor < len(self._shown) else None

    @property
    def count(self) -> int:
        """Rows that are shown."""
        return len(self._shown)

    @property
    def total(self) -> int:
        return len(self._all)

    def overlaid_rows(self) -> list[RunRow]:
        """What is drawn besides the row under the cursor, in the order in which it was marked."""
        by_name = {row.name: row for row in self._all}
        at_cursor = self.row.name if self.row is not None else ""
        return [by_name[name] for name in self.overlaid if name in by_name and name != at_cursor]

    def set_rows(self, rows: Sequence[RunRow], problem: str) -> None:
        """Show these; the cursor stays on its run, or on what comes to stand there."""
        self._all, self.problem, self._ready = rows, problem, True
        self.overlaid = [name for name in self.overlaid if any(row.name == name for row in rows)]
        self._arrange()

    def go_to(self, name: str) -> bool:
        """Put the cursor on a run; False when it is not shown."""
        place = next((place for place, row in enumerate(self._shown) if row.name == name), None)
        if place is not None:
            self.cursor = place
        return place is not None

    def sort_by_next(self) -> None:
        self.column = RUN_COLUMNS[(RUN_COLUMNS.index(self.column) + 1) % len(RUN_COLUMNS)]
        self.reversed = False
        self._arrange()

    def reverse(self) -> None:
        self.reversed = not self.reversed
        self._arrange()

    def filter(self, text: str) -> None:
        self.query_text = text
        self._arrange()

    def show_archived(self, shown: bool) -> None:
        self.archived = shown
        self._arrange()

    def toggle_overlay(self) -> None:
        """Draw the run under the cursor besides others, or no longer, and go on to the next one."""
        if (row := self.row) is not None:
            if row.name in self.overlaid:
                self.overlaid.remove(row.name)
            else:
                self.overlaid.append(row.name)
            self.refresh()
            self.action_cursor_by(1)
            self.post_message(self.Arranged())

    def show_tones(self) -> None:
        """Mark the runs that are drawn over each other in the colours of their curves."""
        at_cursor = [self.row.name] if self.row is not None else []
        names = [*at_cursor, *(row.name for row in self.overlaid_rows())]
        tones = {name: tone for name, tone in run_tones(names).items() if len(names) > 1 or name in self.overlaid}
        if tones != self._tones:
            self._tones = tones
            self.refresh()

    def clear_overlay(self) -> None:
        self.overlaid.clear()
        self.refresh()
        self.post_message(self.Arranged())

    def _arrange(self) -> None:
        at_cursor, before = self.row, self._shown
        listed = [row for row in self._all if self.archived or not row.said.archived]
        self.hidden = len(self._all) - len(listed)
        said, self._said = self._said, self._said_without_rows()
        found = [row for row in listed if matches(row, self.query_text)]
        self._shown = in_order(found, self.column, reverse=self.reversed)
        if [row.name for row in self._shown] != [row.name for row in before]:
            places = {row.name: place for place, row in enumerate(self._shown)}
            place = self.cursor if at_cursor is None else places.get(at_cursor.name, self.cursor)
            self.rows_changed(max(0, place))
        elif not self._shown:
            if self._said != said:
                self.refresh()
        else:
            for place, (old, new) in enumerate(zip(before, self._shown, strict=True)):
                if old != new:
                    self.refresh_lines(place * self.ROW_HEIGHT, self.ROW_HEIGHT)
        self.post_message(self.Arranged())

    # The list

    def row_count(self) -> int:
        return len(self._shown)

    def draw_row(self, row: int, line: int, width: int) -> Content:
        shown = self._shown[row]
        return self._headline(shown, width) if line == 0 else self._facts(shown, width)

    def _headline(self, row: RunRow, width: int) -> Content:
        glyph, tone = MARKS[row.status.state]
        overlaid = ("≈", self._tones.get(row.name, ACCENT)) if row.name in self._tones else (" ", "")
        state = Content.styled(f" {progress_words(row)} ", tone)
        tag = f" {clean_line(row.said.tag)}" if row.said.tag else ""
        room = width - 4 - state.cell_length
        if room - cell_len(tag) < _NARROWEST_NAME:
            tag = ""
        name = shorten_middle(clean_line(row.name), room - cell_len(tag))
        style = MUTED if row.said.archived else STRONG
        left = Content.assemble(overlaid, (f"{glyph} ", tone), (name, style), (tag, ACCENT))
        return justify(left, state, width)

    def _facts(self, row: RunRow, width: int) -> Content:
        if row.problem:
            return Content.styled("   " + shorten(clean_line(row.problem), width - 4), WARN)
        origin = " ← ".join(filter(None, (base_name(row), clean_line(row.data))))
        left = f"archived · {origin}" if row.said.archived else origin
        known = facts(row)
        while len(known) > 1 and cell_len(" · ".join(known)) + min(cell_len(left), _NARROWEST_ORIGIN) > width - 6:
            known.pop()
        right = " · ".join(known)
        left = shorten(left, max(0, width - cell_len(right) - 6))
        return justify(Content.styled(f"   {left}", FAINT), Content.styled(f"{right} ", MUTED), width)

    def draw_empty(self, line: int, width: int) -> Content:
        words, tone = self._said_without_rows()
        return draw_words(words, line, width, tone)

    def _said_without_rows(self) -> tuple[tuple[str, ...], str]:
        """What stands there when no row does, and its tone."""
        if self.problem:
            return ("Looking for runs failed:", clean_line(self.problem)), BAD
        if not self._ready:
            return ("Looking for runs…",), MUTED
        if self._all:
            hidden = f" {counted(self.hidden, 'archived run')} not shown; A shows them." if self.hidden else ""
            return (f"Nothing matches.{hidden}",), MUTED
        return _EMPTY, MUTED


class RunTableHead(Widget):
    """How many runs there are, in which order, and what is left out."""

    DEFAULT_CSS = """
    RunTableHead { height: 1; background: $panel; }
    """

    def __init__(self, table: RunTable) -> None:
        super().__init__()
        self._table = table

    def render(self) -> RenderResult:
        table = self._table
        total = table.total - table.hidden
        count = f"{table.count:,} of {total:,}" if table.query_text else f"{total:,}"
        parts = [f"{len(table.overlaid)} overlaid"] if table.overlaid else []
        if table.hidden:
            parts.append(f"{table.hidden:,} archived")
        arrow = "▼" if table.column.descending != table.reversed else "▲"
        left = Content.assemble((" Runs ", STRONG), (count, MUTED), (f" · {' · '.join(parts)}" if parts else "", MUTED))
        return justify(left, Content.styled(f"{table.column.title} {arrow} ", FAINT), self.size.width)
