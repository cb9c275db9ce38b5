"""The room that a layout has."""

from __future__ import annotations

from typing import NamedTuple

from hugchat_tui.chat.transcript.palette import Palette

MEASURE = 104  # cells: longer lines of prose are hard to read
_NARROWEST = 12  # cells that a transcript lays out for, even where it is narrower


class Frame(NamedTuple):
    """width: cells there are, for tables and code. measure: cells that prose may use."""

    palette: Palette
    width: int
    measure: int

    @classmethod
    def of(cls, palette: Palette, width: int) -> Frame:
        width = max(_NARROWEST, width)
        return cls(palette, width, min(width, MEASURE))

    def inside(self, cells: int) -> Frame:
        """The room behind a prefix of so many cells."""
        return Frame(self.palette, self.width - cells, self.measure - cells)
