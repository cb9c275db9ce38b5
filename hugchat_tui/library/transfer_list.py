"""The list of downloads and of long jobs: two lines each, a bar and what there is to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import duration, file_size, fit, sentences, shorten
from hugchat_tui.common.line_list import LineList, justify
from hugchat_tui.common.tones import ACCENT, BAD, FAINT, GOOD, MUTED, STRONG, WARN
from hugchat_tui.common.wrapping import draw_words
from hugchat_tui.library.at_once import at_once
from hugchat_tui.library.work import Work

if TYPE_CHECKING:
    from engine.checkpoints.downloads.status import Status

_BAR_CELLS = 24
_MARKS = {
    "downloading": ("↓", GOOD),
    "running": ("↻", GOOD),
    "done": ("✓", GOOD),
    "failed": ("✕", BAD),
    "stopped": ("■", MUTED),
    "paused": ("‖", WARN),
    "stalled": ("!", WARN),
    "retrying": ("!", WARN),
    "waiting": ("◌", WARN),
}


def share(done: int, total: int) -> str:
    """How much of it is done: "43 %", empty while the whole is not known."""
    return f"{min(100, 100 * done // total)} %" if total else ""


def bar(done: int, total: int, cells: int, style: str = ACCENT) -> Content:
    """A progress bar of so many cells; faint while the whole is not known."""
    filled = min(cells, max(cells * done // total, 1 if done else 0)) if total else 0
    return Content.assemble(("━" * filled, style), ("━" * (cells - filled), FAINT))


def speed(rate: float) -> str:
    return f"{file_size(round(rate))}/s" if rate >= 1 else ""


def headline(transfer: Status | Work) -> str:
    """What it is, in a line: the repository, or the job and its checkpoint."""
    if isinstance(transfer, Work):
        return f"{transfer.verb} {clean_line(transfer.name)}"
    return clean_line(transfer.reference)


def facts(transfer: Status | Work) -> list[str]:
    """Bytes, rate and time left, as far as they are known."""
    parts = []
    if transfer.total:
        parts.append(f"{file_size(transfer.done)} of {file_size(transfer.total)}")
    elif transfer.done:
        parts.append(file_size(transfer.done))
    if transfer.state in ("downloading", "running", "checking"):
        parts += [speed(transfer.rate), f"{duration(transfer.left_s)} left" if transfer.left_s is not None else ""]
    return [part for part in parts if part]


def trouble(transfer: Status | Work) -> str:
    """Why it does not go on, and what to do about it."""
    hint = "" if isinstance(transfer, Work) else transfer.hint
    return clean_line(sentences(*transfer.message.splitlines(), hint))


def told(transfer: Status | Work) -> str:
    """What stands in the second line of its row instead of a bar; empty while there is a bar."""
    words = trouble(transfer)
    return words if transfer.state in ("failed", "stopped", "done") else ""


def _state(transfer: Status | Work) -> str:
    if isinstance(transfer, Work):
        return clean_line(transfer.stage) if transfer.state == "running" else transfer.state
    goes_on = transfer.detached and transfer.state not in ("done", "failed")
    return f"{transfer.state}, goes on after quitting" if goes_on else transfer.state


class TransferList(LineList, inherit_bindings=False):
    """Downloads first, then jobs on this machine, each in the order in which they were begun."""

    ROW_HEIGHT = 2
    BINDINGS: ClassVar[list[BindingType]] = at_once(LineList.BINDINGS, "list.choose")
    DEFAULT_CSS = """
    TransferList { height: 1fr; padding-top: 1; }
    """

    EMPTY: ClassVar[tuple[str, ...]] = (
        "Nothing is being downloaded.",
        "",
        "2 shows the Hub: / searches it, p fetches what is under the cursor.",
        "Downloads go on while you chat, and are checked against their checksums.",
    )
    jump_label = "t"
    help_title = "Downloads"

    def __init__(self) -> None:
        super().__init__()
        self._transfers: list[Status | Work] = []

    @property
    def transfer(self) -> Status | Work | None:
        """The one under the cursor."""
        return self._transfers[self.cursor] if 0 <= self.cursor < len(self._transfers) else None

    def set_transfers(self, transfers: Sequence[Status | Work]) -> None:
        same = len(transfers) == len(self._transfers)
        self._transfers = list(transfers)
        if same:
            self.refresh()
        else:
            self.rows_changed(max(0, self.cursor))

    def go_to(self, id: str) -> None:
        """Put the cursor on a download."""
        for place, transfer in enumerate(self._transfers):
            if not isinstance(transfer, Work) and transfer.id == id:
                self.cursor = place

    def row_count(self) -> int:
        return len(self._transfers)

    def draw_row(self, row: int, line: int, width: int) -> Content:
        transfer = self._transfers[row]
        mark, tone = _MARKS.get(transfer.state, ("◌", MUTED))
        if line == 0:
            left = Content.assemble((f" {mark} ", tone), (headline(transfer), STRONG))
            return justify(left, Content.styled(f"{_state(transfer)} ", tone), width)
        if words := told(transfer):
            style = BAD if transfer.state == "failed" else MUTED
            return Content.styled("   " + shorten(words, width - 4), style)
        cells = min(_BAR_CELLS, max(0, width // 3))
        percent = fit(share(transfer.done, transfer.total), 6)
        meter = Content.assemble("   ", bar(transfer.done, transfer.total, cells, tone), " ", (percent, STRONG))
        words = trouble(transfer)
        about = " · ".join([*facts(transfer), *([words] if words else [])])
        return Content.assemble(meter, (shorten(about, width - meter.cell_length - 1), MUTED))

    def draw_empty(self, line: int, width: int) -> Content:
        return draw_words(self.EMPTY, line, width, MUTED)
