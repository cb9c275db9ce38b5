"""Searching a conversation that is mostly not rendered.

Entries that are rendered are searched as they are seen. The others are searched in their source with its markup left
out, which takes 10 microseconds instead of milliseconds; when one of those is gone to, it is rendered and its matches
become exact.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hugchat_tui.chat.transcript.rows import Line
from hugchat_tui.chat.transcript.stack import Stack

_MARKUP = str.maketrans("", "", "*_~`\\")
_LONGEST = 200  # characters of a query
_MOST_LINES = 5_000  # whose matches are kept


class Match(NamedTuple):
    """Characters [start, end) of a line of an entry."""

    entry: int
    line: int
    start: int
    end: int


class Finder:
    """The matches of one query. match: the current one; current: its entry's index, and which of the matches there."""

    def __init__(self, query: str) -> None:
        words = query[:_LONGEST].split()
        self._words = " ".join(words).lower().translate(_MARKUP)
        self._seen = re.compile(r"\s+".join(map(re.escape, words)), re.IGNORECASE) if words else None
        self._counts: list[int] = []
        self._ranges: dict[Line, tuple[str, list[tuple[int, int]]]] = {}
        self.current: tuple[int, int] | None = None
        self.match: Match | None = None

    def restart(self) -> None:
        """Other entries: none of the matches holds."""
        self._counts = []
        self.current = self.match = None

    @property
    def total(self) -> int:
        return sum(self._counts)

    @property
    def ordinal(self) -> int:
        """The current match's place among all, from 1; 0 when there is none."""
        if self.current is None:
            return 0
        index, number = self.current
        return sum(self._counts[:index]) + number + 1

    def count(self, stack: Stack) -> int:
        """Count the matches in all entries anew."""
        self._counts = [self._count_in(stack, index) for index in range(len(stack))]
        return self.total

    def _count_in(self, stack: Stack, index: int) -> int:
        if self._seen is None:
            return 0
        if stack.ready(index) or not self._words:
            return len(self.matches_in(stack, index))
        text = stack.slots[index].entry.text.lower().translate(_MARKUP)
        return (" ".join(text.split()) if " " in self._words else text).count(self._words)

    def matches_in(self, stack: Stack, index: int) -> list[Match]:
        """The matches in an entry, as it is seen. It is rendered if it is not."""
        if self._seen is None:
            return []
        stack.ensure(index)
        rendering = stack.slots[index].rendering
        assert rendering is not None
        return [
            Match(index, line.number, start, end) for line in rendering.body_lines() for start, end in self.ranges(line)
        ]

    def ranges(self, line: Line) -> list[tuple[int, int]]:
        """The matches in a line."""
        if self._seen is None:
            return []
        kept = self._ranges.get(line)
        if kept is None or kept[0] is not line.text:
            if len(self._ranges) > _MOST_LINES:
                self._ranges.clear()
            kept = line.text, [match.span() for match in self._seen.finditer(line.text)]
            self._ranges[line] = kept
        return kept[1]

    def step(self, stack: Stack, by: int, start: int) -> Match | None:
        """Go to the next match (by = 1) or the one before (-1), round the ends. start: the entry to begin from.

        Counts become exact for the entries on the way. None when there is no match at all.
        """
        if len(self._counts) != len(stack):
            self.count(stack)
        elif self._counts:
            self._counts[-1] = self._count_in(stack, len(stack) - 1)  # it may have grown
        if not self.total:
            return None
        if self.current is None:
            index, number = start, -1 if by > 0 else 1 << 30
        else:
            index, number = self.current
        for _ in range(len(stack) + 1):
            if self._counts[index]:
                matches = self.matches_in(stack, index)
                self._counts[index] = len(matches)
                number = min(number + by, len(matches) - 1) if by < 0 else number + by
                if 0 <= number < len(matches):
                    self.current, self.match = (index, number), matches[number]
                    return self.match
            index = (index + by) % len(stack)
            number = -1 if by > 0 else 1 << 30
        self.current = self.match = None
        return None
