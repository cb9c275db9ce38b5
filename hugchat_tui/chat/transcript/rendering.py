"""One entry as rows: made in slices of time, kept up to date while text streams in."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator

from rich.segment import Segment

from hugchat_tui.chat.transcript.blocks import Fence, Table
from hugchat_tui.chat.transcript.code import CodeLayout
from hugchat_tui.chat.transcript.document import Document
from hugchat_tui.chat.transcript.entries import Entry
from hugchat_tui.chat.transcript.frame import Frame
from hugchat_tui.chat.transcript.layout import blank_row, lay_out
from hugchat_tui.chat.transcript.lexers import LEXERS
from hugchat_tui.chat.transcript.rows import NULL, Line, Row
from hugchat_tui.chat.transcript.table import TableLayout
from hugchat_tui.chat.transcript.text import plain_rows
from hugchat_tui.chat.transcript.wrap import width_of
from hugchat_tui.common.clean import ZERO_WIDTH, clean, clean_line

# What the next piece of a stream may still change: CR before LF, a flag, a run of zero-width characters.
_UNDECIDED = re.compile(f"(?:\r|\U0001f3f4[\U000e0020-\U000e007e]*|[{ZERO_WIDTH}]+)\\Z")
_TAIL_AT_ONCE_S = 0.02  # colours for code that is laid out with every flush must not flicker
_MARKS = {"": "", "good": "  ✓ good", "bad": "  ✗ bad"}
_PLAIN_STYLES = {"system": "quiet-text", "notice": "quiet-text", "error": "error-text"}


class Rendering:
    """rows: title, text, footer and a blank row, final for the text so far once `done`.

    changed: the first row that may look otherwise than before the last call.
    """

    def __init__(self, entry: Entry, frame: Frame) -> None:
        self.entry = entry
        self.frame = frame
        self.rows: list[Row] = []
        self.changed = 0
        self._fed = 0  # characters of the entry's text that were taken over
        self._held = ""  # characters at the end that the next ones may change
        self._document = Document() if entry.role == "assistant" else None
        self._unread = False
        self._body: list[Row] = []
        self._stable = 0  # rows of the body that will not change
        self._laid = 0  # finished blocks that have their rows
        self._growing: CodeLayout | TableLayout | None = None  # the layout of the block behind those
        self._codes: list[CodeLayout] = []
        self._tail_codes: list[CodeLayout] = []
        self._title = self._title_rows()
        self.rows += self._title
        self.take_text()

    @property
    def done(self) -> bool:
        """Whether all text that there is has its rows."""
        return not self._unread

    @property
    def colouring(self) -> bool:
        """Whether code waits for colours that `colour` can give."""
        return any(code.highlighter.busy and LEXERS.is_known(code.fence.language) for code in self._all_codes())

    @property
    def body(self) -> range:
        """The rows of the text."""
        return range(len(self._title), len(self._title) + len(self._body))

    def take_text(self) -> None:
        """Take over what was added to the entry's text. The rows follow by `advance`."""
        entry = self.entry
        text = self._held + entry.text[self._fed :]
        self._fed = len(entry.text)
        self._held = ""
        if entry.streaming and (match := _UNDECIDED.search(text)):
            self._held = match[0]
            text = text[: match.start()]
        if self._document is not None:
            self._document.feed(clean(text))
        self._unread = True

    def advance(self, deadline: float) -> bool:
        """Work until `time.perf_counter()` passes the deadline, at least one step. True when done."""
        start, before, rows = self._stable, self._body[self._stable :], len(self._body)
        changed = rows
        if self._document is None:
            self._body = self._plain_body()
            self._unread = False
        else:
            while self._unread:
                self._unread = self._document.read()
                changed = min(changed, self._lay_out_finished(self._document))
                if time.perf_counter() >= deadline:
                    break
            self._lay_out_tail(self._document)
        self._put_together(start)
        changed = min(changed, start + _first_difference(before, self._body[start:]))
        if rows != len(self._body):
            changed = max(0, min(changed, rows - 1, len(self._body) - 1))  # the last row carries the caret
        self.changed = len(self._title) + changed
        return self.done

    def _lay_out_finished(self, document: Document) -> int:
        """Rows for the blocks that are finished, and for the one that grows. Returns the first that grew or changed."""
        changed = sys.maxsize
        while self._laid < len(document.blocks):
            block = document.blocks[self._laid]
            if isinstance(block, Fence | Table):
                changed = min(changed, self._stable + self._grow(block))
                if block is document.open:
                    break
                assert self._growing is not None
                self._keep(self._growing.rows)
                self._growing = None
            else:
                self._keep(lay_out(block, self.frame, self._codes))
            self._laid += 1
        return changed

    def _grow(self, block: Fence | Table) -> int:
        """Bring the growing block's layout up to date. Returns the first of its rows that changed."""
        if self._growing is not None:
            return self._growing.update()
        if block.gap:
            self._keep([blank_row()])
        if isinstance(block, Fence):
            self._growing = CodeLayout(block, self.frame)
            self._codes.append(self._growing)
        else:
            self._growing = TableLayout(block, self.frame)
        return 0

    def _keep(self, rows: list[Row]) -> None:
        self._body[self._stable :] = rows
        self._stable = len(self._body)

    def _lay_out_tail(self, document: Document) -> None:
        rows: list[Row] = []
        if self._growing is not None:
            if isinstance(self._growing, CodeLayout) and not self.entry.streaming and self.done:
                self._growing.update(last=True)
            rows += self._growing.rows
        self._tail_codes = []
        for block in document.tail:
            rows += lay_out(block, self.frame, self._tail_codes, at_once_s=_TAIL_AT_ONCE_S)
        self._body[self._stable :] = rows
        if not self._body and self.entry.streaming:
            self._body = [blank_row()]  # the caret's place

    def _plain_body(self) -> list[Row]:
        style = _PLAIN_STYLES.get(self.entry.role)
        text = clean(self.entry.text).rstrip("\n")
        palette = self.frame.palette
        return plain_rows(text, self.frame.measure, NULL if style is None else palette[style]) if text else []

    def _put_together(self, start: int) -> None:
        """Title, body and footer as rows; those of the body before `start` are there."""
        start += len(self._title)
        self.rows[start:] = [*self._body[start - len(self._title) :], *self._footer()]
        self._number(start)

    def _number(self, start: int) -> None:
        """Number the lines from a row on."""
        line = self.rows[start - 1].line if start else None
        number = line.number if line is not None else -1
        for row in self.rows[start:]:
            if row.line is not line:
                line = row.line
                number += 1
                line.number = number

    def retitle(self) -> None:
        """The entry's title, detail, footer or role changed; its text did not."""
        self._title = self._title_rows()
        if self._document is None:
            self._body = self._plain_body()
        self.rows = [*self._title, *self._body, *self._footer()]
        self._number(0)
        self.changed = 0

    def _title_rows(self) -> list[Row]:
        entry, frame = self.entry, self.frame
        title, detail, mark = clean_line(entry.title), clean_line(entry.detail), _MARKS[entry.mark]
        rows = plain_rows(title, frame.measure, frame.palette[entry.role])
        if entry.mark:
            style = frame.palette[entry.mark]
            if rows[-1].width + width_of(mark) > frame.measure:
                rows += plain_rows(mark.lstrip(), frame.measure, style)
            else:
                rows[-1].segments.append(Segment(mark, style))
                rows[-1].width += width_of(mark)
        if not detail:
            return rows
        width = width_of(detail)
        free = frame.measure - rows[-1].width - width
        if free < 1:
            return rows + plain_rows(detail, frame.measure, frame.palette["detail"])
        rows[-1].segments += [Segment(" " * free), Segment(detail, frame.palette["detail"])]
        rows[-1].width += free + width
        return rows

    def _footer(self) -> list[Row]:
        footer = clean_line(self.entry.footer)
        rows = plain_rows(footer, self.frame.measure, self.frame.palette["footer"]) if footer else []
        if rows and self._body and self._body[-1].panel is not None:
            rows.insert(0, blank_row())
        return [*rows, blank_row()]

    def colour(self, deadline: float) -> bool:
        """Work on the colours of code until the deadline. True when rows changed."""
        changed = False
        for code in self._all_codes():
            if code.highlighter.busy and LEXERS.is_known(code.fence.language):
                changed = code.colour(deadline) or changed
                if time.perf_counter() >= deadline:
                    break
        return changed

    def unknown_languages(self) -> set[str]:
        """Languages whose lexers have to be loaded before the colours can follow."""
        languages = {code.fence.language for code in self._all_codes()}
        return {language for language in languages if not LEXERS.is_known(language)}

    def _all_codes(self) -> Iterator[CodeLayout]:
        yield from self._codes
        yield from self._tail_codes

    def lines(self) -> list[Line]:
        """The lines of all rows, in order."""
        return _lines(self.rows)

    def body_lines(self) -> list[Line]:
        """The lines of the text, without title and footer."""
        return _lines(self._body)

    def fences(self) -> list[tuple[int, Fence]]:
        """The code blocks, and the row that begins each."""
        return [(number, row.fence) for number, row in enumerate(self.rows) if row.fence is not None]

    def row_of(self, line: int, offset: int) -> int:
        """The row that shows a character of a line, both counted from 0."""
        best = 0
        for number, row in enumerate(self.rows):
            if row.line.number > line:
                break
            if row.line.number == line and (best == 0 or (row.spans and row.spans[0].start <= offset)):
                best = number
        return best


def _first_difference(before: list[Row], after: list[Row]) -> int:
    """The first of a text's rows that looks otherwise, or is new."""
    for number, (old, new) in enumerate(zip(before, after, strict=False)):
        if not old.looks_like(new):
            return number
    return min(len(before), len(after))


def _lines(rows: list[Row]) -> list[Line]:
    found: list[Line] = []
    for row in rows:
        if not found or row.line is not found[-1]:
            found.append(row.line)
    return found
