"""The table of checkpoints in the model picker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from textual.content import Content, Span

from engine.checkpoints.model import Checkpoint
from engine.fit import Fit
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import file_size, fit, grouped, parameter_count, shorten
from hugchat_tui.common.fuzzy import Candidate, Match, rank
from hugchat_tui.common.line_list import LineList
from hugchat_tui.common.tones import ACCENT, BAD, FAINT, MATCH, MUTED, STRONG, WARN

_NAME_CHARACTERS = 200
_NARROWEST_NAME = 28


@dataclass(frozen=True, slots=True)
class _Row:
    """A checkpoint made ready to be drawn: every text cleaned and formatted once."""

    checkpoint: Checkpoint
    name: str
    cells: tuple[str, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class _Column:
    """right: numbers stand at the right edge.

    weight: the column that matters least goes first on a narrow screen.
    """

    title: str
    width: int
    weight: int
    right: bool = False


_COLUMNS = (
    _Column("params", 6, 3, right=True),
    _Column("size", 7, 5, right=True),
    _Column("context", 9, 4, right=True),
    _Column("family", 10, 2),
    _Column("kind", 7, 1),
)


def shown_columns(width: int) -> list[int]:
    """Indices of the columns there is room for beside the name."""
    shown = list(range(len(_COLUMNS)))
    while shown and width - sum(_COLUMNS[index].width + 2 for index in shown) < _NARROWEST_NAME:
        shown.remove(min(shown, key=lambda index: _COLUMNS[index].weight))
    return shown


class CheckpointList(LineList):
    """Row 0 is the heading; then what matches, broken ones last; then what was typed, if it names one."""

    can_focus = False

    EMPTY: ClassVar[tuple[str, ...]] = (
        "There are no checkpoints on this machine yet.",
        "Type a Hub id such as Qwen/Qwen3-0.6B,",
        "or the path of a folder or a GGUF file.",
    )

    def __init__(self, current: str) -> None:
        super().__init__(classes="-active")  # the filter above has the focus for it
        self._current = current
        self._fits: Mapping[str, Fit] = {}
        self._rows: list[_Row] | None = None
        self._candidates: list[Candidate] = []
        self._error = ""
        self._matches: list[tuple[int, Match]] = []
        self._query = ""
        self._typed: Literal["hub", "path"] | None = None

    def set_checkpoints(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Take these, ready ones first; drawn by the next `filter`."""
        ordered = sorted(checkpoints, key=lambda checkpoint: checkpoint.problem is not None)
        self._rows = [_row(checkpoint) for checkpoint in ordered]
        self._candidates = [Candidate(row.name) for row in self._rows]
        self._error = ""

    def set_fits(self, fits: Mapping[str, Fit]) -> None:
        self._fits = fits
        self.refresh()

    def set_error(self, message: str) -> None:
        self._rows, self._candidates = [], []
        self._error = message

    def filter(self, query: str, typed: Literal["hub", "path"] | None) -> None:
        """Show what matches, the best first. typed: what the query itself names."""
        rows = self._rows or []
        changed = query != self._query
        self._query = query
        self._matches = rank(query, self._candidates)
        self._matches.sort(key=lambda match: bool(rows[match[0]].problem))
        exact = any(rows[index].name == query for index, _ in self._matches)
        # A bare word is a filter first; only when nothing answers to it may it be a name on the Hub.
        worth = typed == "path" or "/" in query or not self._matches
        self._typed = typed if query and worth and not exact else None
        cursor = 1
        if not changed or not query:
            cursor = next((n for n, (i, _) in enumerate(self._matches, 1) if self._is_current(rows[i])), 1)
        self.rows_changed(cursor)

    def at(self, row: int) -> Checkpoint | str:
        """The checkpoint of a row, or what was typed."""
        if row > len(self._matches):
            return self._query
        return (self._rows or [])[self._matches[row - 1][0]].checkpoint

    def fit_of(self, checkpoint: Checkpoint) -> Fit:
        return self._fits.get(checkpoint.key, Fit("unknown"))

    def fits_badly(self, checkpoint: Checkpoint) -> bool:
        return self.fit_of(checkpoint).verdict in ("tight", "no")

    def _is_current(self, row: _Row) -> bool:
        return bool(self._current) and self._current in (row.checkpoint.name, row.checkpoint.key)

    # The list.

    def row_count(self) -> int:
        answers = len(self._matches) + (self._typed is not None)
        return answers + 1 if answers else 0

    def can_choose(self, row: int) -> bool:
        return row > 0

    def draw_row(self, row: int, line: int, width: int) -> Content:
        columns = shown_columns(width)
        name_width = width - 3 - sum(_COLUMNS[index].width + 2 for index in columns)
        if row == 0:
            titles = tuple(column.title for column in _COLUMNS)
            return Content.assemble(("   " + fit("name", name_width) + _table(titles, columns), FAINT))
        if row > len(self._matches):
            words = f"   load {self._query} from the Hub" if self._typed == "hub" else f"   load {self._query}"
            return Content.assemble((shorten(words, width), ACCENT))
        index, match = self._matches[row - 1]
        return self._draw((self._rows or [])[index], match, columns, name_width, width)

    def _draw(self, row: _Row, match: Match, columns: list[int], name_width: int, width: int) -> Content:
        current = self._is_current(row)
        mark = ("●", ACCENT) if current else (" ", "")
        if row.problem:
            name = Content.styled(fit(row.name, name_width), FAINT)
            room = width - 5 - name_width
            return Content.assemble(" ", mark, " ", name, "  ", (shorten(row.problem, room), BAD))
        shown = fit(row.name, name_width)
        name = Content.styled(shown, STRONG if current else "$foreground")
        spans = [Span(at, at + 1, MATCH) for at in match.positions if at < len(shown) and shown[at] == row.name[at]]
        warning = ("!", WARN) if self.fits_badly(row.checkpoint) else (" ", "")
        return Content.assemble(" ", mark, warning, name.add_spans(spans), (_table(row.cells, columns), MUTED))

    def draw_empty(self, line: int, width: int) -> Content:
        if self._rows is None:
            words: tuple[str, ...] = ("Looking for checkpoints…",)
        elif self._error:
            words = ("Looking for checkpoints failed:", self._error, "A Hub id or a path can still be typed.")
        elif self._rows:
            words = ("Nothing matches.",)
        else:
            words = self.EMPTY
        style = BAD if self._error and line == 1 else MUTED
        return Content.assemble((shorten(f"   {words[line]}", width), style)) if line < len(words) else Content("")


def _row(checkpoint: Checkpoint) -> _Row:
    cells = (
        parameter_count(checkpoint.parameters),
        file_size(checkpoint.size_bytes) if checkpoint.size_bytes else "",
        grouped(checkpoint.context_length) if checkpoint.context_length else "",
        clean_line(checkpoint.family),
        checkpoint.kind,
    )
    name = clean_line(checkpoint.name[:_NAME_CHARACTERS])
    return _Row(checkpoint, name, cells, clean_line(checkpoint.problem or ""))


def _table(cells: Sequence[str], columns: Sequence[int]) -> str:
    parts = []
    for index in columns:
        column = _COLUMNS[index]
        text = shorten(cells[index], column.width)
        parts.append("  " + (text.rjust(column.width) if column.right else fit(text, column.width)))
    return "".join(parts)
