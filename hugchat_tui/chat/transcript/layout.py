"""Blocks as rows of a width."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment

from hugchat_tui.chat.transcript.blocks import (
    Block,
    Fence,
    Heading,
    Item,
    Paragraph,
    Quote,
    Rule,
    Table,
    Verbatim,
)
from hugchat_tui.chat.transcript.code import CodeLayout
from hugchat_tui.chat.transcript.frame import Frame
from hugchat_tui.chat.transcript.rows import NULL, Line, Row, indent
from hugchat_tui.chat.transcript.table import TableLayout
from hugchat_tui.chat.transcript.text import plain_rows, text_rows

_LEAST = 8  # cells for text: where a deep list or quote leaves less, it is not moved in further


def lay_out(block: Block, frame: Frame, codes: list[CodeLayout], *, at_once_s: float = 0.006) -> list[Row]:
    """The rows of a block, a blank one before it where it asks for one. The code blocks inside are added to `codes`."""
    rows = _rows(block, frame, codes, at_once_s)
    return [blank_row(), *rows] if block.gap else rows


def blank_row() -> Row:
    return Row([], 0, Line())


def _rows(block: Block, frame: Frame, codes: list[CodeLayout], at_once_s: float) -> list[Row]:
    palette = frame.palette
    match block:
        case Paragraph():
            return text_rows(block.inline, frame.measure, palette)
        case Heading():
            return text_rows(block.inline, frame.measure, palette, palette[f"heading{min(block.level, 3)}"])
        case Fence():
            code = CodeLayout(block, frame, at_once_s=at_once_s)
            codes.append(code)
            return code.rows
        case Table():
            return TableLayout(block, frame).rows
        case Item():
            return _item(block, frame, codes, at_once_s)
        case Quote():
            return _quote(block, frame, codes, at_once_s)
        case Rule():
            return [Row([Segment("─" * frame.measure, palette["rule"])], frame.measure, Line("---"))]
        case Verbatim():
            return plain_rows(block.text, frame.measure, palette["formula"])
    raise AssertionError(block)


def _item(item: Item, frame: Frame, codes: list[CodeLayout], at_once_s: float) -> list[Row]:
    marker = Segment(f"{item.marker} ", frame.palette["done" if item.done else "marker"])
    width = cell_len(marker.text)
    beside = frame.measure - width >= _LEAST
    inner = frame.inside(width) if beside else frame
    rows: list[Row] = []
    for block in item.blocks:
        rows += lay_out(block, inner, codes, at_once_s=at_once_s)
    if not beside:
        above = [_empty_row()]
        indent(above, marker, marker)
        return above + rows
    if not rows or rows[0].fence is not None or not rows[0].spans:
        rows.insert(0, _empty_row())  # a marker needs text to stand before
    indent(rows, marker, Segment(" " * width))
    return rows


def _quote(quote: Quote, frame: Frame, codes: list[CodeLayout], at_once_s: float) -> list[Row]:
    bar = Segment("▎ ", frame.palette["quote-bar"])
    barred = frame.measure - len(bar.text) >= _LEAST
    inner = frame.inside(len(bar.text)) if barred else frame
    rows: list[Row] = []
    for block in quote.blocks:
        rows += lay_out(block, inner, codes, at_once_s=at_once_s)
    text = frame.palette["quote"]
    for row in rows:
        if row.panel is None:
            row.segments = [Segment(part.text, text + (part.style or NULL)) for part in row.segments]
    if barred:
        indent(rows, bar, bar)
    return rows


def _empty_row() -> Row:
    """A row of a line without text, which a marker can stand in."""
    return plain_rows("", 1)[0]
