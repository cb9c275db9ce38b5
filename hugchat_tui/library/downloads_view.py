"""Downloads and long jobs: how far they are, and pausing, resuming and ending them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content

from engine.checkpoints.downloads.status import AT_REST, Status
from hugchat_tui.actions import bindings
from hugchat_tui.chat.background import background
from hugchat_tui.chat.transcript import Entry
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import counted, duration, file_size
from hugchat_tui.common.line_list import LineList
from hugchat_tui.library.details_page import DetailsPage
from hugchat_tui.library.list_view import ListView
from hugchat_tui.library.sections import facts, from_home, section
from hugchat_tui.library.telling import telling
from hugchat_tui.library.transfer_list import TransferList, headline, share, speed
from hugchat_tui.library.work import Work

if TYPE_CHECKING:
    from hugchat_tui.library.service import LibraryService


class DownloadsView(ListView):
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("downloads")]
    help_title = "Download"

    def __init__(self, service: LibraryService) -> None:
        super().__init__()
        self.service = service
        self.transfers = TransferList()

    def compose(self) -> ComposeResult:
        with Vertical():
            yield self.transfers
        yield self.details

    @property
    def listing(self) -> LineList:
        return self.transfers

    def on_mount(self) -> None:
        self.transfers_changed()

    def transfers_changed(self) -> None:
        if self.is_attached:
            self.transfers.set_transfers([*self.service.statuses(), *self.service.jobs.every])
            self._show_details()

    @on(LineList.Moved)
    @on(DetailsPage.Widened)
    def _show_details(self) -> None:
        transfer = self.transfers.transfer
        if isinstance(transfer, Status):
            self.details.show(transfer.id, download_sections(transfer, self.details.measure))
        elif transfer is not None:
            self.details.show(f"{transfer.verb} {transfer.about}", work_sections(transfer, self.details.measure))
        else:
            self.details.show("", [])

    # What the person does

    def _now(self) -> Status | Work | None:
        """What is under the cursor, as it is now: the list may be drawn a moment later."""
        transfer = self.transfers.transfer
        if isinstance(transfer, Status):
            return next((status for status in self.service.statuses() if status.id == transfer.id), None)
        return transfer

    def _download(self) -> Status | None:
        """The download under the cursor; says so when it is none."""
        transfer = self._now()
        if isinstance(transfer, Status):
            return transfer
        self.app.notify("Only downloads can do that." if transfer is not None else "Nothing is being downloaded.")
        return None

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_open_download(self) -> None:
        """Load what was fetched, or made, into the chat."""
        transfer = self._now()
        if transfer is None or transfer.state != "done":
            self.app.notify("It can be loaded when it is done.")
        elif isinstance(transfer, Status):
            await self.app.load_into_chat(transfer.reference)
        elif transfer.result:
            await self.app.load_into_chat(transfer.result)

    @background("open")
    async def action_pause(self) -> None:
        status = self._download()
        if status is None:
            return
        with telling(self):
            if status.state == "done":
                self.app.notify("It is done already.")
            elif status.state in AT_REST:
                await self.service.resume(status.id)
            else:
                await self.service.pause(status.id)

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_cancel(self) -> None:
        from hugchat_tui.common.dialogs import ConfirmDialog

        transfer = self._now()
        if isinstance(transfer, Work):
            self.service.jobs.stop(transfer)
            return
        if transfer is not None and transfer.state != "done":
            came = f"{file_size(transfer.done)} came so far" if transfer.done else "Nothing of it came so far"
            body = Content(f"{came}. What came is deleted; pausing would keep it.")
            title = f"Cancel {clean_line(transfer.reference)}?"
            dialog = ConfirmDialog(title, body, confirm="Cancel it", cancel="Keep", danger=True)
            if not await self.app.push_screen_wait(dialog):
                return
        with telling(self):
            await self._take_off(self._now())

    async def _take_off(self, status: Status | Work | None) -> None:
        """Cancel a download, unless it came to its end while the person was asked: then it only leaves the list."""
        if isinstance(status, Status) and status.state == "done":
            await self.service.forget(status.id)
        elif isinstance(status, Status):
            await self.service.cancel(status.id)

    @background("open")
    async def action_detach(self) -> None:
        status = self._download()
        if status is None:
            return
        if status.state in AT_REST:
            self.app.notify("It is not running. p lets it go on.")
            return
        with telling(self):
            await self.service.detach(status.id)
            self.app.notify(f"{status.reference} goes on when the app closes. p pauses it.")


def download_sections(status: Status, width: int) -> list[Entry]:
    """A download: what is known of it, what stands in its way, and its files."""
    text = facts(
        (
            ("state", status.state),
            ("fetched", f"{file_size(status.done)} of {file_size(status.total)}" if status.total else ""),
            ("share", share(status.done, status.total)),
            ("rate", speed(status.rate)),
            ("time left", duration(status.left_s) if status.left_s is not None else ""),
            ("revision", status.revision),
            ("commit", status.commit[:12]),
            ("into", from_home(status.path or status.cache_dir)),
            ("after quitting", "it goes on" if status.detached else ""),
        ),
        width,
    )
    found = [section(1, "user", status.reference, text)]
    if status.message:
        why = f"{status.message}\n{status.hint}".rstrip()
        found.append(section(2, "error" if status.state == "failed" else "notice", "Why", why))
    if status.files:
        lines = [
            f"{file_size(file.size):>8} {share(file.done, file.size):>6}  {file.path}"
            + (f"  {file.state}" if file.state not in ("done", "queued") else "")
            for file in status.files
        ]
        found.append(section(3, "system", "Files", "\n".join(lines), counted(len(status.files), "file")))
    return found


def work_sections(work: Work, width: int) -> list[Entry]:
    """A long job."""
    text = facts(
        (
            ("state", work.state),
            ("stage", work.stage if work.state == "running" else ""),
            ("done", f"{file_size(work.done)} of {file_size(work.total)}" if work.total else ""),
            ("began", f"{duration(time.monotonic() - work.began)} ago" if work.state == "running" else ""),
            ("result", from_home(work.result)),
        ),
        width,
    )
    found = [section(1, "user", headline(work), text)]
    if work.message:
        found.append(section(2, "error" if work.state == "failed" else "notice", "How it ended", work.message))
    return found
