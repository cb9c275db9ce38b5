"""The real app at its library: real scans, downloads, trash and jobs, and workers whose sessions are scripted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hugchat_tui.chat.screen import ChatScreen
from hugchat_tui.common.dialogs import ChoiceDialog, ConfirmDialog, TextDialog, _Choices
from hugchat_tui.library.hub_view import HubView
from hugchat_tui.library.machine_view import MachineView
from hugchat_tui.library.screen import LibraryScreen
from hugchat_tui.library.service import LibraryService
from hugchat_tui.library.table import CheckpointTable
from hugchat_tui.library.transfer_list import TransferList
from hugchat_tui.library.work import Work
from hugchat_tui.settings.schema import ModelSettings, Settings
from tests.chat.driving import Chat, Home, chat


class Library(Chat):
    """What a person sees and does there."""

    @property
    def service(self) -> LibraryService:
        assert self.app.library is not None
        return self.app.library

    @property
    def here(self) -> LibraryScreen:
        screen = self.app.screen_stack[0]
        assert isinstance(screen, LibraryScreen)
        return screen

    @property
    def in_library(self) -> bool:
        return isinstance(self.app.screen, LibraryScreen)

    @property
    def in_chat(self) -> bool:
        return isinstance(self.app.screen, ChatScreen)

    @property
    def machine(self) -> MachineView:
        return self.here.machine

    @property
    def table(self) -> CheckpointTable:
        return self.here.machine.table

    @property
    def hub(self) -> HubView:
        return self.here.hub

    @property
    def transfers(self) -> TransferList:
        return self.here.downloads.transfers

    async def scanned(self) -> None:
        """Wait until what is on the disk is on the screen."""
        service = self.service
        await self.until(lambda: service._scanned and not service.scanning, "the scan")
        await self.until(lambda: not self.here._drawing.is_set and not self.here._changes, "it to be drawn")

    def names(self) -> list[str]:
        """The names in the table, from the top."""
        return [listed.name for listed, _ in self.table._shown]

    async def to(self, name: str) -> None:
        """Put the cursor on a row, by keys."""
        await self.press("home")
        for _ in range(self.table.count):
            row = self.table.listed
            if row is not None and row.name == name:
                return
            await self.press("down")
        raise AssertionError(f"there is no {name} among {self.names()}")

    def details(self) -> str:
        """Every row of the details."""
        return "\n".join(strip.text.rstrip() for strip in self.here.view.details.strips())

    async def worked(self, verb: str) -> Work:
        """Wait until the newest job of a kind has ended."""

        def ended() -> bool:
            jobs = [work for work in self.service.jobs.every if work.verb == verb]
            return bool(jobs) and jobs[-1].state != "running"

        await self.until(ended, verb)
        return next(work for work in reversed(self.service.jobs.every) if work.verb == verb)

    def problem(self) -> str:
        """What the dialog says is wrong with what was typed."""
        screen = self.app.screen
        return str(screen._problem.render()) if isinstance(screen, TextDialog) and screen._problem.display else ""

    def question(self) -> str:
        """Title and words of the question that is asked, on one line; empty when none is."""
        screen = self.app.screen
        if not isinstance(screen, ConfirmDialog | ChoiceDialog | TextDialog):
            return ""
        body = [str(each.render()) for each in screen.query(".dialog-body")]
        choices = [label for each in screen.query(_Choices) for _, label in each.choices]
        return " ".join(" ".join([screen._heading, *body, *choices]).split())


@asynccontextmanager
async def library(
    home: Home,
    *,
    size: tuple[int, int] = (140, 40),
    settings: Settings | None = None,
    folders: bool = True,
    opened: bool = True,
    loaded: bool = False,
) -> AsyncIterator[Library]:
    """Start the app and open its library; quit in the end. loaded: wait until the chat's checkpoint is loaded."""
    if settings is None:
        listed = (str(home.models),) if folders else ()
        settings = Settings(model=ModelSettings(default=home.model("alpha"), folders=listed))
    async with chat(home, size=size, settings=settings, loaded=loaded) as it:
        at = Library(it.home, it.app, it.pilot)
        await at.until(lambda: it.app.library is not None and it.app.library.ready, "the library's service")
        if opened:
            await at.press("f5")
            await at.scanned()
        yield at


def cache_of(home: Home) -> Path:
    return home.models.parent / "huggingface" / "hub"
