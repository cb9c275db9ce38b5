"""A code block as rows on a panel: its language above, long lines wrapped behind a mark."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.segment import Segment

from hugchat_tui.chat.transcript.blocks import Fence
from hugchat_tui.chat.transcript.frame import Frame
from hugchat_tui.chat.transcript.highlight import Highlighter, Spans
from hugchat_tui.chat.transcript.rows import NULL, Line, Panel, Row, Span, StyledText
from hugchat_tui.chat.transcript.wrap import chop, expand_tabs, width_of
from hugchat_tui.common.clean import clean_line

_PAD = Segment("  ")
_MARGIN = 2  # cells left of the code
_AT_ONCE_S = 0.006  # for colours that are there when a block first appears


class CodeLayout:
    """Keeps up with a fence that grows: rows of complete lines are made once."""

    def __init__(self, fence: Fence, frame: Frame, *, at_once_s: float = _AT_ONCE_S) -> None:
        self.fence = fence
        self.highlighter = Highlighter(fence.language)
        self._frame = frame
        self._wrap_mark = Segment("↪ ", frame.palette["panel-mark"])
        self._panel = Panel(frame.palette["panel"], 0)
        self._first = Line()
        self._texts: list[str] = []  # of the complete lines, tabs expanded
        self._lines: list[list[Row]] = []
        self._partial: list[Row] = []
        self._label = self._label_row()
        self._grow(self._label.width)
        self.update()
        if self.highlighter.busy:
            self.colour(time.perf_counter() + at_once_s)

    @property
    def rows(self) -> list[Row]:
        rows = [self._label]
        for lines in self._lines:
            rows += lines
        return rows + self._partial

    def update(self, *, last: bool = False) -> int:
        """Take over what was added to the fence. Returns the first row that changed.

        last: nothing will be added, though no line closes the fence.
        """
        fence, highlighter = self.fence, self.highlighter
        known, width = len(self._lines), self._panel.width
        texts = [expand_tabs(line) for line in fence.lines[known:]]
        partial = expand_tabs(fence.partial or "")
        first = known
        if fence.closed or last:
            if highlighter.closed and not texts:
                return len(self.rows)
            highlighter.close(texts, partial)
        else:
            first = highlighter.extend(texts, partial)
        self._recolour(range(first, known))
        changed = 1 + sum(map(len, self._lines[:first]))
        for number, text in enumerate(texts, known):
            line = self._first if number == 0 else Line()
            self._texts.append(text)
            self._lines.append(self._rows_of(line, text, highlighter.spans[number]))
        self._partial = []
        if fence.partial is not None:
            line = Line() if self._lines else self._first
            self._partial = self._rows_of(line, partial, highlighter.partial)
        return changed if self._panel.width == width else 0

    def colour(self, deadline: float) -> bool:
        """Work on the colours until the deadline (`time.perf_counter`). True when rows changed."""
        changed = self.highlighter.advance(deadline)
        self._recolour(changed)
        if self._partial:
            self._paint(self._partial, self._partial[0].line.text, self.highlighter.partial)
        return bool(changed) or bool(self._partial)

    def _recolour(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._paint(self._lines[number], self._texts[number], self.highlighter.spans[number])

    def _paint(self, rows: list[Row], text: str, spans: Spans) -> None:
        styled = self._styled(text, spans)
        for row, (start, end) in zip(rows, self._breaks(text), strict=True):
            row.segments = [row.segments[0], *styled.cut(start, end, NULL)]

    def _breaks(self, text: str) -> list[tuple[int, int]]:
        return chop(text, max(1, self._frame.width - _MARGIN - 1))

    def _styled(self, text: str, spans: Spans) -> StyledText:
        token = self._frame.palette.token
        return StyledText(
            text, [(start, end, style) for start, end, kind in spans if (style := token(kind)) is not None]
        )

    def _rows_of(self, line: Line, text: str, spans: Spans) -> list[Row]:
        line.text = text
        styled = self._styled(text, spans)
        rows: list[Row] = []
        for start, end in self._breaks(text):
            width = width_of(text[start:end]) + _MARGIN
            rows.append(
                Row(
                    [self._wrap_mark if rows else _PAD, *styled.cut(start, end, NULL)],
                    width,
                    line,
                    (Span(_MARGIN, start, end - start),),
                    self._panel,
                )
            )
            self._grow(width)
        return rows

    def _label_row(self) -> Row:
        label = clean_line(self.fence.language) or "code"
        start, end = self._breaks(label)[0]
        row = Row(
            [_PAD, Segment(label[start:end], self._frame.palette["panel-label"])],
            width_of(label[start:end]) + _MARGIN,
            self._first,
            panel=self._panel,
        )
        row.fence = self.fence
        return row

    def _grow(self, width: int) -> None:
        self._panel.width = min(self._frame.width, max(self._frame.measure, self._panel.width, width + 1))
