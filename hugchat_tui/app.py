"""The application: services, themes, keymap and the modes."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events, work
from textual.app import SystemCommand
from textual.binding import BindingType
from textual.content import Content
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.theme import Theme

from hugchat_tui.actions import ACTIONS, Action, bindings
from hugchat_tui.boot import BootScreen
from hugchat_tui.common.clean import clean
from hugchat_tui.common.collector import settle
from hugchat_tui.common.crash import report
from hugchat_tui.common.driver import TerminalDriver
from hugchat_tui.common.line_filter import guard
from hugchat_tui.common.notices import NoticesApp
from hugchat_tui.conversations.errors import StoreClosedError, StoreError
from hugchat_tui.services import Services
from hugchat_tui.settings.schema import Settings
from hugchat_tui.theming import register_theme, register_themes

if TYPE_CHECKING:
    from hugchat_tui.chat.screen import ChatScreen
    from hugchat_tui.common.mode_screen import ModeScreen
    from hugchat_tui.library.screen import LibraryScreen
    from hugchat_tui.library.service import Change, LibraryService

QUIT_WITHIN_S = 2.0


class HugChatApp(NoticesApp):
    """Paints an outline, then opens the chat mode; everything slow begins after the first paint."""

    TITLE = "HugChat"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app")]

    def __init__(self, settings: Settings, problems: Iterable[str] = ()) -> None:
        super().__init__(driver_class=TerminalDriver)
        self.services = Services(settings, self._engine_notice)
        self._problems = list(problems)
        self._interrupted_at = 0.0
        self._theme_kept = ""
        self.chat: ChatScreen | None = None
        self.library: LibraryService | None = None
        self._library_screen: LibraryScreen | None = None
        self._library_started = False
        self._library_building = asyncio.Lock()
        guard(self)
        self._problems += register_theme(self, settings.appearance.theme)
        if settings.keymap:
            self.set_keymap(settings.keymap)

    def get_default_screen(self) -> Screen[None]:
        sidebar = {"shown": True, "hidden": False}.get(self.services.settings.appearance.sidebar)
        return BootScreen(sidebar)

    def on_mount(self) -> None:
        self._theme_kept = self.theme
        self.theme_changed_signal.subscribe(self, self._keep_theme)
        self.call_after_refresh(self._start)
        if not self.is_headless:
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self._told_to_end, number)

    @work(group="start", exit_on_error=True)
    async def _start(self) -> None:
        await self._open_chat()
        self._problems += await asyncio.to_thread(register_themes, self)
        for problem in self._problems:
            self.notify(problem, severity="warning", timeout=20)
        self.begin()

    async def _open_chat(self) -> None:
        """Replace the outline by the chat mode, and hand on what was typed meanwhile."""
        chat_screen = await asyncio.to_thread(_import_chat_screen)
        self.chat = chat = chat_screen(self.services.settings.model.default)
        self._add_screen("chat", chat)
        boot = self.screen
        await self.switch_mode("chat")
        if isinstance(boot, BootScreen):
            for event in boot.typed:
                self.post_message(copy_of(event))

    def _add_screen(self, mode: str, screen: ModeScreen) -> None:
        # Its styles are made with today's colours anyway. Told so, Textual does not make those of all screens anew.
        screen._css_update_count = self._css_update_count
        self.add_mode(mode, lambda: screen)

    def begin(self) -> None:
        """Open the store and warm the engine; again, after that failed."""
        self.services.begin()
        self._begin()

    @work(group="begin", exclusive=True)
    async def _begin(self) -> None:
        try:
            await self.services.ready()
            if self.chat is not None:
                await self.chat.started()
        except StoreError as error:
            self._without_store(error)
            await self._start_library()
            settle()
            return
        try:
            await asyncio.to_thread(_after_start)
        except OSError as error:
            self.notify(f"Nothing is logged: {error}.", severity="warning")
        from hugchat_tui.keymap import keymap_problems

        for problem in keymap_problems(self.services.settings.keymap):
            self.notify(problem, severity="warning", timeout=20)
        await self._start_library()
        settle()

    async def _start_library(self) -> None:
        """Take up what an earlier start left of the library and build its screen; f5 shows it and looks for more."""
        if self._library_started:
            return
        self._library_started = True
        try:
            await (await self._open_library()).start()
        except OSError as error:
            self.notify(f"Downloads cannot be taken up: {error}.", severity="warning")
        await self._build_library()

    async def _open_library(self) -> LibraryService:
        library_service = await asyncio.to_thread(_import_library_service)
        if self.library is None:
            self.library = library_service(self.services, self._engine_notice)
            self.library.listen(self._library_changed)
        return self.library

    def _library_changed(self, change: Change) -> None:
        """A word about downloads in the chat's footer."""
        from hugchat_tui.library.strips import transfer_word

        if self.chat is not None and self.library is not None and change != "rows":
            self.chat.key_bar.note = transfer_word(self.library.running)

    def _without_store(self, error: StoreError) -> None:
        """Without a place for it no question is asked: what the person types stays in the prompt."""
        view = self.chat.panes.active if self.chat is not None else None
        words = f"{error}\nYour next question tries again; what you type stays in the prompt."
        if view is not None and not view.session.branch:
            view.show_problem(words)
        else:
            self.notify(words, severity="error", timeout=20)

    def _engine_notice(self, text: str, severity: SeverityLevel = "information") -> None:
        self.notify(text, severity=severity)
        if self.chat is not None:
            self.chat.call_later(self.chat.mark)

    @work(group="settings")
    async def _keep_theme(self, theme: Theme) -> None:
        """Write the person's choice to the settings."""
        from hugchat_tui.settings import SettingsError

        if theme.name == self._theme_kept:
            return
        self._theme_kept = theme.name
        try:
            await self.services.save_setting("appearance.theme", theme.name)
        except (SettingsError, OSError) as error:
            self.notify(f"The theme is not kept for the next start. {error}", severity="warning")

    def _fatal_error(self) -> None:
        # Instead of Textual's traceback with every local variable, conversations and keys among them.
        error = sys.exception() or self._exception or RuntimeError("The app ended for an unknown reason.")
        self.panic(Text(report(error), overflow="fold"))

    # Actions of the whole application

    async def run_listed_action(self, action: Action) -> None:
        """Run an action of the table where it belongs, which is shown first: the app, the chat or the library."""
        chat = self.chat
        if action.scope == "app" or chat is None:
            await self.run_action(action.method, self)
        elif action.scope in ("chat", "message"):
            await self.switch_mode("chat")
            owner = chat if action.scope == "chat" else chat.panes.active
            if owner is not None:
                await self.run_action(action.method, owner)
        else:
            library = await self.show_library()
            await self.run_action(action.method, await library.owner_of(action.scope))

    async def action_library(self) -> None:
        """Show the library; from there, the chat."""
        if isinstance(self.screen, BootScreen):
            self.screen.typed.append(events.Key("f5", None))
        elif self.screen.is_modal:
            return
        elif self.current_mode == "library":
            await self.switch_mode("chat")
        else:
            await self.show_library()

    async def show_library(self) -> LibraryScreen:
        screen = await self._build_library()
        await self.switch_mode("library")
        return screen

    async def _build_library(self) -> LibraryScreen:
        async with self._library_building:
            if self._library_screen is None:
                library_screen, service = await asyncio.to_thread(_import_library_screen), await self._open_library()
                screen = library_screen(service)
                self._add_screen("library", screen)
                await screen.build(self)
                self._library_screen = screen
            return self._library_screen

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

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette lists the table of actions, nothing else."""
        for action in ACTIONS:
            if action.id != "app.palette":
                yield SystemCommand(action.title, action.help, partial(self.run_listed_action, action))

    def action_help(self) -> None:
        from hugchat_tui.common.help import HelpScreen

        self.push_screen(HelpScreen(self.screen))

    def action_choose_theme(self) -> None:
        self.search_themes()

    def action_interrupt(self) -> None:
        """Copy what is selected; else stop the reply; else clear the draft. Twice within two seconds quits."""
        now, before = time.monotonic(), self._interrupted_at
        self._interrupted_at = 0.0
        if self._copy_selection():
            return
        if now - before < QUIT_WITHIN_S:
            self.action_quit_safely()
            return
        self._interrupted_at = now
        view = self.chat.panes.active if self.chat is not None and self.current_mode == "chat" else None
        if view is not None and view.session.stop():
            return
        if view is not None and view.prompt.text:
            view.prompt.clear_draft()
            self.notify("Cleared; ^z in the prompt brings it back. ^c again quits.", timeout=QUIT_WITHIN_S)
        else:
            self.notify("Press ^c again to quit.", timeout=QUIT_WITHIN_S)

    def _copy_selection(self) -> bool:
        focused = self.focused
        selected = getattr(focused, "selected_text", "") or self.screen.get_selected_text()
        if not selected:
            return False
        self.copy_to_clipboard(selected)
        self.screen.clear_selection()
        self.notify("Copied.", timeout=2)
        return True

    @work(group="quit", exclusive=True)
    async def action_quit_safely(self) -> None:
        """Leave; asks first while replies are being written, while something is downloaded, or could be lost."""
        from hugchat_tui.common.dialogs import ChoiceDialog
        from hugchat_tui.quitting import downloads_go_on, drafts_are_kept, replies_may_end

        if isinstance(self.screen, ChoiceDialog):
            self.screen.dismiss(None)
            return
        if not await replies_may_end(self):
            return
        go_on = await downloads_go_on(self)
        if go_on is None or not await drafts_are_kept(self):
            return
        try:
            await self.close_services(downloads_go_on=go_on)
        except StoreError as error:
            self.exit(message=Content(clean(str(error))), return_code=1)
        else:
            self.exit()

    @work(group="quit", exclusive=True)
    async def _told_to_end(self, number: signal.Signals) -> None:
        """By another program, or because the terminal is gone: nobody is there to be asked, nothing may be lost."""
        try:
            sessions = self.chat.sessions if self.chat is not None else []
            for session in sessions:
                session.stop()
            for session in sessions:
                await session.wait()
            await self.keep_drafts()
            await self.close_services()
        except StoreError as error:
            self.log.error(error)  # the database is locked or gone, and nobody is there to be told
        finally:
            self.exit(return_code=128 + number)

    async def close_services(self, *, downloads_go_on: bool = False) -> None:
        """End all that is not a widget. Raises StoreError when the store's last words could not be written."""
        if self.library is not None:
            await self.library.close()
        await self.services.close(downloads_go_on=downloads_go_on)

    async def keep_drafts(self) -> None:
        """Store what is in the prompts. Raises StoreError."""
        for view in self.chat.panes.tabs if self.chat is not None else []:
            if self.services.started:
                await view.keep_draft()
                await view.session.discard_if_empty()
            elif view.prompt.text:
                raise StoreClosedError("The conversations could not be opened.")


def _import_chat_screen() -> type[ChatScreen]:
    from hugchat_tui.chat.screen import ChatScreen

    return ChatScreen


def _import_library_service() -> type[LibraryService]:
    from hugchat_tui.library.service import LibraryService

    return LibraryService


def _import_library_screen() -> type[LibraryScreen]:
    from hugchat_tui.library.screen import LibraryScreen

    return LibraryScreen


def _after_start() -> None:
    """For a thread: imports that would hold up the event loop when they are needed, and the log."""
    from engine.checkpoints.paths import data_dir, logs_dir
    from hugchat_tui.chat.transcript import warm_up
    from hugchat_tui.keymap import import_all
    from hugchat_tui.logs import start_logging

    start_logging(logs_dir(data_dir()))
    warm_up()
    import_all()


def copy_of(event: events.Key | events.Paste) -> events.Key | events.Paste:
    """The same input once more: an event that was delivered is not delivered again."""
    return events.Paste(event.text) if isinstance(event, events.Paste) else events.Key(event.key, event.character)
