"""The modes: the chat, the library and the monitor, each built once and shown by its key."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from textual import events
from textual.notifications import SeverityLevel

from hugchat_tui.actions import Action
from hugchat_tui.boot import BootScreen
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.driver import TerminalDriver
from hugchat_tui.common.format import shorten_start
from hugchat_tui.common.notices import NoticesApp

if TYPE_CHECKING:
    from hugchat_tui.chat.screen import ChatScreen
    from hugchat_tui.common.mode_screen import ModeScreen
    from hugchat_tui.library.screen import LibraryScreen
    from hugchat_tui.library.service import Change, LibraryService
    from hugchat_tui.monitor.screen import MonitorScreen
    from hugchat_tui.monitor.service import Change as RunsChange
    from hugchat_tui.monitor.service import MonitorService
    from hugchat_tui.services import Services

_RUNS_CELLS = 28
# XTWINOPS: put the window's title on the terminal's stack, and take it from there again.
_KEEP_TITLE, _OLD_TITLE = "\x1b[22;2t", "\x1b[23;2t"


class ModesApp(NoticesApp):
    """The app's modes and the services behind them. chat, library and monitor are None until they are begun."""

    if TYPE_CHECKING:
        services: Services

    def __init__(self) -> None:
        super().__init__(driver_class=TerminalDriver)
        self.chat: ChatScreen | None = None
        self.library: LibraryService | None = None
        self.monitor: MonitorService | None = None
        self._library_screen: LibraryScreen | None = None
        self._monitor_screen: MonitorScreen | None = None
        self._others_started = False
        self._title_shown = ""
        self._library_building = asyncio.Lock()
        self._monitor_building = asyncio.Lock()

    def tell(self, text: str, severity: SeverityLevel = "information") -> None:
        """Say what ended or happened while nobody may have looked."""
        self.notify(text, severity=severity)
        if self.chat is not None:
            self.chat.call_later(self.chat.mark)

    def _add_screen(self, mode: str, screen: ModeScreen) -> None:
        # Its styles are made with today's colours anyway. Told so, Textual does not make those of all screens anew.
        screen._css_update_count = self._css_update_count
        self.add_mode(mode, lambda: screen)

    async def start_others(self) -> None:
        """Take up what an earlier start left of the library and of the runs, and build their screens."""
        if self._others_started:
            return
        self._others_started = True
        try:
            await (await self._open_library()).start()
        except OSError as error:
            self.notify(f"Downloads cannot be taken up: {error}.", severity="warning")
        await self._build_library()
        await self._build_monitor()

    # The library

    async def _open_library(self) -> LibraryService:
        module = await asyncio.to_thread(importlib.import_module, "hugchat_tui.library.service")
        if self.library is None:
            self.library = module.LibraryService(self.services, self.tell)
            self.library.listen(self._library_changed)
        return self.library

    def _library_changed(self, change: Change) -> None:
        if change != "rows":
            self._show_work()

    def _show_work(self) -> None:
        """A word about downloads and training runs in the chat's footer."""
        from hugchat_tui.library.strips import transfer_word

        if self.chat is not None:
            transfers = transfer_word(self.library.running) if self.library is not None else ""
            going = self.monitor.headline if self.monitor is not None else ""
            runs = f"● {shorten_start(clean_line(going), _RUNS_CELLS)}" if going else ""
            self.chat.key_bar.note = " · ".join(filter(None, (transfers, runs)))

    async def action_library(self) -> None:
        """Show the library; from there, the chat."""
        await self._toggle("library", "f5")

    async def show_library(self) -> LibraryScreen:
        screen = await self._build_library()
        await self.switch_mode("library")
        return screen

    async def _build_library(self) -> LibraryScreen:
        async with self._library_building:
            if self._library_screen is None:
                module = await asyncio.to_thread(importlib.import_module, "hugchat_tui.library.screen")
                screen: LibraryScreen = module.LibraryScreen(await self._open_library())
                self._add_screen("library", screen)
                await screen.build(self)
                self._library_screen = screen
            return self._library_screen

    # The monitor

    async def _open_monitor(self) -> MonitorService:
        module = await asyncio.to_thread(importlib.import_module, "hugchat_tui.monitor.service")
        if self.monitor is None:
            self.monitor = module.MonitorService(self.services, self.tell, self._run_alarm)
            self.monitor.listen(self._runs_changed)
            self.monitor.start()
        return self.monitor

    def _run_alarm(self) -> None:
        """A run ended, failed or alerted."""
        if self.services.settings.monitor.bell == "on":
            self.bell()

    def _runs_changed(self, change: RunsChange) -> None:
        """How far a run is, in the chat's footer and in the terminal's title."""
        if change == "rows":
            self._show_work()
        if change == "rows" and self.monitor is not None and self.services.settings.monitor.title == "on":
            words = clean_line(self.monitor.headline)
            self._show_title(f"HugChat · {words}" if words else "")

    def _show_title(self, title: str) -> None:
        """Name the terminal's window; empty: as it was named before."""
        if title == self._title_shown or self._driver is None or self.is_headless:
            return
        if not self._title_shown:
            self._driver.write(_KEEP_TITLE)
        self._driver.write(f"\x1b]2;{title}\x07" if title else _OLD_TITLE)
        self._title_shown = title

    async def action_monitor(self) -> None:
        """Show the monitor; from there, the chat."""
        await self._toggle("monitor", "f9")

    async def show_monitor(self) -> MonitorScreen:
        screen = await self._build_monitor()
        await self.switch_mode("monitor")
        return screen

    async def _build_monitor(self) -> MonitorScreen:
        async with self._monitor_building:
            if self._monitor_screen is None:
                module = await asyncio.to_thread(importlib.import_module, "hugchat_tui.monitor.screen")
                screen: MonitorScreen = module.MonitorScreen(await self._open_monitor())
                self._add_screen("monitor", screen)
                await screen.build(self)
                self._monitor_screen = screen
            return self._monitor_screen

    # All of them

    async def _toggle(self, mode: str, key: str) -> None:
        """Show a mode; from there, the chat."""
        if isinstance(self.screen, BootScreen):
            self.screen.typed.append(events.Key(key, None))
        elif self.screen.is_modal:
            return
        elif self.current_mode == mode:
            await self.switch_mode("chat")
        else:
            await (self.show_library() if mode == "library" else self.show_monitor())

    async def run_listed_action(self, action: Action) -> None:
        """Run an action of the table where it belongs, which is shown first."""
        chat = self.chat
        owner: Any = None
        if action.scope == "app" or chat is None:
            owner = self
        elif action.scope in ("chat", "message"):
            await self.switch_mode("chat")
            owner = chat if action.scope == "chat" else chat.panes.active
        elif action.scope in ("machine", "hub", "downloads", "library"):
            owner = await (await self.show_library()).owner_of(action.scope)
        elif action.scope == "form":
            owner = self._open_form()
        else:
            owner = await (await self.show_monitor()).owner_of(action.scope)
        if owner is not None:
            await self.run_action(action.method, owner)

    def _open_form(self) -> Any:
        """The form that starts a run, while it is open."""
        from hugchat_tui.monitor.form import RunFormScreen

        if isinstance(self.screen, RunFormScreen):
            return self.screen
        self.notify("This belongs to the form that starts a run: f9, then n.")
        return None

    async def load_into_chat(self, reference: str, *, beside: bool = False) -> None:
        """Let a checkpoint answer in the active conversation, or `beside` the one that answers there."""
        await self.switch_mode("chat")
        if self.chat is None or self.chat.panes.active is None:
            return
        if beside:
            await self.chat.compare_with(reference)
        else:
            self.chat.panes.active.session.model.switch(reference)
            self.chat.panes.active.focus_prompt()

    async def compare_in_chat(self, base: str, reference: str) -> None:
        """Two checkpoints side by side in an empty conversation: both are asked what the person asks."""
        await self.switch_mode("chat")
        chat = self.chat
        if chat is None:
            return
        if chat.panes.active is None or not chat.panes.active.is_empty:
            await chat.action_new_conversation()
        await self.load_into_chat(base)
        await self.load_into_chat(reference, beside=True)

    def going_words(self) -> str:
        """What goes on without the app, to be said when it closes; empty when nothing does."""
        going = [clean_line(row.name) for row in self.monitor.rows if row.going] if self.monitor is not None else []
        if not going:
            return ""
        verb = "goes" if len(going) == 1 else "go"
        return f"{', '.join(going)} {verb} on training. f9 shows that at the next start; so does: hugchat sft ls"

    async def close_modes(self) -> None:
        """End what stands behind the modes. Training runs go on: they are processes of their own."""
        if self.monitor is not None:
            await self.monitor.close()
            self._show_title("")
        if self.library is not None:
            await self.library.close()
