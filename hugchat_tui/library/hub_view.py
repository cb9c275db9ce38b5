"""The Hub: search as you type, what a repository holds before anything is fetched, and fetching it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, get_args

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import Input

from engine.checkpoints.hub_queries.messages import HubModel, HubRepository, SearchKind, SearchSort
from engine.errors import EngineError
from hugchat_tui.actions import bindings
from hugchat_tui.chat.transcript import Entry
from hugchat_tui.common.alarm import Alarm
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import counted
from hugchat_tui.common.line_list import LineList
from hugchat_tui.library.details_page import DetailsPage
from hugchat_tui.library.filter_input import FilterInput
from hugchat_tui.library.hub_list import HEAD, HubList, HubRow, entry_row, result_row
from hugchat_tui.library.hub_sections import failure_section, repository_sections, waiting_sections
from hugchat_tui.library.note_line import NoteLine
from hugchat_tui.library.pulling import Pulling

if TYPE_CHECKING:
    from hugchat_tui.library.service import LibraryService

SEARCH_DELAY_S = 0.25
_INFO_DELAY_S = 0.25
_PAGE_AHEAD = 10  # rows before the end at which the next page is asked for
_KEPT = 64  # descriptions of repositories
_SORTS: tuple[SearchSort, ...] = get_args(SearchSort)
_KINDS: tuple[SearchKind, ...] = get_args(SearchKind)
_KIND_WORDS = {"models": "models", "gguf": "GGUF files", "adapters": "adapters", "all": "everything"}


class HubView(Pulling):
    """Answers to older questions are dropped: each new one cancels the one before."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("hub")]
    help_title = "Repository"

    def __init__(self, service: LibraryService) -> None:
        super().__init__()
        self.service = service
        self.hub_list = HubList()
        self._search = FilterInput(self.hub_list, "/ search the Hub")
        self._note = NoteLine()
        self._sort = _SORTS[0]
        self._kind = _KINDS[0]
        self._results: list[HubModel] = []
        self._cursor = ""  # of the next page
        self._searching = False
        self._known: dict[str, HubRepository] = {}
        self._typing = Alarm(self, self._search_now)
        self._looking = Alarm(self, self._look_now)

    def compose(self) -> ComposeResult:
        with Vertical():
            yield self._search
            yield self._note
            yield self.hub_list
        yield self.details

    def on_mount(self) -> None:
        self.rows_changed()
        self._search_now()

    @property
    def listing(self) -> LineList:
        return self.hub_list

    def rows_changed(self) -> None:
        """Other checkpoints are on this machine now."""
        if not self.is_attached:
            return
        usable = (row for row in self.service.rows if row.repository and not row.problem)
        names = (row.repository.removeprefix("models--").replace("--", "/") for row in usable)
        self.hub_list.set_local(frozenset(names))

    # Searching

    def find(self) -> None:
        self.remove_class("-details")
        self.screen.set_focus(self._search)

    def leave(self) -> bool:
        if super().leave():
            return True
        if self._search.has_focus or self._search.value:
            self._search.value = ""
            self.focus_list()
            return True
        return False

    @on(Input.Changed)
    def _typed(self) -> None:
        self._typing.cancel()
        self._typing.set(SEARCH_DELAY_S)

    @on(FilterInput.Left)
    def _left(self) -> None:
        self.leave()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        if self._typing.is_set or self.hub_list.failed:
            self._typing.cancel()
            self._search_now()
        self.focus_list()

    def action_next_order(self) -> None:
        self._sort = _SORTS[(_SORTS.index(self._sort) + 1) % len(_SORTS)]
        self._search_now()

    def action_next_kind(self) -> None:
        self._kind = _KINDS[(_KINDS.index(self._kind) + 1) % len(_KINDS)]
        self._search_now()

    def _search_now(self) -> None:
        """Ask the Hub for what is typed; the catalogue needs no network."""
        text = self._search.value.strip()
        if self._asked():
            self._searching = True
            self._say()
            self.run_worker(self._answer(text, ""), group="search", exclusive=True)
        else:
            self._searching = False
            self.run_worker(self._show_catalogue(), group="search", exclusive=True)

    def _asked(self) -> bool:
        """Whether something is searched for, and be it all there is of a kind."""
        return bool(self._search.value.strip()) or self._kind != _KINDS[0]

    async def _show_catalogue(self) -> None:
        self._results, self._cursor = [], ""
        groups = await self.service.catalogue()
        rows: list[HubRow] = []
        for group in groups:
            rows += [HubRow("", ""), HubRow("", group.title)] if rows else [HubRow("", group.title)]
            rows += [entry_row(entry) for entry in group.entries]
        self.hub_list.set_rows(rows)
        self._say()

    async def _answer(self, text: str, cursor: str) -> None:
        try:
            page = await self.service.hub.search(text, kind=self._kind, sort=self._sort, cursor=cursor)
        except EngineError as error:
            self._searching = False
            self._results, self._cursor = [], ""
            self.hub_list.set_words(clean_line(error.message), clean_line(error.hint), failed=True)
            self._say()
            return
        self._searching = False
        self._results = [*self._results, *page.results] if cursor else page.results
        self._cursor = page.cursor
        if self._results:
            place = self.hub_list.cursor if cursor else 0
            self.hub_list.sort = self._sort
            self.hub_list.set_rows([HEAD, *map(result_row, self._results)], cursor=place)
        else:
            about = _KIND_WORDS[self._kind]
            self.hub_list.set_words(f"The Hub has no {about} with “{clean_line(text)}” in their name.")
        self._say()

    @on(LineList.Moved)
    def _moved(self, event: LineList.Moved) -> None:
        if self._cursor and not self._searching and event.row >= len(self._results) - _PAGE_AHEAD:
            self._searching = True
            self.run_worker(self._answer(self._search.value.strip(), self._cursor), group="search", exclusive=True)
        self._show_details()

    @on(LineList.Chosen)
    def _chosen(self) -> None:
        if not self.details.has_focus:
            self.toggle_details()

    def _say(self) -> None:
        """What the list holds."""
        if self._searching:
            words = "asking the Hub…"
        elif self._results:
            more = " so far" if self._cursor else ""
            words = (
                f"{counted(len(self._results), 'result')}{more} · by {self._sort} (s) · {_KIND_WORDS[self._kind]} (f)"
            )
        elif self.hub_list.failed:
            words = "enter in the search asks again"
        else:
            words = "" if self._asked() else "a few to begin with · / searches all of the Hub"
        self._note.show(words)

    # The details

    @on(DetailsPage.Widened)
    def _show_details(self) -> None:
        """What is known of the repository under the cursor; the Hub is asked when the cursor has come to rest."""
        repo_id = self.hub_list.chosen
        self._looking.cancel()
        self.workers.cancel_group(self, "info")
        known = self._known.get(repo_id)
        if known is not None:
            page, width = self.service.page_of(repo_id), self.details.measure
            self.details.show(repo_id, repository_sections(known, page, width))
        else:
            self.details.show(repo_id, self._said_before())
            if repo_id:
                self._looking.set(_INFO_DELAY_S)

    def _said_before(self) -> list[Entry]:
        """What the list itself says of the repository under the cursor, before the Hub was asked."""
        row = self.hub_list.row
        return [] if row is None else waiting_sections(row.name, row.about)

    def _look_now(self) -> None:
        self.run_worker(self._look(self.hub_list.chosen), group="info", exclusive=True)

    async def _look(self, repo_id: str) -> None:
        try:
            await self.described(repo_id)
        except EngineError as error:
            if self.hub_list.chosen == repo_id:
                self.details.show(repo_id, [*self._said_before(), failure_section(error)])
            return
        if self.hub_list.chosen == repo_id:
            self._show_details()

    async def described(self, repo_id: str) -> HubRepository:
        """What the Hub says of a repository; asked once. Raises EngineError."""
        known = self._known.get(repo_id)
        if known is None:
            known = self._known[repo_id] = await self.service.hub.info(repo_id)
            if len(self._known) > _KEPT:
                del self._known[next(iter(self._known))]
        return known

    def forget(self, repo_id: str) -> None:
        """Ask anew the next time: the answer may be another one."""
        self._known.pop(repo_id, None)
