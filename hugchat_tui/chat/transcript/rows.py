"""The rows that a transcript draws, and the lines of text behind them.

A *line* is text as a person would copy it: a paragraph is one line however often it wraps. A *row* is one row of
cells on the screen. Selection and search speak of lines and characters, so they survive wrapping and resizing:

    line 7   "A long sentence that does not fit."
    row 12   [prefix "• "]["A long sentence"]   spans: (2, 0, 15)
    row 13   [prefix "  "]["that does not fit."]        spans: (2, 16, 18)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

if TYPE_CHECKING:
    from hugchat_tui.chat.transcript.blocks import Fence

NULL = Style.null()


class Line:
    """One line of text as it is copied. number: its place in the entry, set when the entry is put together."""

    __slots__ = ("number", "text")

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.number = 0


class Span(NamedTuple):
    """Characters of a row that are characters of its line: row[column:column+length] is line[start:start+length]."""

    column: int
    start: int
    length: int


class Link(NamedTuple):
    """Characters of a row, [start, end), that lead to a url."""

    start: int
    end: int
    url: str


class Panel:
    """A background behind rows. width: in cells, from the left of the text; it may grow while a block streams."""

    __slots__ = ("style", "width")

    def __init__(self, style: Style, width: int) -> None:
        self.style = style
        self.width = width


class Row:
    """One row of cells. width: cells of prefix and segments together. A row without spans shows decoration only.

    panel: a background behind the segments, not behind the prefix.
    fence: the code block that this row is the label of.
    """

    __slots__ = ("fence", "line", "links", "panel", "prefix", "segments", "spans", "width")

    def __init__(
        self,
        segments: list[Segment],
        width: int,
        line: Line,
        spans: tuple[Span, ...] = (),
        panel: Panel | None = None,
        links: tuple[Link, ...] = (),
    ) -> None:
        self.prefix: tuple[Segment, ...] = ()
        self.segments = segments
        self.width = width
        self.line = line
        self.spans = spans
        self.panel = panel
        self.links = links
        self.fence: Fence | None = None

    @property
    def text(self) -> str:
        return "".join([segment.text for segment in (*self.prefix, *self.segments)])

    def looks_like(self, other: Row) -> bool:
        """Whether both are drawn alike. What is drawn behind them is compared by what it is, not by how wide."""
        return self is other or (
            self.segments == other.segments and self.prefix == other.prefix and self.panel is other.panel
        )

    def columns(self, start: int, end: int) -> list[tuple[int, int]]:
        """Where the line's characters [start, end) are in this row, as [first, last) characters of the row."""
        found = []
        for column, first, length in self.spans:
            low, high = max(start, first), min(end, first + length)
            if low < high:
                found.append((column + low - first, column + high - first))
        return found

    def offset_at(self, column: int) -> int:
        """The character of the line that is at, or nearest before, a character of the row."""
        best = 0
        for first, start, length in self.spans:
            if column >= first:
                best = start + min(column - first, length)
            elif first == self.spans[0].column:
                best = start
        return best


class StyledText(NamedTuple):
    """Text with styles: each (start, end, style) holds for characters [start, end); they are sorted and disjoint."""

    text: str
    styles: Sequence[tuple[int, int, Style]]

    def cut(self, start: int, end: int, base: Style) -> list[Segment]:
        """The segments of characters [start, end)."""
        segments: list[Segment] = []
        position = start
        for first, last, style in self.styles:
            if last <= position:
                continue
            if first >= end:
                break
            if first > position:
                segments.append(Segment(self.text[position:first], base))
                position = first
            stop = min(last, end)
            segments.append(Segment(self.text[position:stop], style))
            position = stop
        if position < end:
            segments.append(Segment(self.text[position:end], base))
        return segments


def indent(rows: Iterable[Row], first: Segment, rest: Segment) -> None:
    """Put a prefix before rows: `first` before the first one, `rest`, as wide and as long, before the others.

    The prefix becomes part of a line's text where the line begins; before its wrapped rows it is decoration.
    """
    length = len(first.text)
    width = cell_len(first.text)
    prefix = first
    line: Line | None = None
    for row in rows:
        begins = row.line is not line and bool(row.spans)
        if begins:
            line = row.line
            line.text = prefix.text + line.text
        if row.spans:
            spans = [Span(column + length, start + length, count) for column, start, count in row.spans]
            row.spans = (Span(0, 0, length), *spans) if begins else tuple(spans)
        if row.links:
            row.links = tuple(Link(start + length, end + length, url) for start, end, url in row.links)
        row.prefix = (prefix, *row.prefix)
        row.width += width
        prefix = rest


def overlay(segments: list[Segment], ranges: Iterable[tuple[int, int, Style]]) -> list[Segment]:
    """The segments with styles laid over characters [start, end)."""
    for start, end, style in ranges:
        if start >= end:
            continue
        result: list[Segment] = []
        position = 0
        for segment in segments:
            text, own, _ = segment
            stop = position + len(text)
            if stop <= start or position >= end:
                result.append(segment)
            else:
                low, high = max(start - position, 0), min(end - position, len(text))
                if low:
                    result.append(Segment(text[:low], own))
                result.append(Segment(text[low:high], (own or NULL) + style))
                if high < len(text):
                    result.append(Segment(text[high:], own))
            position = stop
        segments = result
    return segments
