"""The line under the prompt: which model answers, what it is doing, how fast, and how full its context is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from textual.app import RenderResult
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget

from hugchat_tui.chat.session_events import Status
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import duration, grouped, rate
from hugchat_tui.common.tones import ACCENT, BAD, FAINT, GOOD, MUTED, STRONG, WARN

_BAR_CELLS = 8
_NEARLY_FULL = 0.85
_WORKING = frozenset({"preparing", "loading", "waiting", "prefilling"})

_MARKS = {
    "unloaded": ("○ ", MUTED),
    "idle": ("● ", ACCENT),
    "generating": ("● ", GOOD),
    "failed": ("✕ ", BAD),
}
_PHASE_WORDS = {
    "preparing": "preparing",
    "loading": "loading",
    "waiting": "waiting",
    "prefilling": "reading the prompt",
}


@dataclass(slots=True)
class _Field:
    """One fact in ever shorter words, the last of which may be nothing.

    weights: what each step to a shorter form costs; the cheapest step on the line is taken first.
    """

    forms: Sequence[Content]
    weights: Sequence[int]
    form: int = 0

    @property
    def shown(self) -> Content:
        return self.forms[self.form]

    @property
    def next_weight(self) -> int | None:
        return self.weights[self.form] if self.form < len(self.forms) - 1 else None


def status_text(status: Status, width: int, now: float) -> Content:
    """The line in at most `width` cells. now: time.monotonic().

    What does not fit gives way whole, least important first: the word "writing", time to first token, the
    model's organisation, dtype, device, the bar, speed, context. Only a name that alone is wider than the
    line is cut.
    """
    inner = max(0, width - 2)
    left, right = _left(status, now), _right(status)
    while _width(left, right) > inner:
        steps = [(weight, field) for field in (*left, *right) if (weight := field.next_weight) is not None]
        if not steps:
            break
        min(steps, key=lambda step: step[0])[1].form += 1
    start, end = _joined(left, " · "), _joined(right, " │ ")
    start = start.truncate(max(0, inner - end.cell_length), ellipsis=True)
    gap = " " * (inner - start.cell_length - end.cell_length)
    return Content.assemble(" ", start, gap, end, " ")


def _left(status: Status, now: float) -> list[_Field]:
    name = clean_line(status.model)
    if not name:
        return [_Field([_text("○ no model", MUTED)], ())]
    mark = _MARKS.get(status.phase, ("◌ ", WARN))
    last = name.rstrip("/").rpartition("/")[2] or name
    names = dict.fromkeys((last if name.startswith(("/", "~", ".")) else name, last))
    fields = [_Field([Content.assemble(mark, (form, STRONG)) for form in names], (35,))]
    if status.phase in {"idle", "generating"}:
        fields.append(_Field([_text(clean_line(status.device), MUTED), Content()], (50,)))
        fields.append(_Field([_text(clean_line(status.dtype), MUTED), Content()], (40,)))
    if status.phase == "failed":
        # The transcript has the whole of it.
        fields.append(_Field([_text(clean_line(status.stage) or "failed", BAD), _text("failed", BAD)], (90,)))
    elif status.phase == "generating":
        fields.append(_Field([_text("writing", GOOD), Content()], (25,)))
    elif status.phase == "unloaded":
        fields.append(_Field([_text("not loaded", MUTED), Content()], (25,)))
    elif status.phase != "idle":
        fields.append(_progress(status, now))
    return fields


def _progress(status: Status, now: float) -> _Field:
    words = clean_line(status.stage) or _PHASE_WORDS[status.phase]
    percent = f"{min(100, 100 * status.done // status.total)} %" if status.total else ""
    elapsed = int(now - status.since)
    passed = (f"{elapsed} s" if elapsed < 60 else duration(elapsed)) if elapsed else ""
    full = " ".join(filter(None, (words, percent)))
    forms = dict.fromkeys((" · ".join(filter(None, (full, passed))), full, percent or _PHASE_WORDS[status.phase]))
    return _Field([_text(form, WARN) for form in forms], (45, 75))


def _right(status: Status) -> list[_Field]:
    fields = []
    if status.tokens_per_second > 0:
        speed = rate(status.tokens_per_second)
        forms = [_text(f"{speed} tokens/s", MUTED), _text(f"{speed} tok/s", MUTED), Content()]
        fields.append(_Field(forms, (46, 70)))
    if status.first_token_s > 0:
        fields.append(_Field([_text(f"first token {duration(status.first_token_s)}", MUTED), Content()], (30,)))
    if status.context_length > 0:
        fields.append(_Field(_context(status.context_used, status.context_length), (38, 48, 72, 80)))
    return fields


def _context(used: int, length: int) -> list[Content]:
    share = min(1.0, used / length)
    style = BAD if used >= length else WARN if share >= _NEARLY_FULL else MUTED
    filled = max(round(share * _BAR_CELLS), 1 if used else 0)
    bar = Content.assemble(("━" * filled, ACCENT if style == MUTED else style), ("━" * (_BAR_CELLS - filled), FAINT))
    exact = f"{grouped(used)}/{grouped(length)}"
    return [
        Content.assemble((f"context {exact} ", style), bar),
        Content.assemble((f"{exact} ", style), bar),
        _text(exact, style),
        _text(f"{share:.0%}".replace("%", " %"), style),
        Content(),
    ]


def _text(text: str, style: str) -> Content:
    return Content.styled(text, style) if text else Content()


def _joined(fields: Sequence[_Field], separator: str) -> Content:
    return Content.assemble((separator, FAINT)).join([field.shown for field in fields if field.shown.plain])


def _width(left: Sequence[_Field], right: Sequence[_Field]) -> int:
    start, end = _joined(left, " · ").cell_length, _joined(right, " │ ").cell_length
    return start + end + (2 if start and end else 0)


class StatusLine(Widget):
    """One line. It wakes once a second while something is being waited for, and never otherwise."""

    DEFAULT_CSS = """
    StatusLine { height: 1; width: 1fr; color: $foreground; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._status = Status()
        self._ticking: Timer | None = None

    def show(self, status: Status) -> None:
        """Show this; a later change of the object is not seen until it is shown again."""
        self._status = replace(status)
        working = status.phase in _WORKING
        if working and self._ticking is None:
            self._ticking = self.set_interval(1.0, self.refresh)
        elif not working and self._ticking is not None:
            self._ticking.stop()
            self._ticking = None
        self.refresh()

    def render(self) -> RenderResult:
        return status_text(self._status, self.size.width, time.monotonic())
