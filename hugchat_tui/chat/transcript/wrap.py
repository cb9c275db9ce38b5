"""Where to break a line of text so that each row fits a width in cells."""

from __future__ import annotations

import re

from rich.cells import cell_len, split_graphemes

# Characters that rich.cells counts as one cell each; no variation selector or joiner among them.
_NARROW = re.compile(
    "[ -~\u00a0-\u00ac\u00ae-\u02ff\u0370-\u0482\u2010-\u2027\u2030-\u205e\u2190-\u21ff\u2200-\u22ff\u2500-\u25fc]*"
)
# No row begins with these, after UAX 14 (closing punctuation, full-width stops, small kana and prolonged sounds).
_NEVER_FIRST = frozenset("、。，．：；？！）］｝」』】〉》”’…·%!),.:;?]}ーぁぃぅぇぉっゃゅょァィゥェォッャュョ")
_NEVER_LAST = frozenset("（［｛「『【〈《“‘([{")
TAB = 4


def is_narrow(text: str) -> bool:
    """Whether every character takes exactly one cell."""
    return text.isascii() or _NARROW.fullmatch(text) is not None


def width_of(text: str) -> int:
    """Cells that the text takes, as Textual will count them."""
    return len(text) if is_narrow(text) else cell_len(text)


def wrap(text: str, width: int) -> list[tuple[int, int]]:
    """Rows as [start, end) characters of the text. Spaces at a break belong to no row; empty text is one empty row.

    Breaks at spaces, between ideographs, and inside a word only when it is wider than a row; never inside a
    grapheme. No row is wider than `width` cells, unless a single grapheme is.
    """
    if len(text) <= width and is_narrow(text):
        return [(0, len(text))]
    return _wrap_narrow(text, width) if is_narrow(text) else _wrap_wide(text, width)


def chop(text: str, width: int) -> list[tuple[int, int]]:
    """Rows of exactly as many characters as fit: for code, where every space counts."""
    if is_narrow(text):
        return [(at, min(at + width, len(text))) for at in range(0, len(text), width)] or [(0, 0)]
    rows = []
    first = used = 0
    for start, _, cells in split_graphemes(text)[0]:
        if used + cells > width and used:
            rows.append((first, start))
            first, used = start, 0
        used += cells
    rows.append((first, len(text)))
    return rows


def _wrap_narrow(text: str, width: int) -> list[tuple[int, int]]:
    rows = []
    position, length = 0, len(text)
    while length - position > width:
        # A space just behind the row is a break too.
        space = text.rfind(" ", position, position + width + 1)
        end = position
        if space > position:
            end = space
            while end > position and text[end - 1] == " ":
                end -= 1
        if end > position:
            rows.append((position, end))
            position = space + 1
            while position < length and text[position] == " ":
                position += 1
        else:
            rows.append((position, position + width))
            position += width
    if position < length or not rows:
        rows.append((position, length))
    return rows


def _wrap_wide(text: str, width: int) -> list[tuple[int, int]]:
    rows: list[tuple[int, int]] = []
    begin = used = 0  # the row so far: its first character, its cells
    stop = resume = -1  # the last place to break: the row's end, the next row's beginning
    since = 0  # cells after that place
    last = ""
    last_wide = False
    for start, end, cells in split_graphemes(text)[0]:
        first = text[start]
        if first == " " and end == start + 1:
            if last != " ":
                stop = start
            resume, since = end, 0
            if used + cells <= width:
                used += cells
            elif stop <= begin:  # nothing but spaces in this row
                rows.append((begin, start))
                begin, used = start, cells
            last, last_wide = " ", False
            continue
        wide = cells == 2
        may_break = (wide or last_wide) and last not in _NEVER_LAST and first not in _NEVER_FIRST
        if may_break and last not in ("", " "):
            stop, resume, since = start, start, 0
        if used + cells > width and start > begin:
            if stop > begin:
                rows.append((begin, stop))
                begin, used = resume, since
            else:
                rows.append((begin, start))
                begin, used = start, 0
            stop, since = -1, 0
            if used + cells > width and start > begin:
                rows.append((begin, start))
                begin, used = start, 0
        used += cells
        since += cells
        last, last_wide = text[end - 1], wide
    tail = len(text) if not rows and cell_len(text) <= width else len(text.rstrip(" "))
    if tail > begin or not rows:
        rows.append((begin, max(tail, begin)))
    return rows


def expand_tabs(text: str) -> str:
    """Tabs as spaces up to the next stop, every four cells."""
    if "\t" not in text:
        return text
    if is_narrow(text.replace("\t", "")):
        return text.expandtabs(TAB)
    parts: list[str] = []
    column = 0
    for part in re.split("(\t)", text):
        expanded = " " * (TAB - column % TAB) if part == "\t" else part
        parts.append(expanded)
        column += width_of(expanded)
    return "".join(parts)


def column_at(text: str, cell: int) -> int:
    """The character of the text that stands at a cell; its length behind the end."""
    used = 0
    for start, _, cells in split_graphemes(text)[0]:
        if used + cells > cell:
            return start
        used += cells
    return len(text)
