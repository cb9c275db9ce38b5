"""Words in rows, where a widget draws its lines itself."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, chop_cells
from textual.content import Content

_INDENT = 3


def wrapped(text: str, cells: int) -> list[str]:
    """The text in rows of at most so many cells: broken at blanks, and where there are none, anywhere."""
    rows = [""]
    for word in text.split(" "):
        if rows[-1] and cell_len(rows[-1]) + 1 + cell_len(word) <= cells:
            rows[-1] += f" {word}"
            continue
        pieces = chop_cells(word, cells) or [""]
        rows[-1:] = pieces if rows == [""] else [rows[-1], *pieces]
    return rows


def draw_words(paragraphs: Sequence[str], line: int, width: int, style: str) -> Content:
    """Line `line` of what a list says instead of rows."""
    rows = [row for words in paragraphs for row in wrapped(words, max(1, width - _INDENT - 1))]
    return Content.styled(" " * _INDENT + rows[line], style) if line < len(rows) else Content("")
