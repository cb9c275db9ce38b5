"""What an empty conversation shows: what answers here, what it is still waiting for, and the keys to begin with."""

from __future__ import annotations

import time
from dataclasses import replace

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from hugchat_tui.chat.names import display_name
from hugchat_tui.chat.session_events import Status
from hugchat_tui.common.clean import clean, clean_line
from hugchat_tui.common.format import duration, file_size, shorten
from hugchat_tui.common.tones import ACCENT, BAD, FAINT, MUTED, STRONG, WARN

_KEYS = (
    ("enter", "send"),
    ("^j", "new line"),
    ("^t", "choose the model"),
    ("f5", "download and manage models"),
    ("^p", "all commands"),
    ("f1", "help"),
)
_BAR_CELLS = 40
_BLOCK_CELLS = 60
_SOON_S = 2.0  # before that a rate says little
_STARTER_STAGES = frozenset({"downloading", "unpacking", "converting"})


class Welcome(Widget):
    """An empty conversation with `model`; `status` says how far its load is, `problem` why nothing can answer."""

    DEFAULT_CSS = """
    Welcome { height: 1fr; content-align: center middle; padding: 0 2; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._model = ""
        self._status = Status()
        self._notes: tuple[str, ...] = ()
        self._problem = ""
        self._began = (0.0, 0)  # when the present stage was first seen, and how much was done then

    def show(self, model: str, status: Status, *, notes: tuple[str, ...] = (), problem: str = "") -> None:
        """Draw this. notes: what was decided while loading."""
        if (status.phase, status.stage) != (self._status.phase, self._status.stage) or not status.done:
            self._began = time.monotonic(), status.done
        self._model, self._status, self._notes, self._problem = model, replace(status), notes, problem
        self.refresh()

    def render(self) -> RenderResult:
        width, height = self.content_size
        block = min(_BLOCK_CELLS, width)  # of the same width whatever is said, so that it stays where it is
        lines = [
            Content.styled("HugChat", f"bold {ACCENT}").pad_right(max(0, block - len("HugChat"))),
            Content.assemble(
                ("Ask ", MUTED), (clean_line(display_name(self._model)), STRONG), (" anything.", MUTED)
            ).append(Content.styled(" It runs on this machine.", MUTED) if width > 50 else Content("")),
        ]
        extra = self._extra(block)
        keys = [Content.assemble((f"{key:>6}", ACCENT), "  ", (meaning, MUTED)) for key, meaning in _KEYS]
        if height >= len(lines) + len(keys) + len(extra) + 2:
            lines += [Content(""), *keys]
        if extra:
            lines += [Content(""), *extra] if height > len(lines) + len(extra) else extra
        return Content("\n").join(lines)

    def _extra(self, cells: int) -> list[Content]:
        """What stands below: the problem, the progress, or what was decided while loading."""
        if self._problem:
            return [Content.styled(clean(self._problem), BAD)]
        if self._status.phase in {"preparing", "loading"}:
            began, before = self._began
            return loading_lines(self._status, cells, time.monotonic() - began, before)
        return [Content.styled(clean_line(note), FAINT) for note in self._notes]


def loading_lines(status: Status, cells: int, elapsed: float, before: int) -> list[Content]:
    """The stage, how much of it is done, and how long it will take.

    elapsed: seconds since the stage began here, with `before` of it done already.
    """
    parts = [clean_line(status.stage) or status.phase]
    done, total = min(status.done, status.total), status.total
    if total:
        parts.append(f"{100 * done // total} %")
        speed = (done - before) / elapsed if elapsed > _SOON_S else 0.0
        if status.stage == "downloading":
            parts.append(f"{file_size(done)} of {file_size(total)}")
            if speed:
                parts.append(f"{file_size(int(speed))}/s")
        if speed:
            parts.append(f"{duration((total - done) / speed)} left")
    lines = [Content.styled(shorten(" · ".join(parts), cells), WARN)]
    if total:
        bar = min(_BAR_CELLS, cells)
        filled = round(bar * done / total)
        lines.append(Content.assemble(("━" * filled, ACCENT), ("━" * (bar - filled), FAINT)))
    if status.stage in _STARTER_STAGES and status.model == "starter":
        lines.append(Content.styled("The starter model is made ready once; you may type already.", MUTED))
    return lines
