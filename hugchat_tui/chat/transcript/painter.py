"""Rows as strips: gutter, panel, selection, matches."""

from __future__ import annotations

from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from hugchat_tui.chat.transcript.palette import Palette
from hugchat_tui.chat.transcript.rows import NULL, Row, overlay
from hugchat_tui.chat.transcript.wrap import width_of

GUTTER = 2  # cells left of the text
MARGIN = 1  # cells right of it
_KEPT_STRIPS = 1_000

Highlight = tuple[int, int, Style]  # characters [start, end) of a row


class Dress(NamedTuple):
    """What a row wears besides its own colours.

    bar: the style of the bar in the gutter, None for none. badge: the number of a code block. caret: text is coming.
    """

    bar: Style | None = None
    badge: int = 0
    caret: bool = False
    highlights: tuple[Highlight, ...] = ()


_BARE = Dress()


def pill_text(lines: int) -> str:
    """What the pill says; every character takes one cell."""
    return f" {lines:,} new {'line' if lines == 1 else 'lines'} below ↓ "


class Painter:
    """Makes strips of one width in one palette, and keeps those that come again."""

    def __init__(self, palette: Palette, width: int) -> None:
        self._palette = palette
        self._width = width
        self._strips: dict[Row, tuple[list[Segment], int, Dress, Strip]] = {}
        self.blank = Strip([Segment(" " * width, palette.base)], width)

    def strip(self, row: Row, dress: Dress = _BARE) -> Strip:
        """The row as it is drawn, as wide as the widget."""
        panel = row.panel.width if row.panel is not None else 0
        kept = self._strips.get(row)
        if kept is not None and kept[0] is row.segments and kept[1] == panel and kept[2] == dress:
            return kept[3]
        strip = self._paint(row, dress)
        if len(self._strips) >= _KEPT_STRIPS:
            self._strips.clear()
        self._strips[row] = (row.segments, panel, dress, strip)
        return strip

    def with_pill(self, strip: Strip, lines: int) -> Strip:
        """The strip with the count of new lines at its right end."""
        pill = pill_text(lines)
        width = len(pill)
        if width > self._width:
            return strip
        style = self._palette.base + self._palette["pill"]
        return Strip.join([strip.crop(0, self._width - width), Strip([Segment(pill, style)], width)])

    def _paint(self, row: Row, dress: Dress) -> Strip:
        base, palette = self._palette.base, self._palette
        content, used = [*row.prefix, *row.segments], GUTTER + row.width
        if row.panel is not None:
            content, used = self._on_panel(row, dress.badge)
        if dress.highlights:
            content = overlay(content, dress.highlights)
        if dress.caret:
            content.append(Segment("▍", palette["caret"]))
            used += 1
        gutter = Segment(" " * GUTTER, base)
        if dress.bar is not None:
            gutter = Segment("▌".ljust(GUTTER), base + dress.bar)
        segments = [gutter, *[Segment(text, base + (style or NULL)) for text, style, _ in content]]
        if used < self._width:
            segments.append(Segment(" " * (self._width - used), base))
        strip = Strip(segments, max(used, self._width))
        return strip if used <= self._width else strip.crop(0, self._width)

    def _on_panel(self, row: Row, badge: int) -> tuple[list[Segment], int]:
        """Prefix, and the segments on their panel as far as it reaches; the cells up to there."""
        assert row.panel is not None
        style = row.panel.style
        segments = [Segment(text, style + (own or NULL)) for text, own, _ in row.segments]
        prefix = sum(width_of(segment.text) for segment in row.prefix)
        used = row.width - prefix
        if badge:
            label = f" {badge} "
            segments += [Segment("  ", style), Segment(label, self._palette["badge"])]
            used += 2 + len(label)
        if used < row.panel.width:
            segments.append(Segment(" " * (row.panel.width - used), style))
            used = row.panel.width
        return [*row.prefix, *segments], GUTTER + prefix + used
