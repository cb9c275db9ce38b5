"""The raw log of a run: what its processes printed, followed to its end, with search."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content, Span
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Static

from hugchat_tui.common.clean import clean
from hugchat_tui.common.format import counted, file_size
from hugchat_tui.common.inputs import LineInput
from hugchat_tui.common.tones import FAINT, MATCH
from hugchat_tui.library.note_line import NoteLine
from hugchat_tui.monitor.page import Page

_BACK = 1 << 19  # bytes of its end that are shown
_POLL_S = 0.5


class LogEnd(NamedTuple):
    """The end of a log. size: of the file, in bytes; left_out: of those before `text`."""

    text: str
    size: int
    left_out: int


def read_end(path: Path) -> LogEnd | None:
    """For a thread. None while there is no log. Raises OSError."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            start = log.seek(max(0, size - _BACK))
            data = log.read(_BACK)
    except FileNotFoundError:
        return None
    if start:
        cut = data.find(b"\n") + 1
        start, data = start + cut, data[cut:]
    # A progress bar writes one line again and again; the last state of it is what a terminal would show.
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    return LogEnd("\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines), size, start)


class LogLines(Page):
    """The lines, matches marked. found: lines with what is looked for."""

    DEFAULT_CSS = """
    LogLines { padding: 0 1; }
    """

    jump_label = "l"
    help_title = "Log"
    words = ("Its processes have printed nothing yet.",)

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.query_text = ""
        self.found: list[int] = []
        self.current = -1
        self.following = True
        # Lines as they were laid out last, for a width: of a log that grows all but the last ones stay.
        self._wrapped: dict[str, Sequence[Content]] = {}
        self._wrapped_for = 0

    def lay_out(self, width: int) -> Sequence[Content]:
        query = self.query_text.lower()
        lines: list[Content] = []
        self.found = []
        before, self._wrapped = self._wrapped if width == self._wrapped_for else {}, {}
        self._wrapped_for = width
        for text in self.text.split("\n") if self.text else ():
            wrapped = self._wrapped[text] = before.get(text) or _wrap(text, width)
            for line in wrapped:
                if query and query in line.plain.lower():
                    line = _marked(line, query)  # noqa: PLW2901
                    self.found.append(len(lines))
                lines.append(line)
        return lines

    def changed(self) -> None:
        super().changed()
        self._follow()

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self._follow()

    def _follow(self) -> None:
        if self.following:
            self.scroll_end(animate=False, force=True)  # the scroll bar comes only with the next layout

    # Only the person ends the following: the view is moved by sizes and lines that come, too.

    def action_scroll_rows(self, by: int) -> None:
        super().action_scroll_rows(by)
        self.call_after_refresh(self._moved)

    def action_scroll_pages(self, by: int) -> None:
        super().action_scroll_pages(by)
        self.call_after_refresh(self._moved)

    def action_scroll_top(self) -> None:
        super().action_scroll_top()
        self.following = False

    def action_scroll_bottom(self) -> None:
        self.following = True
        self._follow()

    def on_mouse_scroll_up(self) -> None:
        self.following = False

    def on_mouse_scroll_down(self) -> None:
        self.call_after_refresh(self._moved)

    def _moved(self) -> None:
        self.following = self.at_end

    def find(self, query: str) -> None:
        self.query_text = query
        self.following = self.following and not query
        self.changed()
        self.current = len(self.found) - 1
        self._go()

    def step(self, by: int) -> None:
        """Go to the next match, or the one before."""
        if self.found:
            self.current = (self.current + by) % len(self.found)
            self._go()

    def _go(self) -> None:
        if 0 <= self.current < len(self.found):
            row = self.found[self.current]
            self.scroll_to(y=max(0, row - self.size.height // 2), animate=False, force=True)


def _wrap(text: str, width: int) -> Sequence[Content]:
    text = text.expandtabs(4)
    return Content(text).wrap(width) if cell_len(text) > width else (Content(text),)


def _marked(line: Content, query: str) -> Content:
    spans, folded, place = [], line.plain.lower(), 0
    while (place := folded.find(query, place)) >= 0:
        spans.append(Span(place, place + len(query), MATCH))
        place += len(query)
    return line.add_spans(spans)


class LogFindInput(LineInput):
    """Enter and up go to the match before, down to the next one: the newest line of a log is at its end."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,up", "step(-1)", "Before", id="log_find.previous"),
        Binding("down", "step(1)", "Next", id="log_find.next"),
        Binding("escape", "leave", "Leave", id="log_find.leave"),
        Binding("tab", "to_log", "To the log", id="log_find.to_log"),
    ]
    help_title = "Find in the log"

    class Step(Message):
        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    class Left(Message):
        """keep: what was looked for stays marked."""

        def __init__(self, keep: bool) -> None:
            super().__init__()
            self.keep = keep

    def action_step(self, by: int) -> None:
        self.post_message(self.Step(by))

    def action_leave(self) -> None:
        self.post_message(self.Left(keep=False))

    def action_to_log(self) -> None:
        self.post_message(self.Left(keep=True))


class LogPane(Vertical):
    """Reads the log along while it is shown."""

    DEFAULT_CSS = """
    LogPane {
        height: 1fr;
        & > Horizontal { height: 1; display: none; background: $foreground 6%; padding: 0 1; }
        & > Horizontal.-used { display: block; layout: horizontal; }
        LogFindInput { width: 1fr; }
        Static { width: auto; color: $foreground 75%; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_lines = LogLines()
        self._input = LogFindInput(placeholder="find in the log")
        self._count = Static()
        self._bar = Horizontal()
        self._note = NoteLine()
        self._path: Path | None = None
        self._seen: tuple[Path | None, int] = (None, -1)
        self._timer: Timer | None = None
        self._reading = False

    def compose(self) -> ComposeResult:
        with self._bar:
            yield self._input
            yield self._count
        yield self._note
        yield self.log_lines

    def watch_log(self, watching: bool) -> None:
        """Look again and again whether there is more, or no longer: what nobody sees need not wake the program."""
        if self._timer is None and watching:
            self._timer = self.set_interval(_POLL_S, self.read)
        elif self._timer is not None and not watching:
            self._timer.stop()
            self._timer = None
        self.read()

    def show(self, path: Path | None) -> None:
        """Show another run's log, or none."""
        if path != self._path:
            self._path, self._seen = path, (None, -1)
            self.log_lines.text, self.log_lines.following = "", True
            self._note.show("")
            self.log_lines.changed()
        self.read()

    def read(self) -> None:
        """Look whether there is more."""
        if self.display and self._path is not None and self.is_mounted and not self._reading and self.screen.is_current:
            self._reading = True
            self.run_worker(self._read(self._path), group="log")

    async def _read(self, path: Path) -> None:
        try:
            size = await asyncio.to_thread(_size, path)
            if (path, size) == self._seen:
                return
            end = await asyncio.to_thread(read_end, path)
            text = await asyncio.to_thread(clean, end.text) if end is not None else ""
        except OSError as error:
            self._note.show(clean(f"The log cannot be read: {error.strerror or error}."))
            return
        finally:
            self._reading = False
        if path != self._path:
            return
        self._seen = path, end.size if end is not None else -1
        self.log_lines.text = text.rstrip("\n")
        left_out = end.left_out if end is not None else 0
        self._note.show(f"{file_size(left_out)} before this are not shown: {clean(str(path))}" if left_out else "")
        self.log_lines.changed()
        self._show_count()

    # Search

    def find(self) -> None:
        self._bar.add_class("-used")
        self.screen.set_focus(self._input)

    def leave(self) -> bool:
        """Leave the search; False when nothing is looked for."""
        if not self._bar.has_class("-used"):
            return False
        self._input.value = ""
        self._bar.remove_class("-used")
        self.log_lines.find("")
        self.screen.set_focus(self.log_lines)
        return True

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.log_lines.find(event.value)
        self._show_count()

    @on(LogFindInput.Step)
    def _step(self, event: LogFindInput.Step) -> None:
        self.log_lines.step(event.by)
        self._show_count()

    @on(LogFindInput.Left)
    def _left(self, event: LogFindInput.Left) -> None:
        if event.keep:
            self.screen.set_focus(self.log_lines)
        else:
            self.leave()

    def _show_count(self) -> None:
        lines = self.log_lines
        if not lines.query_text:
            words = Content("")
        elif not lines.found:
            words = Content("no match")
        else:
            words = Content.assemble(f"{lines.current + 1:,} of {counted(len(lines.found), 'line')}", (" ↑↓", FAINT))
        self._count.update(words)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
