"""From markdown-it's block tokens to units: the smallest pieces of Markdown that are finished on their own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hugchat_tui.chat.transcript.blocks import (
    Block,
    Fence,
    Heading,
    Inline,
    Item,
    Paragraph,
    Quote,
    Rule,
    Table,
    Verbatim,
)
from hugchat_tui.chat.transcript.dialect import MAX_NESTING, parse_inline
from hugchat_tui.chat.transcript.inline import read_inline

if TYPE_CHECKING:
    from markdown_it.token import Token

_TASK = re.compile(r"\[([ xX])\](?:[ \n]|$)")
_PIPE = re.compile(r"(?<!\\)\|")
_BULLETS = "•◦▪"
_LISTS = ("bullet_list_open", "ordered_list_open")
# With room around them, whatever the source says.
_AIRY = frozenset(("heading_open", "fence", "code_block", "table_open", "blockquote_open", "hr", "formula_block"))


class Before(NamedTuple):
    """What stands before a block: its kind ("" for nothing), and whether a blank line is between."""

    kind: str = ""
    blank: bool = False


class Unit(NamedTuple):
    """A top-level block, or one item of a top-level list.

    line, end: its lines in the source, [line, end). kind: its token's type, "item" for list items. number: of an item
    in an ordered list, 0 elsewhere. joins: an item of the same list stands before it.
    """

    line: int
    end: int
    kind: str
    block: Block
    before: Before
    number: int = 0
    joins: bool = False


class Reader:
    """Reads one piece of source. lines: the source split at newlines."""

    def __init__(self, tokens: Sequence[Token], lines: Sequence[str]) -> None:
        self._tokens = tokens
        self._lines = lines
        self._too_deep = any(token.level >= MAX_NESTING - 1 for token in tokens)

    def units(self, before: Before, number: int | None = None) -> list[Unit]:
        """The units of the whole source. number: of the first item, when the source goes on with a list."""
        return list(self._run(0, len(self._tokens), before, 0, number))

    def _run(self, start: int, end: int, before: Before, depth: int, number: int | None = None) -> Iterator[Unit]:
        """The units among tokens [start, end), which are siblings and their children."""
        at = start
        while at < end:
            token = self._tokens[at]
            close = self._close(at, end)
            if token.type in _LISTS:
                for unit in self._items(at, close, before, depth, number):
                    yield unit
                    before = Before("item", self._blank_before(unit.end))
            else:
                first, last = token.map or [0, 0]
                before = Before(before.kind, before.blank or self._blank_before(first))
                block = self._block(at, close, depth)
                block.gap = _needs_gap(before, token.type)
                yield Unit(first, last, token.type, block, before)
                before = Before(token.type, self._blank_before(last))
            number = None
            at = close

    def _items(self, at: int, close: int, before: Before, depth: int, number: int | None) -> Iterator[Unit]:
        opening = self._tokens[at]
        ordered = opening.type == "ordered_list_open"
        value = int(opening.attrGet("start") or 0) if opening.attrGet("start") is not None else 1
        if number is not None:
            value = number
        position = at + 1
        while position < close - 1:
            token = self._tokens[position]
            end = self._close(position, close)
            first, last = token.map or [0, 0]
            before = Before(before.kind, before.blank or self._blank_before(first))
            marker = f"{value}{opening.markup}" if ordered else _BULLETS[min(depth, len(_BULLETS) - 1)]
            if self._hides_text(position, end):
                inside: list[Block] = [self._source(token)]
            else:
                inside = [unit.block for unit in self._run(position + 1, end - 1, Before(), depth + 1)]
            item = Item(marker, inside, gap=_needs_gap(before, "item"))
            _tick(item)
            yield Unit(first, last, "item", item, before, value if ordered else 0, position > at + 1)
            before = Before("item", self._blank_before(last))
            value += 1
            position = end

    def _block(self, at: int, close: int, depth: int) -> Block:
        token = self._tokens[at]
        if self._hides_text(at, close):
            return self._source(token)
        match token.type:
            case "heading_open":
                return Heading(int(token.tag[1]), self._inline(at + 1))
            case "fence" | "code_block":
                return _fence(token)
            case "table_open":
                return self._table(at, close)
            case "blockquote_open":
                return Quote([unit.block for unit in self._run(at + 1, close - 1, Before(), depth)])
            case "hr":
                return Rule()
            case "formula_block":
                return Verbatim(token.content)
            case _:
                return Paragraph(self._inline(at + 1))

    def _hides_text(self, at: int, close: int) -> bool:
        """Whether the parser left out text inside because it is nested too deeply."""
        return self._too_deep and any(each.level >= MAX_NESTING - 1 for each in self._tokens[at:close])

    def _source(self, token: Token) -> Verbatim:
        first, last = token.map or [0, 0]
        return Verbatim("\n".join(self._lines[first:last]).rstrip("\n"))

    def _table(self, at: int, close: int) -> Table:
        rows: list[list[Inline]] = []
        alignments: list[str] = []
        cells: list[Token] = []
        for token in self._tokens[at:close]:
            if token.type == "th_open":
                alignments.append(str(token.attrGet("style") or "text-align:left").removeprefix("text-align:"))
            elif token.type == "inline":
                cells.append(token)
            elif token.type == "tr_close":
                if cells and rows:
                    self._keep_surplus(cells)
                rows.append([read_inline(cell.children or []) for cell in cells])
                cells = []
        return Table(alignments, rows[0], rows[1:])

    def _keep_surplus(self, cells: list[Token]) -> None:
        """GFM drops the cells that a row has more than the head; here they stay, in the last column."""
        line = (cells[-1].map or [0])[0]
        parts = _PIPE.split(self._lines[line].lstrip("> \t").rstrip().removeprefix("|").removesuffix("|"))
        if len(parts) > len(cells):
            last = cells[-1]
            last.content = " | ".join(part.strip().replace("\\|", "|") for part in parts[len(cells) - 1 :])
            parse_inline(last)

    def _inline(self, at: int) -> Inline:
        return read_inline(self._tokens[at].children or [])

    def _close(self, at: int, end: int) -> int:
        """The index behind the token that closes the one at `at`."""
        if self._tokens[at].nesting == 0:
            return at + 1
        level = self._tokens[at].level
        at += 1
        while at < end and self._tokens[at].level != level:
            at += 1
        return at + 1

    def _blank_before(self, line: int) -> bool:
        return 0 < line <= len(self._lines) and not self._lines[line - 1].strip(" \t>")


def _needs_gap(before: Before, kind: str) -> bool:
    """A blank row where the source has one, and around what needs room; none at the beginning or below a heading."""
    if not before.kind:
        return False
    return before.blank or kind in _AIRY or (before.kind in _AIRY and before.kind != "heading_open")


def _fence(token: Token) -> Fence:
    lines = token.content.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    language = token.info.strip().split(maxsplit=1)[0] if token.info.strip() else ""
    return Fence(language, lines)


def _tick(item: Item) -> None:
    """A task's box takes the bullet's place."""
    if not item.blocks or not isinstance(first := item.blocks[0], Paragraph):
        return
    match = _TASK.match(first.inline.text)
    if match is None:
        return
    length = match.end()
    item.done = match[1] != " "
    item.marker = "☑" if item.done else "☐"
    inline = first.inline
    first.inline = Inline(
        inline.text[length:],
        tuple(mark._replace(start=max(0, mark.start - length), end=mark.end - length) for mark in inline.marks),
        tuple(each._replace(start=max(0, each.start - length), end=each.end - length) for each in inline.targets),
    )
