"""The table of checkpoints: one line a row, sorted and filtered by any column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import events
from textual.app import RenderResult
from textual.binding import BindingType
from textual.content import Content, Span
from textual.message import Message
from textual.widget import Widget

from engine.checkpoints.library.rows import Row
from hugchat_tui.common.format import ELLIPSIS, fit, shorten, shorten_middle
from hugchat_tui.common.fuzzy import Match
from hugchat_tui.common.line_list import LineList
from hugchat_tui.common.tones import ACCENT, BAD, FAINT, MATCH, MUTED, STRONG, WARN
from hugchat_tui.common.wrapping import draw_words
from hugchat_tui.library.at_once import at_once
from hugchat_tui.library.columns import COLUMNS, NAME, Column, Listed, in_order, name_width, shown_columns
from hugchat_tui.library.filtering import matching, parse_query

if TYPE_CHECKING:
    from engine.fit import Fit

KINDS = ("", "model", "adapter", "gguf", "unfinished", "broken", "other")
_FIT_TONES = {"fits": MUTED, "tight": WARN, "no": BAD}
_SIZE = next(index for index, column in enumerate(COLUMNS) if column.id == "size")
_NO_MATCH = Match(0.0, ())


class CheckpointTable(LineList, inherit_bindings=False):
    """Shows rows; it owns none of them. marked: keys of those that the next deletion means."""

    # Enter is the view's, under the name that it has in the table of actions.
    BINDINGS: ClassVar[list[BindingType]] = at_once(LineList.BINDINGS, "list.choose")

    DEFAULT_CSS = """
    CheckpointTable { height: 1fr; }
    """

    jump_label = "t"
    help_title = "Checkpoints"

    class Arranged(Message):
        """Column, order, width, rows or marks changed: what stands around the table is to be drawn anew."""

    def __init__(self) -> None:
        super().__init__()
        self.marked: set[str] = set()
        self.column = NAME
        self.reversed = False
        self.kind = ""
        self.query_text = ""
        self.words: tuple[str, ...] = ()  # shown while there is nothing to list
        self.failed = False
        self._current: frozenset[str] = frozenset()  # of the checkpoints that answer in the chat
        self._all: dict[str, Listed] = {}
        self._ordered: list[Listed] = []
        self._shown: list[tuple[Listed, Match]] = []
        self._places: dict[str, int] = {}

    # Rows

    @property
    def row(self) -> Row | None:
        """The one under the cursor."""
        return self._shown[self.cursor][0].row if 0 <= self.cursor < len(self._shown) else None

    @property
    def listed(self) -> Listed | None:
        return self._shown[self.cursor][0] if 0 <= self.cursor < len(self._shown) else None

    @property
    def count(self) -> int:
        """Rows that are shown."""
        return len(self._shown)

    def marked_rows(self) -> list[Row]:
        return [listed.row for listed in self._ordered if listed.row.key in self.marked]

    def set_rows(self, rows: Sequence[Row], fits: Mapping[str, Fit]) -> None:
        """Show these; the cursor stays on its row, or on what comes to stand there."""
        kept = self._all
        self._all = {}
        for row in rows:
            old, estimate = kept.get(row.key), fits.get(row.key)
            if old is None or old.fit is not estimate or not (old.row is row or old.row == row):
                old = Listed(row, estimate)
            self._all[row.key] = old
        self.marked &= self._all.keys()
        self._sort()

    def set_current(self, keys: frozenset[str]) -> None:
        """Mark the checkpoints that answer in the chat."""
        self._current = keys
        self.refresh()

    def go_to(self, key: str) -> bool:
        """Put the cursor on a row; False when it is not shown."""
        place = self._places.get(key)
        if place is not None:
            self.cursor = place
        return place is not None

    def sort_by(self, column: Column, *, reverse: bool = False) -> None:
        self.column, self.reversed = column, reverse
        self._sort()

    def filter(self, text: str) -> None:
        """Show what matches: the best match under the cursor, or the row that had it once nothing is typed."""
        self.query_text = text
        self._arrange(best=bool(text))

    def filter_kind(self, kind: str) -> None:
        """Show rows of one kind, all of them for ""."""
        self.kind = kind
        self._arrange()

    def toggle_mark(self) -> None:
        """Mark the row under the cursor, or no longer, and go on to the next one."""
        if (row := self.row) is not None:
            self.marked ^= {row.key}
            self.refresh()
            self.action_cursor_by(1)
            self.post_message(self.Arranged())

    def unmark(self) -> None:
        """Mark nothing any more."""
        self.marked.clear()
        self.refresh()
        self.post_message(self.Arranged())

    def _sort(self) -> None:
        self._ordered = in_order(list(self._all.values()), self.column, reverse=self.reversed)
        self._arrange()

    def _arrange(self, *, best: bool = False) -> None:
        """Show those of the sorted rows that are wanted. best: the cursor goes to the first of them."""
        at_cursor = self.row
        ordered = self._ordered
        if self.kind:
            ordered = [each for each in ordered if each.row.kind == self.kind]
        query = parse_query(self.query_text)
        typed = bool(query.words or query.conditions)
        self._shown = matching(query, ordered) if typed else [(each, _NO_MATCH) for each in ordered]
        self._places = {each.row.key: place for place, (each, _) in enumerate(self._shown)}
        place = 0 if best or at_cursor is None else self._places.get(at_cursor.key, self.cursor)
        self.rows_changed(place)
        self.post_message(self.Arranged())

    # The list

    def row_count(self) -> int:
        return len(self._shown)

    def draw_row(self, row: int, line: int, width: int) -> Content:
        listed, match = self._shown[row]
        columns = shown_columns(width, self.column)
        room = name_width(width, columns)
        key = listed.row.key
        mark = ("✓", ACCENT) if key in self.marked else ("●", ACCENT) if key in self._current else (" ", "")
        if not listed.usable:
            return Content.assemble(" ", mark, " ", *self._unusable(listed, columns, room))
        shown = fit(shorten_middle(listed.name, room), room)
        name = Content.styled(shown, STRONG if key in self._current else "$foreground")
        spans = [Span(at, at + 1, MATCH) for at in _seen(match.positions, listed.name, shown)]
        return Content.assemble(" ", mark, " ", name.add_spans(spans), *(self._cell(each, listed) for each in columns))

    @staticmethod
    def _cell(index: int, listed: Listed) -> tuple[str, str]:
        column = COLUMNS[index]
        text = shorten(listed.cells[index], column.width)
        style = _FIT_TONES.get(text, MUTED) if column.id == "fit" else MUTED
        return "  " + (text.rjust(column.width) if column.right else fit(text, column.width)), style

    def _unusable(self, listed: Listed, columns: Sequence[int], room: int) -> list[tuple[str, str]]:
        """Its name and size, and why it cannot be used where there is more room: behind the size or behind the name."""
        style = BAD if listed.row.kind == "broken" else WARN if listed.row.kind == "unfinished" else MUTED
        words = listed.problem or listed.row.kind
        name = shorten_middle(listed.name, room)
        between = room - cell_len(name) - 2
        behind = sum(COLUMNS[index].width + 2 for index in columns if index != _SIZE) - 2
        size = [self._cell(_SIZE, listed)] if _SIZE in columns else []
        if between > behind:
            rest = [(" " * (behind + 2), "")]
            return [(name, MUTED), ("  " + fit(words, between), style), *size, *rest]
        return [(fit(name, room), MUTED), *size, ("  " + fit(words, behind) if behind > 0 else "", style)]

    def draw_empty(self, line: int, width: int) -> Content:
        if self._all:
            return draw_words(("Nothing matches.",), line, width, MUTED)
        return draw_words(self.words, line, width, BAD if self.failed else MUTED)

    def on_resize(self) -> None:
        self.post_message(self.Arranged())


def _seen(positions: Sequence[int], name: str, shown: str) -> list[int]:
    """Where letters of the name stand in what is shown of it, whose middle may be left out."""
    cut = shown.find(ELLIPSIS)
    if cut < 0 or shown.rstrip() == name:
        return list(positions)
    behind = len(name) - len(shown.rstrip())
    return [at if at < cut else at - behind for at in positions if at < cut or at - behind > cut]


class TableHead(Widget):
    """The titles of the table's columns; a click sorts by one, a second click the other way round."""

    DEFAULT_CSS = """
    TableHead { height: 1; }
    """

    def __init__(self, table: CheckpointTable) -> None:
        super().__init__()
        self._table = table

    def render(self) -> RenderResult:
        return Content("").join(
            Content.styled(text, ACCENT if column is self._table.column else FAINT) for column, text in self._cells()
        )

    def _cells(self) -> list[tuple[Column, str]]:
        """The columns in view with their titles, each as wide as the column with the gap before it."""
        width = self._table.scrollable_content_region.width
        if not width:
            return []
        shown = shown_columns(width, self._table.column)
        cells = [(NAME, "   " + fit(self._title(NAME), name_width(width, shown)))]
        for index in shown:
            column = COLUMNS[index]
            title = shorten(self._title(column), column.width + 1)
            room = column.width + 2
            cells.append((column, title.rjust(room) if column.right else "  " + fit(title, column.width)))
        return cells

    def _title(self, column: Column) -> str:
        if column is not self._table.column:
            return column.title
        arrow = "▼" if column.largest_first != self._table.reversed else "▲"
        return f"{arrow}{column.title}" if column.right else f"{column.title}{arrow}"

    def on_click(self, event: events.Click) -> None:
        right = 0
        for column, text in self._cells():
            right += len(text)
            if event.x < right:
                table = self._table
                table.sort_by(column, reverse=column is table.column and not table.reversed)
                return
