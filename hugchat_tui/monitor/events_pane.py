"""What a run told besides its figures: alerts first, then everything, the newest on top."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from textual.content import Content

from hugchat_tui.common.clean import clean
from hugchat_tui.common.format import counted
from hugchat_tui.common.tones import BAD, GOOD, MUTED, STRONG, WARN
from hugchat_tui.monitor.page import Page
from hugchat_tui.sft_text import event_line

if TYPE_CHECKING:
    from hugchat_tui.monitor.history import RunHistory

_MOST = 500  # events that are shown; more can be read with `hugchat sft tail`
_MOST_ALERTS = 50
_TONES = {"alert": WARN, "end": STRONG, "eval": "$foreground", "checkpoint": GOOD, "ack": "$foreground"}


class EventsPane(Page):
    """Drawn anew only when something came."""

    DEFAULT_CSS = """
    EventsPane { padding: 0 1; }
    """

    jump_label = "e"
    help_title = "Events"
    words = ("It has told nothing yet.",)

    def __init__(self) -> None:
        super().__init__()
        self._history: RunHistory | None = None
        self._seen: tuple[object, ...] = ()
        self._wrapped: dict[tuple[int, int], tuple[object, list[Content]]] = {}

    def show(self, history: RunHistory | None) -> None:
        if history is not self._history:
            self._history, self._seen = history, ()
            self._wrapped.clear()
            self.scroll_home(animate=False)
        self.histories_changed()

    def histories_changed(self) -> None:
        """More may have come."""
        history = self._history
        if history is None or not self.display:
            return
        newest = history.notable[-1] if history.notable else None
        seen = (len(history.notable), id(newest), len(history.alerts), history.torn)
        if seen != self._seen:
            self._seen = seen
            self.changed()

    def lay_out(self, width: int) -> Sequence[Content]:
        history = self._history
        if history is None or not (history.notable or history.torn):
            return ()
        lines: list[Content] = []
        if history.torn:
            words = f"{counted(history.torn, 'line')} of its events made no sense and had to be passed over."
            lines += [*Content.styled(words, WARN).wrap(width), Content("")]
        if history.alerts:
            lines.append(Content.styled(f"Alerts ({len(history.alerts):,})", STRONG))
            for record in islice(reversed(history.alerts), _MOST_ALERTS):
                lines += self._lines(record, width)
            lines.append(Content(""))
        if history.notable:
            lines.append(Content.styled("Events", STRONG))
        for record in islice(reversed(history.notable), _MOST):
            lines += self._lines(record, width)
        if len(history.notable) > _MOST:
            words = f"Earlier ones: hugchat sft tail -n 1000 {clean(str((history.run or {}).get('name', 'NAME')))}"
            lines += Content.styled(words, MUTED).wrap(width)
        return lines

    def _lines(self, record: dict[str, Any], width: int) -> list[Content]:
        """The record in words, wrapped once."""
        key = id(record), width
        known = self._wrapped.get(key)
        if known is None or known[0] is not record:
            if len(self._wrapped) > 4 * _MOST:
                self._wrapped.clear()
            known = self._wrapped[key] = record, _wrapped(record, width)
        return known[1]


def _wrapped(record: dict[str, Any], width: int) -> list[Content]:
    """Its time at the left, and the words beside it."""
    clock, _, words = event_line(record).partition("  ")
    tone = _TONES.get(str(record.get("type")), MUTED)
    if record.get("type") == "end" and record.get("how") in ("failed", "killed"):
        tone = BAD
    indent = " " * (len(clock) + 2)
    rows = Content.styled(words, tone).wrap(max(8, width - len(indent)))
    first = Content.assemble((clock, MUTED), "  ", rows[0] if rows else Content(""))
    return [first, *(Content.assemble(indent, row) for row in rows[1:])]
