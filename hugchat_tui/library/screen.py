"""The library mode: the checkpoints of this machine, the Hub, and what is being downloaded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.widgets import Input

from hugchat_tui.actions import Scope, bindings
from hugchat_tui.chat.background import background
from hugchat_tui.chat.key_bar import KeyBar
from hugchat_tui.chat.transcript.messages import Copied, LinkActivated
from hugchat_tui.common.alarm import Alarm
from hugchat_tui.common.compositor import PartialCompositor
from hugchat_tui.common.format import file_size
from hugchat_tui.common.mode_screen import ModeScreen
from hugchat_tui.library.downloads_view import DownloadsView
from hugchat_tui.library.hub_view import HubView
from hugchat_tui.library.machine_view import MachineView
from hugchat_tui.library.strips import TITLES, VIEWS, TransferStrip, ViewBar

if TYPE_CHECKING:
    from hugchat_tui.app import HugChatApp
    from hugchat_tui.library.service import Change, LibraryService

View = MachineView | HubView | DownloadsView
_DRAW_EVERY_S = 0.25  # at most: a scan tells of rows far more often than anybody can read
_DRAW_SOON_S = 0.01  # after some quiet: changes that come together are drawn together


class LibraryScreen(ModeScreen):
    """Joins the views and the service, which tells when something changed."""

    if TYPE_CHECKING:
        app: HugChatApp

    help_title = "Library"
    AUTO_FOCUS = None
    most_notices = 2  # they lie over the list
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (104, "-wide")]  # noqa: RUF012 - an instance variable to Textual
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("library")]

    def __init__(self, service: LibraryService) -> None:
        super().__init__()
        self.service = service
        self.view_bar = ViewBar()
        self.machine = MachineView(service)
        self.hub = HubView(service)
        self.downloads = DownloadsView(service)
        self.strip = TransferStrip()
        self.key_bar = KeyBar()
        self._compositor = PartialCompositor()
        self._changes: set[Change] = set()
        self._drawn_at = 0.0
        self._drawing = Alarm(self, self._draw_changes)

    def compose(self) -> ComposeResult:
        yield self.view_bar
        yield self.machine  # the others when they are asked for: each takes as long to be mounted as this one
        yield self.strip
        yield self.key_bar

    def on_mount(self) -> None:
        self.service.listen(self._changed)
        self.machine.display = True
        self.machine.focus_list()

    def on_screen_resume(self) -> None:
        """Shown again: look again, for what other programs did meanwhile."""
        self.service.in_view = True
        self.machine.set_current(self._answering())
        self._changes |= {"rows", "downloads"}
        self._draw_changes()
        self.service.rescan()

    def _answering(self) -> list[str]:
        """What answers in the chat's panes, the active one first."""
        panes = self.app.chat.panes if self.app.chat is not None else None
        if panes is None or panes.active is None:
            return []
        shown = sorted(panes.shown, key=lambda view: view is not panes.active)
        return [view.session.model.reference for view in shown]

    def on_screen_suspend(self) -> None:
        self.service.in_view = self.app.current_mode == "library"  # a dialog lies over it

    # What the service says

    def _changed(self, change: Change) -> None:
        self._changes.add(change)
        if self.is_current:
            self._drawing.set(max(_DRAW_SOON_S, self._drawn_at + _DRAW_EVERY_S - time.monotonic()))

    def _draw_changes(self) -> None:
        changes, self._changes = self._changes, set()
        self._drawn_at = time.monotonic()
        if "rows" in changes:
            self.machine.rows_changed()
            self.hub.rows_changed()
        if "work" in changes:
            self.machine.work_changed()
        if changes & {"downloads", "work"}:
            self.downloads.transfers_changed()
            self.strip.set_running(self.service.running)
        self._count()

    def _count(self) -> None:
        service = self.service
        running = len(service.running)
        self.view_bar.counts = str(len(service.rows) or ""), "", str(running or "")
        parts = []
        if service.scanning:
            parts.append("looking…")
        if service.total_bytes:
            parts.append(f"{file_size(service.total_bytes)} here")
        if service.free_bytes:
            parts.append(f"{file_size(service.free_bytes)} free")
        self.view_bar.totals = " · ".join(parts)

    # What the person does

    @property
    def view(self) -> View:
        """The one that is shown."""
        return self._view_of(self.view_bar.active)

    def _view_of(self, name: str) -> View:
        views: tuple[View, ...] = (self.machine, self.hub, self.downloads)
        return views[VIEWS.index(name)]

    async def owner_of(self, scope: Scope) -> DOMNode:
        """Whose method an action of a scope is; a view is shown before its action runs."""
        if scope not in VIEWS:
            return self
        await self.action_show_view(scope)
        return self.view

    async def action_show_view(self, name: str) -> None:
        shown = self._view_of(name)
        if not shown.is_attached:
            await self.mount(shown, before=self.strip)
        for each in VIEWS:
            self._view_of(each).display = each == name
        self.view_bar.active = name
        shown.focus_list()
        self.refresh_bindings()

    async def action_step_view(self, step: int) -> None:
        await self.action_show_view(VIEWS[(VIEWS.index(self.view_bar.active) + step) % len(VIEWS)])

    @on(ViewBar.Chosen)
    async def _view_chosen(self, event: ViewBar.Chosen) -> None:
        await self.action_show_view(event.view)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "find" and self.view is self.downloads:
            return False
        return not isinstance(self.focused, Input)  # what is typed into an input is not a command

    def footer_label(self, binding: Binding) -> str:
        """What the key would do in the view that is shown."""
        if binding.id == "library.find" and self.view is self.hub:
            return "Search"
        if binding.id == "library.back" and self.view is self.machine and self.machine.table.marked:
            return "Unmark"
        return binding.description

    def action_find(self) -> None:
        self.view.find()

    def action_details(self) -> None:
        self.view.toggle_details()

    async def action_back(self) -> None:
        """Take away what was said; else leave the details, the marks, the filter, and at last the library."""
        if not self.app.dismiss_notices() and not self.view.leave():
            await self.app.switch_mode("chat")

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_enter_token(self) -> None:
        await self.hub.ask_for_token()

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_jump(self) -> None:
        """One key to a part of the library or one of its views."""
        from hugchat_tui.common.jump import JumpOverlay, JumpToThing, JumpToWidget, NumberedThing

        views = [NumberedThing(number, title) for number, title in enumerate(TITLES)]
        match await self.app.push_screen_wait(JumpOverlay(self, views, numbered="view", commands={})):
            case JumpToWidget(widget):
                widget.focus()
            case JumpToThing(number):
                await self.action_show_view(VIEWS[number])

    # The details

    @on(Copied)
    def _copied(self, event: Copied) -> None:
        self.app.copy_to_clipboard(event.text)
        self.notify(f"Copied the {event.what}.", timeout=2)

    @on(LinkActivated)
    def _link_activated(self, event: LinkActivated) -> None:
        # Not opened: over SSH there is no browser to open it in, and a stranger wrote the address.
        self.app.copy_to_clipboard(event.url)
        self.notify(f"Copied the address {event.url}")
