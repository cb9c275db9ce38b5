"""Textual's selection in terms of the transcript: which character of which line of which entry.

A `Position` travels through Textual as an `Offset`: x is the character, y the entry's index and the line's number in
one integer. Lines do not change when the width does, so a selection survives resizing, and what is above it may still
be an estimate.
"""

from __future__ import annotations

from typing import NamedTuple

from textual.geometry import Offset
from textual.selection import Selection

from hugchat_tui.chat.transcript.rows import Row
from hugchat_tui.chat.transcript.stack import Stack

_LINE_BITS = 32
_LAST = (1 << _LINE_BITS) - 1


class Position(NamedTuple):
    """A character: entry's index, line's number in it, character of the line."""

    entry: int
    line: int
    offset: int

    def to_offset(self) -> Offset:
        return Offset(self.offset, (self.entry << _LINE_BITS) + self.line)

    @classmethod
    def of(cls, offset: Offset) -> Position:
        return cls(offset.y >> _LINE_BITS, offset.y & _LAST, offset.x)


def between(first: Position, last: Position) -> Selection:
    """The selection from one position to another, in either order; the end is not part of it."""
    return Selection.from_offsets(first.to_offset(), last.to_offset())


def selected_columns(selection: Selection, index: int, row: Row) -> list[tuple[int, int]]:
    """The characters [start, end) of a row that are selected."""
    span = selection.get_span((index << _LINE_BITS) + row.line.number)
    if span is None:
        return []
    start, end = span
    return row.columns(start, len(row.line.text) if end == -1 else end)


def selected_text(selection: Selection, stack: Stack) -> str:
    """The text that is selected, soft wraps joined. Entries that were not rendered yet are."""
    if not len(stack):
        return ""
    start = Position(0, 0, 0) if selection.start is None else Position.of(selection.start)
    end = Position(len(stack) - 1, _LAST, 0) if selection.end is None else Position.of(selection.end)
    parts: list[str] = []
    for index in range(start.entry, min(end.entry, len(stack) - 1) + 1):
        stack.ensure(index)
        rendering = stack.slots[index].rendering
        assert rendering is not None
        for line in rendering.lines():
            here = (index, line.number)
            if here < start[:2] or here > end[:2]:
                continue
            low = start.offset if here == start[:2] else 0
            high = end.offset if here == end[:2] else len(line.text)
            parts.append(line.text[low:high].rstrip())
    return "\n".join(parts)


def word_at(text: str, offset: int) -> tuple[int, int]:
    """The word [start, end) around a character, or the character itself between words."""
    if offset >= len(text) or not _in_word(text[offset]):
        return offset, min(offset + 1, len(text))
    start = end = offset
    while start > 0 and _in_word(text[start - 1]):
        start -= 1
    while end < len(text) and _in_word(text[end]):
        end += 1
    return start, end


def _in_word(character: str) -> bool:
    return character.isalnum() or character in "_-'’"
