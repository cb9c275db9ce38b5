"""Downloads and long jobs: how far they are, and pausing, resuming and ending them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

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
from hugchat_tui.library.transfer_list import TransferList, headline, share, speed, told
from hugchat_tui.library.work import Work

if TYPE_CHECKING:
    from hugchat_tui.library.service import LibraryService

_PAUSE_WORDS = {"paused": "Go on", "failed": "Retry", "done": ""}


class DownloadsView(ListView):
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("downloads")]
    help_title = "Download"

    DEFAULT_CSS = """
    DownloadsView .why { height: auto; max-height: 50%; padding: 0 3; background: $foreground 6%; display: none; }
    .-wide DownloadsView .why { display: none; }
    """

    def __init__(self, service: LibraryService) -> None:
        super().__init__()
        self.service = service
        self.transfers = TransferList()
        self._why = Static(classes="why")  # where there are no details beside the list, whose rows are two lines
        self._labels: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        with Vertical():
            yield self.transfers
            yield self._why
        yield self.details

    @property
    def listing(self) -> LineList:
        return self.transfers

    def on_mount(self) -> None:
        self.transfers_changed()

    def transfers_changed(self) -> None:
        if self.is_attached:
            self.transfers.set_transfers(self._every())
            self._show_details()

    @on(LineList.Moved)
    @on(DetailsPage.Widened)
    def _show_details(self) -> None:
        transfer = self.transfers.transfer
        self._show_why(transfer)
        self._show_labels()
        if isinstance(transfer, Status):
            self.details.show(transfer.id, download_sections(transfer, self.details.measure))
        elif transfer is not None:
            self.details.show(f"{transfer.verb} {transfer.about}", work_sections(transfer, self.details.measure))
        else:
            self.details.show("", [])

    def _show_why(self, transfer: Status | Work | None) -> None:
        """The whole of what the row under the cursor has no room for."""
        words = told(transfer) if transfer is not None else ""
        self._why.display = cell_len(words) > self.transfers.size.width - 4
        if self._why.display:
            self._why.update(Content(words))

    def _show_labels(self) -> None:
        labels = tuple(self.footer_label(binding) for binding in bindings("downloads"))
        if labels != self._labels:
            self._labels = labels
            self.refresh_bindings()

    def footer_label(self, binding: Binding) -> str:
        """What the key would do with the row under the cursor."""
        transfer = self._now()
        rests = transfer is None or transfer.state in AT_REST or transfer.state == "stopped"
        download = isinstance(transfer, Status)
        result = download or (isinstance(transfer, Work) and bool(transfer.result))
        label = {
            "library.open_download": "Chat" if transfer and transfer.state == "done" and result else "",
            "library.pause": _PAUSE_WORDS.get(transfer.state, "Pause") if transfer and download else "",
            "library.cancel": "" if transfer is None else "Remove" if rests else "Cancel" if download else "Stop",
            "library.detach": binding.description if download and not rests else "",
            "library.clear": binding.description if any(map(_has_ended, self._every())) else "",
        }
        return label.get(binding.id or "", binding.description)

    def _every(self) -> list[Status | Work]:
        return [*self.service.statuses(), *self.service.jobs.every]

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
        if transfer is None:
            self.app.notify("There is nothing here yet. 2 shows the Hub.")
        elif transfer.state != "done":
            words = {"failed": "It failed", "paused": "It is paused", "stopped": "It was stopped"}.get(transfer.state)
            again = "; p lets it go on." if isinstance(transfer, Status) else "."
            self.app.notify(f"{words}{again}" if words else "It can be loaded when it is done.", severity="warning")
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
        if transfer is not None and transfer.state not in AT_REST:
            came = f"{file_size(transfer.done)} came so far" if transfer.done else "Nothing of it came so far"
            body = Content(f"{came}. What came is deleted; pausing would keep it.")
            title = f"Cancel {clean_line(transfer.reference)}?"
            dialog = ConfirmDialog(title, body, confirm="Cancel it", cancel="Keep", danger=True)
            if not await self.app.push_screen_wait(dialog):
                return
        elif transfer is not None and transfer.state != "done" and transfer.done:
            body = Content(f"{file_size(transfer.done)} of it came and would be deleted. With p it goes on from there.")
            title = f"Remove {clean_line(transfer.reference)} from the list?"
            dialog = ConfirmDialog(title, body, confirm="Remove", cancel="Keep", danger=True)
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
    async def action_clear_ended(self) -> None:
        """Take off the list what has ended, but for what could go on from where it is."""
        with telling(self):
            for transfer in self._every():
                if isinstance(transfer, Work) and _has_ended(transfer):
                    self.service.jobs.stop(transfer)
                elif _has_ended(transfer):
                    await self._take_off(transfer)
            kept = sum(status.state == "failed" for status in self.service.statuses())
            if kept:
                self.app.notify(f"{counted(kept, 'failed download')} stayed, for the sake of what came; x removes it.")

    @background("open")
    async def action_detach(self) -> None:
        status = self._download()
        if status is None:
            return
        if status.state in AT_REST:
            done = status.state == "done"
            self.app.notify("It is done already." if done else "It is not running. p lets it go on.")
            return
        with telling(self):
            await self.service.detach(status.id)
            self.app.notify(f"{status.reference} goes on when the app closes. p pauses it.")


def _has_ended(transfer: Status | Work) -> bool:
    """Whether it can leave the list and nothing is lost."""
    if isinstance(transfer, Work):
        return transfer.state != "running"
    return transfer.state == "done" or (transfer.state == "failed" and not transfer.done)


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
