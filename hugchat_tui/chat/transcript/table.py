"""A table as rows: columns as wide as they need, narrower and wrapped where the room ends, stacked where even that
would tear words apart."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style

from hugchat_tui.chat.transcript.blocks import Inline, Mark, Table
from hugchat_tui.chat.transcript.flags import BOLD
from hugchat_tui.chat.transcript.frame import Frame
from hugchat_tui.chat.transcript.rows import NULL, Line, Link, Row, Span
from hugchat_tui.chat.transcript.text import links, styled_text, text_rows
from hugchat_tui.chat.transcript.wrap import is_narrow, width_of, wrap

_SEPARATOR = " │ "
_COPIED = " | "
_LEAST = 6  # cells of a column, unless it needs less
_LONG_WORD = 18


class TableLayout:
    """Keeps up with a table that grows: rows are laid out again only when a column changes its width."""

    def __init__(self, table: Table, frame: Frame) -> None:
        self.table = table
        self._frame = frame
        self._natural = [0] * len(table.head)
        self._words = [0] * len(table.head)
        self._measured = 0
        self._widths: list[int] = []
        self._head: list[Row] = []
        self._rows: list[list[Row]] = []
        self._pending: list[list[Row]] = []
        self._measure(table.head)
        self.update()

    @property
    def rows(self) -> list[Row]:
        rows = list(self._head)
        for part in (*self._rows, *self._pending):
            rows += part
        return rows

    def update(self) -> int:
        """Take over what was added to the table. Returns the first row that changed."""
        table = self.table
        for row in table.rows[self._measured :]:
            self._measure(row)
        self._measured = len(table.rows)
        natural, words = list(self._natural), list(self._words)
        for row in table.pending:
            self._measure(row)
        widths = self._fit()
        self._natural, self._words = natural, words
        if widths != self._widths or not self._head:
            self._widths = widths
            self._head = self._head_rows()
            self._rows = []
        changed = len(self._head) + sum(map(len, self._rows)) if self._rows else 0
        self._rows += [self._row(row) for row in table.rows[len(self._rows) :]]
        self._pending = [self._row(row) for row in table.pending]
        return changed

    def _measure(self, row: list[Inline]) -> None:
        for column, cell in enumerate(row):
            text = cell.text
            self._natural[column] = max(self._natural[column], width_of(text))
            longest = max(map(len, text.split()), default=0) if is_narrow(text) else _LEAST
            self._words[column] = max(self._words[column], longest)

    def _fit(self) -> list[int]:
        """The columns' widths; none when the table is to be stacked."""
        natural = [max(1, width) for width in self._natural]
        room = self._frame.width - len(_SEPARATOR) * (len(natural) - 1)
        if sum(natural) <= room:
            return natural
        for longest in (_LONG_WORD, _LEAST):
            widths = [
                min(need, max(_LEAST, min(word, longest))) for need, word in zip(natural, self._words, strict=True)
            ]
            if sum(widths) <= room:
                return _share(widths, natural, room)
        return []

    def _head_rows(self) -> list[Row]:
        if not self._widths:
            return []
        palette = self._frame.palette
        rows = self._row(self.table.head, palette["table-head"])
        text = "─┼─".join("─" * width for width in self._widths)
        rows.append(Row([Segment(text, palette["table-line"])], len(text), rows[-1].line))
        return rows

    def _row(self, cells: list[Inline], style: Style = NULL) -> list[Row]:
        if not self._widths:
            return self._stacked(cells)
        line = Line(_COPIED.join(cell.text for cell in cells))
        breaks = [wrap(cell.text, width) for cell, width in zip(cells, self._widths, strict=True)]
        styled = [styled_text(cell, self._frame.palette, style) for cell in cells]
        separator = Segment(_SEPARATOR, self._frame.palette["table-line"])
        rows = []
        for number in range(max(map(len, breaks))):
            segments: list[Segment] = []
            spans: list[Span] = []
            found: list[Link] = []
            column = offset = 0  # characters of the row, of the line
            used = 0
            for at, cell in enumerate(cells):
                if at:
                    segments.append(separator)
                    column, used = column + len(_SEPARATOR), used + len(_SEPARATOR)
                start, end = breaks[at][number] if number < len(breaks[at]) else (0, 0)
                free = self._widths[at] - width_of(cell.text[start:end])
                left = _left_padding(self.table.alignments[at], free)
                right = free - left if at < len(cells) - 1 else 0
                if left > 0:
                    segments.append(Segment(" " * left))
                segments += styled[at].cut(start, end, style)
                spans.append(Span(column + left, offset + start, end - start))
                found += links(cell, start, end, column + left)
                if right > 0:
                    segments.append(Segment(" " * right))
                column += left + end - start + right
                used += self._widths[at] - (free - left - right)
                offset += len(cell.text) + len(_COPIED)
            rows.append(Row(segments, used, line, tuple(spans), links=tuple(found)))
        return rows

    def _stacked(self, cells: list[Inline]) -> list[Row]:
        """One field below the other: a table with more columns than fit."""
        palette = self._frame.palette
        rows: list[Row] = []
        for head, cell in zip(self.table.head, cells, strict=True):
            shift = len(head.text) + 2
            field = Inline(
                f"{head.text}: {cell.text}",
                (
                    Mark(0, shift, BOLD),
                    *(mark._replace(start=mark.start + shift, end=mark.end + shift) for mark in cell.marks),
                ),
                tuple(each._replace(start=each.start + shift, end=each.end + shift) for each in cell.targets),
            )
            rows += text_rows(field, self._frame.measure, palette)
        text = "─" * min(24, self._frame.width)
        rows.append(Row([Segment(text, palette["table-line"])], len(text), rows[-1].line))
        return rows


def _left_padding(alignment: str, free: int) -> int:
    return free if alignment == "right" else free // 2 if alignment == "center" else 0


def _share(widths: list[int], natural: list[int], room: int) -> list[int]:
    """Give the room that is left to the columns that need more, equally."""
    widths = list(widths)
    left = room - sum(widths)
    while left > 0:
        wanting = [at for at, width in enumerate(widths) if width < natural[at]]
        if not wanting:
            break
        each = max(1, left // len(wanting))
        for at in wanting:
            more = min(each, natural[at] - widths[at], left)
            widths[at] += more
            left -= more
    return widths
