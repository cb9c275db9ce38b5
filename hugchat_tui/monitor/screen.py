"""The monitor mode: the runs of this machine, and everything about the one under the cursor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.dom import DOMNode
from textual.widget import Widget
from textual.widgets import Input

from hugchat_tui.actions import Scope, bindings
from hugchat_tui.chat.background import background
from hugchat_tui.chat.key_bar import KeyBar
from hugchat_tui.common.alarm import Alarm
from hugchat_tui.common.compositor import PartialCompositor
from hugchat_tui.common.line_list import LineList
from hugchat_tui.library.filter_input import FilterInput
from hugchat_tui.monitor.charts_pane import ChartsPane
from hugchat_tui.monitor.events_pane import EventsPane
from hugchat_tui.monitor.log_pane import LogPane
from hugchat_tui.monitor.pane_bar import PANES, TITLES, PaneBar
from hugchat_tui.monitor.recipe_pane import RecipePane
from hugchat_tui.monitor.run_actions import RunActions
from hugchat_tui.monitor.run_header import RunHeader, RunLine
from hugchat_tui.monitor.run_table import RunTable, RunTableHead
from hugchat_tui.monitor.samples_pane import SamplesPane
from hugchat_tui.monitor.system_strip import SystemStrip

if TYPE_CHECKING:
    from hugchat_tui.monitor.rows import RunRow
    from hugchat_tui.monitor.service import Change, MonitorService

_FOLLOW_DELAY_S = 0.12  # the cursor has come to rest
_TYPED_DELAY_S = 0.25  # what is typed into the filter has come to rest: letters come slower than repeated arrows
_DRAW_EVERY_S = 0.05
_DRAW_SOON_S = 0.01
_TO_LIST = Binding("escape", "back", "Runs")
_GOING = frozenset({"run.stop", "run.save", "run.pause"})


class MonitorScreen(RunActions):
    """Joins the list, the panes and the service, which tells when something changed."""

    help_title = "Monitor"
    AUTO_FOCUS = None
    most_notices = 2  # they lie over what is watched
    # Narrow, the run takes the place of the list.
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (112, "-wide")]  # noqa: RUF012 - an instance variable to Textual
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("runs"), *bindings("monitor")]
    DEFAULT_CSS = """
    MonitorScreen {
        & > Horizontal { height: 1fr; }
        #runs { width: 32%; min-width: 46; max-width: 64; border-right: vkey $panel; }
        #run { width: 1fr; }
        #run > .-pane { height: 1fr; display: none; }
        #run > .-pane.-shown { display: block; }
        RunLine { display: none; }
        FilterInput { display: none; }
        FilterInput.-used { display: block; }
    }
    MonitorScreen.-narrow {
        #runs { width: 1fr; max-width: 100%; border-right: none; }
        #run { display: none; }
        RunLine { display: block; }
    }
    MonitorScreen.-narrow.-open {
        #runs { display: none; }
        #run { display: block; }
    }
    """

    def __init__(self, service: MonitorService) -> None:
        super().__init__()
        self.service = service
        self.table = RunTable()
        self.header = RunHeader()
        self.pane_bar = PaneBar()
        self.charts = ChartsPane()
        self.samples = SamplesPane()
        self.events = EventsPane()
        self.log_pane = LogPane()
        self.recipe = RecipePane()
        self.strip = SystemStrip()
        self.key_bar = KeyBar()
        self._head = RunTableHead(self.table)
        self._run_line = RunLine(self.header)
        self._filter = FilterInput(self.table, "words, state:failed, tag:word, base:starter")
        self._compositor = PartialCompositor()
        self._changes: set[Change] = set()
        self._drawn_at = 0.0
        self._drawing = Alarm(self, self._draw_changes)
        self._following = Alarm(self, self._follow)
        self._shown: list[tuple[str, object]] = []  # the histories that the charts show
        self._select = ""  # a run to go to once it is listed
        self._labels: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        with Horizontal():
            with Vertical(id="runs"):
                yield self._filter
                yield self._head
                yield self.table
                yield self._run_line
            with Vertical(id="run"):
                yield self.header
                yield self.pane_bar
                yield from self._panes()
        yield self.strip
        yield self.key_bar

    def _panes(self) -> tuple[Widget, ...]:
        return self.charts, self.samples, self.events, self.log_pane, self.recipe

    def on_mount(self) -> None:
        for pane in self._panes():
            pane.add_class("-pane")
            pane.display = pane is self.charts
        self.charts.add_class("-shown")
        self.service.listen(self._changed)
        self._changed("rows")
        self.set_focus(self.table)

    def on_screen_resume(self) -> None:
        """Shown again: look now, and often from now on."""
        self.service.in_view = True
        self._changes |= {"rows", "history", "asked"}
        self._draw_changes()
        if self.service.told_of:
            self.select(self.service.told_of)
            self.service.told_of = ""
        self.service.look()
        self._watch_files()

    def on_screen_suspend(self) -> None:
        self.service.in_view = self.app.current_mode == "monitor"  # a dialog lies over it
        self._watch_files()

    def _watch_files(self) -> None:
        """Look at the machine and the log while they are in view."""
        self.strip.watch_machine(self.service.in_view)
        self.log_pane.watch_log(self.service.in_view and self.pane_bar.active == "log")

    # What the service says

    def _changed(self, change: Change) -> None:
        self._changes.add(change)
        if self.is_current:
            self._drawing.set(max(_DRAW_SOON_S, self._drawn_at + _DRAW_EVERY_S - time.monotonic()))

    def _draw_changes(self) -> None:
        changes, self._changes = self._changes, set()
        self._drawn_at = time.monotonic()
        if "rows" in changes and (self.service.ready or self.service.rows or self.service.problem):
            self.table.set_rows(self.service.rows, self.service.problem)
            if self._select and self.table.go_to(self._select):
                self._select = ""
            self.recipe.show(self._drawn_rows())
        if "history" in changes:
            self._show_histories()
            self.charts.histories_changed()
            self.samples.histories_changed()
            self.events.histories_changed()
        self._show_header()

    def _show_header(self) -> None:
        row = self.table.row
        follower = self.service.follower(row.run) if row is not None else None
        self.header.show(row, follower, self.service.asked.of(row.run) if row is not None else ())
        self._run_line.refresh()
        labels = tuple(self.footer_label(binding) for binding in bindings("runs") if binding.show)
        if labels != self._labels:
            self._labels = labels
            self.refresh_bindings()

    # The run under the cursor

    @on(LineList.Moved, "RunTable")
    @on(RunTable.Arranged)
    def _moved(self) -> None:
        self._head.refresh()
        self.table.show_tones()
        if self.table.row is not self.header.row:
            self._show_header()
        self._following.set(_FOLLOW_DELAY_S)

    @on(LineList.Chosen, "RunTable")
    def _chosen(self) -> None:
        self.action_open_run()

    def _drawn_rows(self) -> list[RunRow]:
        """The run under the cursor and those that are overlaid."""
        row = self.table.row
        return [row, *self.table.overlaid_rows()] if row is not None else []

    def _follow(self) -> None:
        """Read along what is shown, and nothing else."""
        rows = self._drawn_rows()
        self.service.follow([row.run for row in rows])
        self._show_histories()
        first = rows[0] if rows else None
        self.strip.show(first.run.path if first is not None else self.service.folder)
        self.log_pane.show(first.run.log if first is not None else None)
        self.recipe.show(rows)
        self._show_header()

    def _show_histories(self) -> None:
        """Hand the histories to the panes, where they are others than before: a run's events may begin anew."""
        followed = [(row.name, self.service.follower(row.run)) for row in self._drawn_rows()]
        if followed and followed[0][1] is None:  # the cursor has only just come there: it may go on
            return
        shown = [(name, follower.history) for name, follower in followed if follower is not None]
        if [(name, id(history)) for name, history in shown] != [(name, id(each)) for name, each in self._shown]:
            self._shown = list(shown)
            self.charts.show(shown)
            history = shown[0][1] if shown else None
            self.samples.show(history)
            self.events.show(history)

    def select(self, name: str) -> None:
        """Put the cursor on a run as soon as it is listed."""
        if not self.table.go_to(name):
            self._select = name
            self.service.look()

    def show_run(self) -> None:
        """Go to the pane that is shown of the run under the cursor."""
        self._open()
        self.set_focus(self._focus_of(self.pane_bar.active))

    def show_list(self) -> None:
        self._open(False)
        self.set_focus(self.table)

    def _open(self, opened: bool = True) -> None:
        """On a small screen the run takes the place of the list; then the way back stands first in the footer."""
        self.set_class(opened, "-open")
        self.key_bar.urgent = _TO_LIST if opened and self.has_class("-narrow") else None

    @property
    def at_list(self) -> bool:
        return self.table.has_focus or self._filter.has_focus

    # Panes

    def _pane(self, name: str) -> Widget:
        return self._panes()[PANES.index(name)]

    def _focus_of(self, name: str) -> Widget:
        return self.log_pane.log_lines if name == "log" else self._pane(name)

    async def action_show_pane(self, name: str) -> None:
        for each in PANES:
            pane = self._pane(each)
            pane.display = each == name
            pane.set_class(each == name, "-shown")
        self.pane_bar.active = name
        narrow = self.has_class("-narrow")
        if narrow and self.table.row is not None:
            self._open()
        if not self.at_list or narrow:
            self.set_focus(self._focus_of(name))
        self.samples.histories_changed()
        self.events.histories_changed()
        self.recipe.show(self._drawn_rows())
        self._watch_files()
        self.refresh_bindings()

    async def action_step_pane(self, step: int) -> None:
        await self.action_show_pane(PANES[(PANES.index(self.pane_bar.active) + step) % len(PANES)])

    @on(PaneBar.Chosen)
    async def _pane_chosen(self, event: PaneBar.Chosen) -> None:
        await self.action_show_pane(event.pane)

    async def owner_of(self, scope: Scope) -> DOMNode:
        """Whose method an action of a scope is; the charts are shown before their action runs."""
        if scope != "charts":
            return self
        await self.action_show_pane("charts")
        self.show_run()
        return self.charts

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not isinstance(self.focused, Input)  # what is typed into an input is not a command

    def footer_label(self, binding: Binding) -> str:
        """What the key would do to the run under the cursor."""
        row, id = self.table.row, binding.id or ""
        if row is None:
            return binding.description if id in ("run.new", "monitor.back") else ""
        labels = {
            "run.open": binding.description if self.at_list else "",
            "run.resume": binding.description if row.status.resumable else "",
            "run.new": binding.description if not row.going else "",
            "run.pause": "Continue" if row.status.state == "paused" else "Pause",
        }
        if id in _GOING and not row.going:
            return ""
        return labels.get(id, binding.description)

    def action_switch_side(self) -> None:
        if self.at_list:
            self.action_open_run()
        else:
            self.show_list()

    def action_find(self) -> None:
        if not self.at_list and self.pane_bar.active == "log":
            self.log_pane.find()
            return
        self._open(False)
        self._filter.add_class("-used")
        self.set_focus(self._filter)

    @on(Input.Changed)
    def _filter_changed(self) -> None:
        self._following.cancel()
        self._following.set(_TYPED_DELAY_S)
        self.table.filter(self._filter.value)

    @on(FilterInput.Left)
    def _filter_left(self) -> None:
        self._leave_filter()

    @on(Input.Submitted)
    def _filter_taken(self) -> None:
        self._filter.set_class(bool(self._filter.value), "-used")
        self.set_focus(self.table)

    def _leave_filter(self) -> None:
        self._filter.value = ""
        self._filter.remove_class("-used")
        self.set_focus(self.table)

    async def action_back(self) -> None:
        """Take away what was said; else leave the search, the run, the marks, the filter, and at last the monitor."""
        if self.app.dismiss_notices():
            return
        if not self.at_list:
            if self.pane_bar.active != "log" or not self.log_pane.leave():
                self.show_list()
        elif self.table.overlaid:
            self.table.clear_overlay()
        elif self._filter.value:
            self._leave_filter()
        else:
            await self.app.switch_mode("chat")

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_jump(self) -> None:
        """One key to a part of the monitor or one of its panes."""
        from hugchat_tui.common.jump import JumpOverlay, JumpToThing, JumpToWidget, NumberedThing

        panes = [NumberedThing(number, title) for number, title in enumerate(TITLES)]
        match await self.app.push_screen_wait(JumpOverlay(self, panes, numbered="pane", commands={})):
            case JumpToWidget(widget):
                widget.focus()
            case JumpToThing(number):
                await self.action_show_pane(PANES[number])
