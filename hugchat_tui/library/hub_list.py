"""What the Hub has: the catalogue while nothing is searched for, else the results of a search."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import fit, parameter_count, shorten, shorten_middle
from hugchat_tui.common.line_list import LineList
from hugchat_tui.common.tones import ACCENT, BAD, FAINT, GOOD, MUTED, WARN
from hugchat_tui.common.wrapping import draw_words
from hugchat_tui.library.at_once import at_once
from hugchat_tui.library.columns import age

if TYPE_CHECKING:
    from engine.checkpoints.hub_queries.catalogue import Entry
    from engine.checkpoints.hub_queries.messages import HubModel

_NARROWEST_ID, _WIDEST_ID = 30, 40
_ABOUT = 34  # cells that the words of a catalogue's entry want at least


@dataclass(frozen=True, slots=True)
class HubRow:
    """One line: a repository, or with id "" a heading. Texts are clean but for the id.

    counts: parameters, downloads, likes, how long ago it was updated. about: what it is, of the catalogue's entries.
    """

    id: str
    name: str
    cells: tuple[str, ...] = ()
    gated: bool = False
    about: str = ""


HEAD = HubRow("", "")
"""The titles above the results."""


@dataclass(frozen=True, slots=True)
class _Column:
    """weight: the one that matters least goes first on a narrow screen. sort: the order of results that it shows."""

    title: str
    width: int
    weight: int
    right: bool = True
    sort: str = ""


_COLUMNS = (
    _Column("params", 6, 5),
    _Column("downloads", 9, 4, sort="downloads"),
    _Column("likes", 6, 1, sort="likes"),
    _Column("updated", 7, 2, sort="updated"),
    _Column("licence", 12, 3, right=False),
)


def result_row(model: HubModel) -> HubRow:
    """A result of a search."""
    cells = (
        parameter_count(model.parameters),
        parameter_count(model.downloads) or "0",
        parameter_count(model.likes) or "0",
        age(max(0.0, time.time() - model.updated)) if model.updated else "",
        clean_line(model.licence),
    )
    return HubRow(model.id, clean_line(model.id), cells, bool(model.gated))


def entry_row(entry: Entry) -> HubRow:
    """An entry of the catalogue."""
    cells = (parameter_count(entry.parameters), "", "", "", entry.licence)
    return HubRow(entry.id, entry.id, cells, entry.gated, f"{entry.about} {entry.problem}".strip())


class HubList(LineList, inherit_bindings=False):
    """local: ids of repositories that are on this machine."""

    BINDINGS: ClassVar[list[BindingType]] = at_once(LineList.BINDINGS)

    DEFAULT_CSS = """
    HubList { height: 1fr; }
    """

    jump_label = "t"
    help_title = "Hub"

    def __init__(self) -> None:
        super().__init__()
        self.words: tuple[str, ...] = ("Asking the Hub…",)
        self.failed = False
        self.sort = ""  # the order of the results
        self._rows: Sequence[HubRow] = ()
        self._local: Collection[str] = frozenset()

    @property
    def row(self) -> HubRow | None:
        """The one under the cursor."""
        return self._rows[self.cursor] if 0 <= self.cursor < len(self._rows) else None

    @property
    def chosen(self) -> str:
        """The id under the cursor, "" when there is none."""
        return self.row.id if self.row is not None else ""

    def set_rows(self, rows: Sequence[HubRow], *, cursor: int = 0) -> None:
        self._rows = rows
        self.failed = False
        self.rows_changed(cursor)

    def set_words(self, *words: str, failed: bool = False) -> None:
        """Say something instead of rows."""
        self._rows = ()
        self.words, self.failed = words, failed
        self.rows_changed()

    def set_local(self, ids: Collection[str]) -> None:
        self._local = ids
        self.refresh()

    def row_count(self) -> int:
        return len(self._rows)

    def can_choose(self, row: int) -> bool:
        return bool(self._rows[row].id)

    def draw_row(self, row: int, line: int, width: int) -> Content:
        found = self._rows[row]
        if found is HEAD:
            return _titles(width, self.sort)
        if not found.id:
            return Content.styled(shorten(f" {found.name}", width), f"bold {ACCENT}")
        here = ("✓", GOOD) if found.id in self._local else (" ", "")
        if found.about:
            return self._entry(found, here, width)
        columns = shown_columns(width, self.sort)
        room = id_width(width, columns)
        gated = (" gated", WARN) if found.gated else ("", "")
        room -= len(gated[0])
        name = fit(shorten_middle(found.name, room), room)
        cells = "".join(_cell(index, found.cells[index]) for index in columns)
        return Content.assemble(" ", here, " ", (name, "$foreground"), gated, (cells, MUTED))

    @staticmethod
    def _entry(found: HubRow, here: tuple[str, str], width: int) -> Content:
        """A line of the catalogue: what it is stands where results have their numbers."""
        room = max(_NARROWEST_ID, min(_WIDEST_ID, width - _ABOUT - 12))
        params = found.cells[0].rjust(6)
        about = shorten(found.about, max(0, width - room - 13))
        return Content.assemble(
            " ",
            here,
            " ",
            (fit(shorten_middle(found.name, room), room), "$foreground"),
            (f"  {params}  ", MUTED),
            (about, MUTED),
        )

    def draw_empty(self, line: int, width: int) -> Content:
        return draw_words(self.words, line, width, BAD if self.failed else MUTED)


def shown_columns(width: int, sort: str = "") -> list[int]:
    """Indices of the columns there is room for beside the id; the one that shows the order goes last of all."""
    shown = list(range(len(_COLUMNS)))
    while shown and id_width(width, shown) < _NARROWEST_ID:
        shown.remove(
            min(shown, key=lambda index: (bool(sort) and _COLUMNS[index].sort == sort, _COLUMNS[index].weight))
        )
    return shown


def id_width(width: int, shown: Sequence[int]) -> int:
    return width - 3 - sum(_COLUMNS[index].width + 2 for index in shown)


def _titles(width: int, sort: str) -> Content:
    columns = shown_columns(width, sort)
    titles = [(_cell(i, _COLUMNS[i].title), ACCENT if _COLUMNS[i].sort == sort else FAINT) for i in columns]
    return Content.assemble(("   " + fit("repository", id_width(width, columns)), FAINT), *titles)


def _cell(index: int, text: str) -> str:
    column = _COLUMNS[index]
    text = shorten(text, column.width)
    return "  " + (text.rjust(column.width) if column.right else fit(text, column.width))
