"""Splits JSON that does not fit in memory into its rows, each with the line it begins on.

Only brackets, strings and, between rows, commas are looked at; what a row holds is checked when it is decoded. So one
broken row costs that row and not the rest, as long as its brackets and quotes match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sft.data.problems import UNREAD
from sft.data.turns import RowError

ROW_LIMIT = 16 * 1024 * 1024  # bytes of one row; a book of three million words
_STRING = rb'"(?:[^"\\]++|\\[\s\S])*+"'
_BETWEEN = re.compile(rb'(?:[^"{}\[\],]++|' + _STRING + rb")*+")
_INSIDE = re.compile(rb'(?:[^"{}\[\]]++|' + _STRING + rb")*+")
_STRING_REST = re.compile(rb'(?:[^"\\]++|\\[\s\S])*+')
_QUOTE, _BACKSLASH, _COMMA = b'"\\,'
_OPENING, _CLOSING = b"{[", b"}]"

Payload = bytes | RowError


def rows_of_list(chunks: Iterator[bytes], line: int, *, last: bool) -> Iterator[tuple[int, Payload]]:
    """The rows of a list or an object whose opening bracket has been read: (line, JSON of the row).

    line: where the chunks begin. last: nothing but white space may follow the closing bracket. A row of an object is
    `"key": value`. What cannot be read to its end ends with a RowError of the reason UNREAD.
    """
    return _Splitter(chunks, line, listed=True, last=last).rows()


def rows_in_sequence(chunks: Iterator[bytes]) -> Iterator[tuple[int, Payload]]:
    """Objects one after another, each perhaps over many lines: (line, JSON of the object)."""
    return _Splitter(chunks, 1, listed=False, last=False).rows()


class _Splitter:
    def __init__(self, chunks: Iterator[bytes], line: int, *, listed: bool, last: bool) -> None:
        self._chunks = chunks
        self._line = line  # where the row at hand begins, white space included
        self._listed = listed
        self._last = last
        self._buffer = b""
        self._start = 0  # of the row at hand
        self._at = 0  # what lies before has been looked at
        self._depth = 0
        self._in_string = False
        self._too_long = 0  # the line of a row of which the beginning was thrown away

    def rows(self) -> Iterator[tuple[int, Payload]]:
        for chunk in self._chunks:
            self._buffer = self._buffer[self._start :] + chunk
            self._at -= self._start
            self._start = 0
            while (bracket := self._next()) is not None:
                if bracket in _OPENING:
                    self._depth += 1
                    continue
                if bracket in _CLOSING:
                    self._depth -= 1
                    if self._depth > 0:
                        continue
                    if self._depth == 0:
                        if self._listed:
                            continue
                        yield from self._row(self._at)
                    elif self._listed:
                        yield from self._row(self._at - 1, closing=True)
                        yield from self._rest()
                        return
                    else:  # one bracket too many: it is part of the next row, which it breaks
                        self._depth = 0
                elif self._listed:
                    yield from self._row(self._at - 1)
                    self._start = self._at
            if self._at - self._start > ROW_LIMIT:
                self._throw_away()
        yield from self._end()

    def _next(self) -> int | None:
        """The next bracket, or comma between rows, now behind `_at`; None when more must be read first."""
        while True:
            if self._in_string:
                self._at = self._match(_STRING_REST)
                if self._at >= len(self._buffer) or self._buffer[self._at] == _BACKSLASH:
                    return None
                self._in_string = False
                self._at += 1
            self._at = self._match(_INSIDE if self._depth else _BETWEEN)
            if self._at >= len(self._buffer):
                return None
            found = self._buffer[self._at]
            self._at += 1
            if found == _QUOTE:
                self._in_string = True  # it does not end in what has been read
            else:
                return found

    def _match(self, pattern: re.Pattern[bytes]) -> int:
        match = pattern.match(self._buffer, self._at)
        return match.end() if match else self._at

    def _row(self, end: int, *, closing: bool = False) -> Iterator[tuple[int, Payload]]:
        raw = self._buffer[self._start : end]
        self._start = end
        text = raw.lstrip(b" \t\r\n" if self._listed else b" \t\r\n,")
        line = self._line + raw.count(b"\n", 0, len(raw) - len(text))
        self._line += raw.count(b"\n")
        if self._too_long:
            yield self._too_long, too_long()
            self._too_long = 0
        elif text:
            yield line, text
        elif not closing:
            yield line, RowError("broken JSON", "nothing between two commas")

    def _throw_away(self) -> None:
        kept = self._buffer[self._start : self._at]
        self._too_long = self._too_long or self._line + kept.count(b"\n", 0, len(kept) - len(kept.lstrip()))
        self._line += kept.count(b"\n")
        self._start = self._at

    def _rest(self) -> Iterator[tuple[int, Payload]]:
        if not self._last:
            return
        rest = self._buffer[self._at :]
        while not rest or rest.isspace():
            self._line += rest.count(b"\n")
            if (rest := next(self._chunks, b"")) == b"":
                return
        line = self._line + rest.count(b"\n", 0, len(rest) - len(rest.lstrip()))
        yield line, RowError(UNREAD, "there is more behind the end of the list")

    def _end(self) -> Iterator[tuple[int, Payload]]:
        raw = self._buffer[self._start :]
        text = raw.strip(b" \t\r\n" if self._listed else b" \t\r\n,")
        line = self._too_long or self._line + raw.count(b"\n", 0, len(raw) - len(raw.lstrip()))
        if self._listed or self._depth or self._in_string:
            where = "in the middle of the row that begins here" if text or self._too_long else "before its list does"
            yield line, RowError(UNREAD, f"the file ends {where}")
        elif text:
            yield line, text


def too_long() -> RowError:
    return RowError("row too long", f"it has more than {ROW_LIMIT // 2**20} MiB")
