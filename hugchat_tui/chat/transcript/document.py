"""Markdown that grows at its end, read a piece at a time.

The source before the last *unit* (a top-level block, an item of a top-level list, a row of a table, a line of an open
fence) is read once and never again; only what follows is read anew with each piece. A unit is finished when two
complete lines of what follows it are there: a line begins a block by what it says itself, but a table needs the line
below as well. Reading in pieces gives the same blocks as reading the whole at once.

A piece that begins inside a list or a table is read below a *head*, a stand-in for what came before: the marker of the
item above, or the table's own head.
"""

from __future__ import annotations

import re

from hugchat_tui.chat.transcript.blocks import Block, Fence, Table
from hugchat_tui.chat.transcript.dialect import parse
from hugchat_tui.chat.transcript.reader import Before, Reader, Unit

_PIECE = 4_000  # characters read at once: about 6 ms
_MARKER = re.compile(r"( {0,3}(?:[-+*]|\d{1,9}[.)]))( {1,4}(?=[^ ])|(?= )|$)")
_OPENING = re.compile(r"(`{3,}|~{3,})")


class Document:
    """blocks: those that are finished, but the last may still grow: `open`, a fence or a table. tail: what the rest
    reads as now."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.tail: list[Block] = []
        self.open: Fence | Table | None = None
        self._queue = ""  # fed and not read
        self._source = ""  # read, and to be read again: begins at the beginning of a line
        self._head = ""  # complete lines to read the source below
        self._before = Before()
        self._number: int | None = None  # of the next item, while the source goes on with a list
        self._closing: re.Pattern[str] | None = None  # what ends the open fence

    def feed(self, text: str) -> None:
        """Add clean text. It is read by `read`."""
        self._queue += text

    def read(self) -> bool:
        """Read the next piece of what was fed. False when nothing is left to read."""
        if not self._queue:
            return False
        # At least as much as is read again, so that reading the whole takes time in proportion to its length.
        size = max(_PIECE, len(self._source))
        if len(self._queue) > size:
            size = self._queue.find("\n", size) + 1 or len(self._queue)
        self._source += self._queue[:size]
        self._queue = self._queue[size:]
        # A fence that ends leaves lines behind it, and in them another may begin.
        while self._read_fence() if self._closing is not None else self._read_blocks():
            pass
        return bool(self._queue)

    def _read_fence(self) -> bool:
        """Take the lines of the open fence. True when it ended and something is left."""
        fence, closing = self.open, self._closing
        assert isinstance(fence, Fence)
        assert closing is not None
        lines = self._source.split("\n")
        for number, line in enumerate(lines[:-1]):
            if closing.fullmatch(line):
                fence.closed, fence.partial = True, None
                self.open = self._closing = None
                self._source = "\n".join(lines[number + 1 :])
                self._before = Before("fence")
                return bool(self._source)
            fence.lines.append(line)
        self._source = lines[-1]
        fence.closed = closing.fullmatch(self._source) is not None
        fence.partial = self._source if self._source and not fence.closed else None
        return False

    def _read_blocks(self) -> bool:
        """Read the source anew and finish what can be. True when an open fence begins, which is read line by line."""
        lines = (self._head + self._source).split("\n")
        units = Reader(parse(self._head + self._source), lines).units(self._before, self._number)
        if self._number is not None:
            del units[0]  # the stand-in for the item above
        complete = len(lines) - 1
        last = next((at for at in reversed(range(len(units))) if units[at].line + 2 <= complete), -1)
        if isinstance(self.open, Table):
            if last < 1:
                self._grow_table(self.open, units, lines)
                return False
            self._end_table(self.open, units[0])
            units, last = units[1:], last - 1
        while last > 0 and units[last].joins and not _MARKER.match(lines[units[last - 1].line]):
            last -= 1
        if last < 0:
            self.tail = [unit.block for unit in units]
            return False
        self.blocks += [unit.block for unit in units[:last]]
        if last > 0 or not self._head:
            self._begin_at(units, last, lines)
        unit = units[last]
        if unit.kind == "table_open" and isinstance(unit.block, Table):
            self.open = Table(unit.block.alignments, unit.block.head, [], gap=unit.block.gap)
            self.blocks.append(self.open)
            self._head = "\n".join(lines[unit.line : unit.line + 2]) + "\n"
            self._grow_table(self.open, units[last:], lines)
            return False
        if unit.kind == "fence" and last == len(units) - 1 and self._begin_fence(unit, lines):
            return True
        self.tail = [unit.block for unit in units[last:]]
        return False

    def _begin_at(self, units: list[Unit], at: int, lines: list[str]) -> None:
        """Let the source begin at a unit; those before it are finished."""
        unit = units[at]
        self._source = "\n".join(lines[unit.line :])
        self._before = unit.before
        self._head, self._number = "", None
        if unit.joins and at > 0:
            marker = _MARKER.match(lines[units[at - 1].line])
            assert marker is not None
            self._head = f"{marker[1]}{marker[2] or ' '}x\n" + "\n" * unit.before.blank
            self._number = unit.number - 1

    def _grow_table(self, table: Table, units: list[Unit], lines: list[str]) -> None:
        """Move the rows that are finished to the open table; the source keeps the others."""
        unit = units[0]
        assert isinstance(unit.block, Table)
        first = unit.line + 2
        finished = max(0, min(len(unit.block.rows), len(lines) - 1 - first - 1))
        table.rows += unit.block.rows[:finished]
        table.pending = unit.block.rows[finished:]
        self._source = "\n".join(lines[first + finished :])
        self.tail = [each.block for each in units[1:]]

    def _end_table(self, table: Table, unit: Unit) -> None:
        assert isinstance(unit.block, Table)
        table.rows += unit.block.rows
        table.pending = []
        self.open, self._head = None, ""

    def _begin_fence(self, unit: Unit, lines: list[str]) -> bool:
        """Open the fence that is the last unit. False when it is closed, or indented so that its lines change."""
        opening = _OPENING.match(lines[unit.line])
        if opening is None or not isinstance(unit.block, Fence):
            return False
        closing = re.compile(rf" {{0,3}}{re.escape(opening[1][0])}{{{len(opening[1])},}}[ \t]*")
        if any(closing.fullmatch(line) for line in lines[unit.line + 1 :]):
            return False
        self.open = Fence(unit.block.language, [], closed=False, gap=unit.block.gap)
        self.blocks.append(self.open)
        self._closing = closing
        self._source = "\n".join(lines[unit.line + 1 :])
        self._head, self._number, self.tail = "", None, []
        return True
