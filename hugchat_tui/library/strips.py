"""The library's first and last line: its views with what they hold, and what is being transferred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from hugchat_tui.common.format import duration
from hugchat_tui.common.line_list import justify
from hugchat_tui.common.tones import ACCENT, FAINT, GOOD, MUTED, STRONG
from hugchat_tui.library.transfer_list import bar, headline, share, speed

if TYPE_CHECKING:
    from engine.checkpoints.downloads.status import Status
    from hugchat_tui.library.work import Work

VIEWS = ("machine", "hub", "downloads")
TITLES = ("On this machine", "Hub", "Downloads and jobs")
_BAR_CELLS = 10


class ViewBar(Widget):
    """The names of the views, each behind the number that shows it; a click shows one."""

    DEFAULT_CSS = """
    ViewBar { height: 1; background: $panel; }
    """

    active: reactive[str] = reactive(VIEWS[0])
    counts: reactive[tuple[str, ...]] = reactive(("", "", ""))  # what stands behind each name
    totals: reactive[str] = reactive("")

    class Chosen(Message):
        def __init__(self, view: str) -> None:
            super().__init__()
            self.view = view

    def render(self) -> RenderResult:
        labels = Content("").join(self._label(index) for index in range(len(VIEWS)))
        room = self.size.width - labels.cell_length - 1
        totals = Content.styled(f"{self.totals} " if len(self.totals) < room else "", MUTED)
        return justify(labels, totals, self.size.width)

    def _label(self, index: int) -> Content:
        view = VIEWS[index]
        active = view == self.active
        label = Content.assemble(
            (f" {index + 1} ", ACCENT if active else FAINT),
            (TITLES[index], STRONG if active else MUTED),
            (f" {self.counts[index]}" if self.counts[index] else "", MUTED),
            " ",
        )
        return label.stylize("on $background") if active else label

    def on_click(self, event: events.Click) -> None:
        right = 0
        for index, view in enumerate(VIEWS):
            right += self._label(index).cell_length
            if event.x < right:
                self.post_message(self.Chosen(view))
                return


class TransferStrip(Widget):
    """One line with everything that is running; it is not there when nothing is."""

    DEFAULT_CSS = """
    TransferStrip { height: 1; background: $boost; display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: Sequence[Status | Work] = ()

    def set_running(self, running: Sequence[Status | Work]) -> None:
        self._shown = running
        self.display = bool(running)
        self.refresh()

    def render(self) -> RenderResult:
        line = Content("")
        for place, transfer in enumerate(self._shown):
            more = Content.styled(f"  +{len(self._shown) - place}", MUTED)
            part = self._part(transfer)
            if place and line.cell_length + part.cell_length + more.cell_length > self.size.width:
                return Content.assemble(line, more)
            line = Content.assemble(line, part)
        return line

    @staticmethod
    def _part(transfer: Status | Work) -> Content:
        left = f"{duration(transfer.left_s)} left" if transfer.left_s is not None else ""
        state = "" if transfer.state in ("downloading", "running") else transfer.state
        words = " ".join(filter(None, (share(transfer.done, transfer.total), state, speed(transfer.rate), left)))
        name = headline(transfer).rpartition("/")[2]
        meter = bar(transfer.done, transfer.total, _BAR_CELLS, GOOD)
        return Content.assemble((f" {name} ", STRONG), meter, (f" {words} ", MUTED))


def transfer_word(running: Sequence[Status | Work]) -> str:
    """What is being downloaded, for a corner of another screen: "↓ 43 %", "↓ 2 · 17 %"."""
    if not running:
        return ""
    done, total = sum(each.done for each in running), sum(each.total for each in running)
    count = f"{len(running)} · " if len(running) > 1 else ""
    return f"↓ {count}{share(done, total) or '…'}"
