"""Inline text as rows."""

from __future__ import annotations

from collections.abc import Iterator

from rich.style import Style

from hugchat_tui.chat.transcript.blocks import Inline
from hugchat_tui.chat.transcript.palette import Palette
from hugchat_tui.chat.transcript.rows import NULL, Line, Link, Row, Span, StyledText
from hugchat_tui.chat.transcript.wrap import expand_tabs, width_of, wrap


def styled_text(inline: Inline, palette: Palette, base: Style = NULL) -> StyledText:
    """The whole text with the styles of its marks on a base style."""
    return StyledText(inline.text, [(start, end, palette.marked(base, flags)) for start, end, flags in inline.marks])


def text_rows(inline: Inline, width: int, palette: Palette, base: Style = NULL) -> list[Row]:
    """Wrapped rows; each line of the text is a line."""
    styled = styled_text(inline, palette, base)
    rows: list[Row] = []
    begin = 0
    for piece in inline.text.split("\n"):
        line = Line(piece)
        for start, end in wrap(piece, width):
            rows.append(
                Row(
                    styled.cut(begin + start, begin + end, base),
                    width_of(piece[start:end]),
                    line,
                    (Span(0, start, end - start),),
                    links=tuple(links(inline, begin + start, begin + end)) if inline.targets else (),
                )
            )
        begin += len(piece) + 1
    return rows


def plain_rows(text: str, width: int, base: Style = NULL) -> list[Row]:
    """Rows of text that is shown as it was written."""
    rows: list[Row] = []
    for piece in map(expand_tabs, text.split("\n")):
        line = Line(piece)
        styled = StyledText(piece, ())
        rows += [
            Row(styled.cut(start, end, base), width_of(piece[start:end]), line, (Span(0, start, end - start),))
            for start, end in wrap(piece, width)
        ]
    return rows


def links(inline: Inline, start: int, end: int, column: int = 0) -> Iterator[Link]:
    """The links among characters [start, end), which stand at a column of the row."""
    for first, last, url in inline.targets:
        low, high = max(first, start), min(last, end)
        if low < high:
            yield Link(column + low - start, column + high - start, url)
