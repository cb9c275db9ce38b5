"""The application: services, themes, keymap, and what holds for all modes."""

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
from textual.screen import Screen
from textual.theme import Theme

from hugchat_tui.actions import ACTIONS, bindings
from hugchat_tui.boot import BootScreen
from hugchat_tui.common.clean import clean
from hugchat_tui.common.collector import settle
from hugchat_tui.common.crash import report
from hugchat_tui.common.line_filter import guard
from hugchat_tui.conversations.errors import StoreClosedError, StoreError
from hugchat_tui.modes import ModesApp
from hugchat_tui.services import Services
from hugchat_tui.settings.schema import Settings
from hugchat_tui.theming import register_theme, register_themes

if TYPE_CHECKING:
    from hugchat_tui.chat.screen import ChatScreen

QUIT_WITHIN_S = 2.0
_SCOPES = {
    "chat": ("chat", "message"),
    "library": ("library", "machine", "hub", "downloads"),
    "monitor": ("monitor", "runs", "charts"),
}


class HugChatApp(ModesApp):
    """Paints an outline, then opens the chat mode; everything slow begins after the first paint."""

    TITLE = "HugChat"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app")]

    def __init__(self, settings: Settings, problems: Iterable[str] = ()) -> None:
        super().__init__()
        self.services = Services(settings, self.tell)
        self._problems = list(problems)
        self._interrupted_at = 0.0
        self._theme_kept = ""
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
            await self.start_others()
            settle()
            return
        try:
            await asyncio.to_thread(_after_start)
        except OSError as error:
            self.notify(f"Nothing is logged: {error}.", severity="warning")
        from hugchat_tui.keymap import keymap_problems

        for problem in keymap_problems(self.services.settings.keymap):
            self.notify(problem, severity="warning", timeout=20)
        await self.start_others()
        settle()

    def _without_store(self, error: StoreError) -> None:
        """Without a place for it no question is asked: what the person types stays in the prompt."""
        view = self.chat.panes.active if self.chat is not None else None
        words = f"{error}\nYour next question tries again; what you type stays in the prompt."
        if view is not None and not view.session.branch:
            view.show_problem(words)
        else:
            self.notify(words, severity="error", timeout=20)

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

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette lists the table of actions, nothing else; first those of the mode that is shown."""
        here = _SCOPES.get(self.current_mode, ())
        for action in sorted(ACTIONS, key=lambda action: action.scope not in here):
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
            self.exit(message=Content(self.going_words()) or None)

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
        await self.close_modes()
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
