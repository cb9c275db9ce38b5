"""The checkpoints of this machine: the table, its filter, and the details of the one under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input

from engine.checkpoints.library.rows import Row
from hugchat_tui.actions import bindings
from hugchat_tui.common.alarm import Alarm
from hugchat_tui.common.clean import clean
from hugchat_tui.common.format import counted
from hugchat_tui.common.line_list import LineList
from hugchat_tui.library.details_page import DetailsPage
from hugchat_tui.library.filter_input import FilterInput
from hugchat_tui.library.machine_actions import MachineActions
from hugchat_tui.library.note_line import NoteLine
from hugchat_tui.library.sections import row_sections
from hugchat_tui.library.table import CheckpointTable, TableHead

if TYPE_CHECKING:
    from engine.checkpoints.library.details import Details
    from hugchat_tui.library.service import LibraryService

_DETAILS_DELAY_S = 0.12
_OF_A_ROW = frozenset({"library.load", "library.compare", "library.delete", "library.verify", "library.mark"})
LOCKS = ".locks"  # of the cache's other programs; it is listed, and nothing can be done to it
_EMPTY = (
    "There are no checkpoints on this machine yet.",
    "",
    "2 shows the Hub, with small models to begin with.",
    "a adds a folder in which your own checkpoints lie.",
)


class MachineView(MachineActions):
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("machine")]
    help_title = "Checkpoint"

    DEFAULT_CSS = """
    MachineView FilterInput { display: none; }
    MachineView FilterInput.-used { display: block; }
    """

    def __init__(self, service: LibraryService) -> None:
        super().__init__()
        self.service = service
        self.table = CheckpointTable()
        self._head = TableHead(self.table)
        self._filter = FilterInput(self.table, "words, kind:adapter, size>1gb, params<3b")
        self._note = NoteLine()
        self._reading = Alarm(self, self._read_details)
        self._details: tuple[str, Details] | None = None  # of a row's key
        self._current: Sequence[str] = ()
        self._placed = False  # the cursor went to the checkpoint that answers
        self._labels: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        with Vertical():
            yield self._filter
            yield self._head
            yield self.table
            yield self._note
        yield self.details

    def on_mount(self) -> None:
        self.rows_changed()

    @property
    def listing(self) -> LineList:
        return self.table

    def set_current(self, references: Sequence[str]) -> None:
        """Mark the checkpoints that answer in the chat's panes; the first time, the cursor goes to the first."""
        self._current = references
        self._place()

    # What the service says

    def rows_changed(self) -> None:
        """Rows, estimates or the progress of the search for them are others now."""
        service = self.service
        if service.problem:
            self.table.words, self.table.failed = ("Looking for checkpoints failed:", clean(service.problem)), True
        else:
            self.table.words, self.table.failed = ("Looking for checkpoints…",) if service.scanning else _EMPTY, False
        self.table.set_rows(service.rows, service.fits)
        self._place()
        self._show_note()
        self._show_details()

    def work_changed(self) -> None:
        """A long job on one of the rows began, moved or ended."""
        self._show_details()

    def _place(self) -> None:
        places = {name: row.key for row in reversed(self.service.rows) for name in (row.alias, row.name, row.key)}
        current = [places[name] for name in self._current if name in places]
        self.table.set_current(frozenset(current))
        if current and not self._placed:
            self._placed = self.table.go_to(current[0])

    def _show_note(self) -> None:
        """What the table leaves out, or what went wrong while it still shows what was found before."""
        table, parts = self.table, []
        if table.kind:
            parts.append(f"only {table.kind} · f shows the next kind")
        if table.query_text or table.kind:
            parts.append(f"{table.count:,} of {len(self.service.rows):,}")
        if table.marked:
            parts.append(f"{counted(len(table.marked), 'row')} marked · d deletes")
        if self.service.problem and self.service.rows:
            parts.append(clean(f"{self.service.problem} R looks again."))
        self._note.show(" · ".join(parts))

    # The filter

    def find(self) -> None:
        self.remove_class("-details")
        self._filter.add_class("-used")
        self.screen.set_focus(self._filter)

    @on(Input.Changed)
    def _filter_changed(self) -> None:
        self.table.filter(self._filter.value)

    @on(FilterInput.Left)
    def _filter_left(self) -> None:
        self.leave()

    @on(Input.Submitted)
    def _filter_taken(self) -> None:
        self.focus_list()
        self._filter.set_class(bool(self._filter.value), "-used")

    def leave(self) -> bool:
        if super().leave():
            return True
        if self.table.marked and not self._filter.has_focus:
            self.table.unmark()
            return True
        if self._filter.has_focus or self._filter.value or self.table.kind:
            self._filter.value = ""
            self._filter.remove_class("-used")
            self.table.filter_kind("")
            self.focus_list()
            return True
        return False

    # The details

    @on(LineList.Moved)
    @on(DetailsPage.Widened)
    def _moved(self) -> None:
        self._show_details()

    @on(CheckpointTable.Arranged)
    def _arranged(self) -> None:
        self._head.refresh()
        self._show_note()

    def _show_details(self) -> None:
        """Show what the row itself says now; the rest is read when the cursor has come to rest."""
        listed = self.table.listed
        self._reading.cancel()
        self._show_labels()
        if listed is None:
            self.details.show("", [])
            return
        read = self._details[1] if self._details is not None and self._details[0] == listed.row.key else None
        work = self.service.jobs.on(listed.row.key)
        self.details.show(listed.row.key, row_sections(listed, read, work, self.details.measure))
        if read is None:
            self._reading.set(_DETAILS_DELAY_S)

    def _show_labels(self) -> None:
        labels = tuple(self.footer_label(binding) for binding in bindings("machine") if binding.show)
        if labels != self._labels:
            self._labels = labels
            self.refresh_bindings()

    def footer_label(self, binding: Binding) -> str:
        """What the key would do with the row under the cursor."""
        listed = self.table.listed
        if listed is None and binding.id in _OF_A_ROW:
            return ""
        if listed is None or (listed.usable and not self.table.marked):
            return binding.description
        fetches = listed.row.kind == "unfinished" and listed.row.repository.startswith("models--")
        chat = binding.description if listed.usable else "Fetch" if fetches else ""
        stays = not self.table.marked and listed.row.kind == "other" and listed.name == LOCKS
        label = {
            "library.load": chat,
            "library.compare": binding.description if listed.usable else "",
            "library.delete": "" if stays else "Delete marked" if self.table.marked else binding.description,
        }
        return label.get(binding.id or "", binding.description)

    def _read_details(self) -> None:
        if (row := self.table.row) is not None:
            self.run_worker(self._read(row), group="details", exclusive=True)

    async def _read(self, row: Row) -> None:
        read = await self.service.details(row)
        if self.table.row is not None and self.table.row.key == row.key:
            self._details = row.key, read
            self._show_details()
