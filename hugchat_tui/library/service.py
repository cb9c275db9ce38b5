"""What the library's screens stand on: rows, downloads, the Hub, the trash and long jobs, owned in one place."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.errors import EngineError
from hugchat_tui.common.format import sentences
from hugchat_tui.common.tasks import start
from hugchat_tui.library.jobs import Jobs
from hugchat_tui.library.measuring import free_bytes, measure
from hugchat_tui.library.telling import OnNotice
from hugchat_tui.library.typed_paths import is_folder, taken
from hugchat_tui.library.work import Work

if TYPE_CHECKING:
    from engine.checkpoints.downloads.manager import Downloads
    from engine.checkpoints.downloads.status import Status
    from engine.checkpoints.hub_cache import HubReference
    from engine.checkpoints.hub_queries.catalogue import Group
    from engine.checkpoints.hub_queries.client import HubQueries
    from engine.checkpoints.library.details import Details
    from engine.checkpoints.library.removal import Removal
    from engine.checkpoints.library.rows import Row
    from engine.checkpoints.library.scan import Places
    from engine.checkpoints.library.trash import Discarded, Trash
    from engine.fit import Fit
    from hugchat_tui.services import Services

Change = Literal["rows", "downloads", "work"]
"""rows: of the table, how they fit, or whether they are being looked for. work: a long job began, moved or ended."""

_HUB = "https://huggingface.co"
_MODULES = (
    "engine.checkpoints.downloads.manager",
    "engine.checkpoints.hub_queries.catalogue",
    "engine.checkpoints.hub_queries.client",
    "engine.checkpoints.library.details",
    "engine.checkpoints.library.index",
    "engine.checkpoints.library.notes",
    "engine.checkpoints.library.removal",
    "engine.checkpoints.library.scan",
    "engine.checkpoints.library.trash",
    "engine.checkpoints.library.verify",
    "engine.fit",
)


class LibraryService:
    """State and work of the library. The constructor does nothing; everything here belongs to one event loop.

    rows: what is known, after `start`. problem: why looking for checkpoints failed. fits: estimates by a row's key.
    total_bytes: on the disk, free_bytes: left where the cache lies; 0 when unknown. jobs: long ones on checkpoints of
    this machine. in_view: the person is in the library.
    """

    def __init__(self, services: Services, on_notice: OnNotice) -> None:
        self._services = services
        self._on_notice = on_notice
        self._listeners: list[Callable[[Change], None]] = []
        self.rows: list[Row] = []
        self.fits: dict[str, Fit] = {}
        self.problem = ""
        self.total_bytes = 0
        self.free_bytes = 0
        self.in_view = False
        self.jobs = Jobs(lambda: self._tell("work"), self._job_ended)
        self._scan: asyncio.Task[None] | None = None
        self._scan_again = False
        self._deleted_meanwhile: set[str] = set()  # the keys of what a look that is under way may still have seen
        self._scanned = False
        self._downloads: Downloads | None = None
        self._hub: HubQueries | None = None
        self._trash: Trash | None = None
        self._discarded: list[Discarded] = []

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Call it with every change, on the event loop."""
        self._listeners.append(listener)

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            listener(change)

    # Beginning and ending

    async def start(self) -> None:
        """Take up what earlier starts left: the last scan's rows, downloads, the trash of a program that was killed.

        To be called once, when the app is on the screen; all else works before that. Raises OSError.
        """
        await asyncio.to_thread(_import_modules)
        from engine.checkpoints.library.index import load_index

        for problem in await asyncio.to_thread(self.trash.settle):
            self._on_notice(problem, "warning")
        rows = await asyncio.to_thread(load_index, self._places())
        self.rows = self.rows or rows  # a scan may have been faster
        await self._manager()
        arrived, self._services.arrived = self._services.arrived, []
        for status in arrived:
            self._on_notice(f"{status.reference} arrived while the app was closed. f5 shows it.")

    @property
    def ready(self) -> bool:
        """Whether the downloads are taken up, which is the last that `start` does."""
        return self._downloads is not None

    async def close(self) -> None:
        """Stop long jobs and empty the trash. The downloads are closed with the services."""
        if self._scan is not None:
            self._scan.cancel()
            await asyncio.gather(self._scan, return_exceptions=True)
        await self.jobs.close()
        if self._hub is not None:
            await self._hub.close()
        await self.empty_trash()
        if self._downloads is not None:
            for status in self._downloads.statuses():
                if status.state == "done":  # it was told; what arrives from now on is told at the next start
                    await self._downloads.forget(status.id)

    @property
    def running(self) -> list[Status | Work]:
        """Downloads and long jobs that have not come to rest."""
        return [*self.downloading, *self.jobs.running]

    @property
    def downloading(self) -> list[Status]:
        """Downloads that have not come to rest."""
        return self._downloads.active if self._downloads is not None else []

    # What is here

    @property
    def scanning(self) -> bool:
        return self._scan is not None

    def rescan(self) -> None:
        """Look for checkpoints; once more when that is being done already."""
        if self._scan is None:
            self._scan = start(self._look())
        else:
            self._scan_again = True
        self._tell("rows")

    async def _look(self) -> None:
        from engine.checkpoints.library.scan import scan

        places = self._places()
        found = {row.key: row for row in self.rows}
        self._deleted_meanwhile.clear()

        def still_here(rows: Iterable[Row]) -> list[Row]:
            return [row for row in rows if row.key not in self._deleted_meanwhile]

        def take(rows: Sequence[Row]) -> None:
            found.update((row.key, row) for row in rows)
            self.rows = still_here(found.values())
            self._tell("rows")

        try:
            inventory = await scan(places, take)
            self.rows, self.total_bytes, self.problem = still_here(inventory.rows), inventory.total_bytes, ""
            self._scanned = True
            self._tell("rows")
            self.free_bytes = await asyncio.to_thread(free_bytes, places.cache_dir)
            self.fits = await asyncio.to_thread(measure, self.rows, self._services.settings)
        except (EngineError, OSError) as error:
            self.problem = str(error)
        finally:
            self._scan = None
        self._tell("rows")
        if self._scan_again:
            self._scan_again = False
            self.rescan()

    def _places(self) -> Places:
        from engine.checkpoints.library.scan import Places
        from engine.checkpoints.paths import data_dir, full_path, hub_cache_dir

        folders = tuple(full_path(Path(folder)) for folder in self._services.settings.model.folders)
        return Places(hub_cache_dir(), data_dir(), folders)

    async def details(self, row: Row) -> Details:
        """Files, card, template and the like of a row."""
        from engine.checkpoints.library.details import read_details

        return await asyncio.to_thread(read_details, row)

    async def set_alias(self, row: Row, alias: str) -> None:
        """Give it a name of the person's own; "" takes it away. Raises OSError."""
        from engine.checkpoints.library.notes import set_alias
        from engine.checkpoints.paths import data_dir

        await asyncio.to_thread(set_alias, data_dir(), row.key, alias)
        self.rescan()

    async def set_note(self, row: Row, note: str) -> None:
        """Raises OSError."""
        from engine.checkpoints.library.notes import set_note
        from engine.checkpoints.paths import data_dir

        await asyncio.to_thread(set_note, data_dir(), row.key, note)
        self.rescan()

    async def add_folder(self, text: str) -> None:
        """Look for checkpoints in one more folder, from now on. Raises SettingsError or OSError."""
        services = self._services
        if not await asyncio.to_thread(is_folder, text):
            raise EngineError(f"There is no folder {text}.", "Check the path; ~ is your home folder.")
        folders = tuple(dict.fromkeys((*services.settings.model.folders, text)))
        await services.save_setting("model.folders", folders)
        services.settings = replace(services.settings, model=replace(services.settings.model, folders=folders))
        self.rescan()

    async def cannot_be_made(self, text: str, *, in_models: bool) -> str | None:
        """Why nothing new can be made under a name in the program's models folder, or else as a folder, if it is so."""
        from engine.checkpoints.paths import data_dir, models_dir

        return await asyncio.to_thread(taken, text, models_dir(data_dir()) if in_models else None)

    def row(self, key: str) -> Row | None:
        return next((row for row in self.rows if row.key == key), None)

    def is_loaded(self, row: Row) -> bool:
        """Whether a worker holds it, or a checkpoint that needs it."""
        if not self._services.started or row.checkpoint is None:
            return False
        paths = {resident.checkpoint.path for resident in self._services.pool.resident()}
        bases = {resident.checkpoint.base for resident in self._services.pool.resident()}
        return row.checkpoint.path in paths | bases

    def base_of(self, row: Row) -> Row | None:
        """The row of an adapter's base, None when it is not here."""
        base = row.checkpoint.base if row.checkpoint is not None else None
        return next((each for each in self.rows if each.checkpoint is not None and each.checkpoint.path == base), None)

    def _job_ended(self, work: Work) -> None:
        line, _, _ = work.message.partition("\n")
        self._on_notice(f"{work.verb} {work.name}: {line}", "error" if work.state == "failed" else "information")
        if work.result:
            self.rescan()

    # Deleting

    async def plan_removal(self, rows: Sequence[Row]) -> Removal:
        """What deleting these would free, keep and break."""
        from engine.checkpoints.library.removal import plan_removal

        return await asyncio.to_thread(plan_removal, rows, self.rows, self._places())

    async def discard(self, removal: Removal) -> None:
        """Move it to the trash, which is emptied when the program ends.

        Raises NoTrashError where only `delete_for_good` will do, RemovalError or OSError.
        """
        self._discarded.append(await asyncio.to_thread(self.trash.discard, removal))
        await self._forget(removal.rows)

    async def delete_for_good(self, removal: Removal) -> None:
        """Delete it without a way back. Raises RemovalError or OSError."""
        await asyncio.to_thread(self.trash.delete_for_good, removal)
        await self._forget(removal.rows)

    async def _forget(self, rows: Sequence[Row]) -> None:
        gone = {row.key for row in rows}
        self._deleted_meanwhile |= gone
        self.rows = [row for row in self.rows if row.key not in gone]
        self.rescan()
        await self._look_at_downloads()

    async def _look_at_downloads(self) -> None:
        """A download that is not finished is deleted and brought back with what came of it."""
        await (await self._manager()).start()
        self._tell("downloads")

    async def undo(self) -> tuple[Row, ...]:
        """Bring back what was deleted last; () when nothing was. Raises RemovalError or OSError."""
        if not self._discarded:
            return ()
        last = self._discarded[-1]
        await asyncio.to_thread(self.trash.restore, last)
        self._discarded.remove(last)
        self._deleted_meanwhile -= {row.key for row in last.rows}
        self.rescan()
        await self._look_at_downloads()
        return last.rows

    async def empty_trash(self) -> int:
        """Free the space of what was deleted, which cannot come back any more; the bytes that are free now."""
        if self._trash is None:
            return 0
        freed = sum(each.freed_bytes for each in self._discarded)
        for problem in await asyncio.to_thread(self._trash.empty):
            self._on_notice(problem, "warning")
        self._discarded.clear()
        return freed

    @property
    def trash(self) -> Trash:
        if self._trash is None:
            from engine.checkpoints.library.trash import Trash

            self._trash = Trash(self._places())
        return self._trash

    # The Hub

    @property
    def hub(self) -> HubQueries:
        if self._hub is None:
            from engine.checkpoints.hub_queries.client import HubQueries

            self._hub = HubQueries()
        return self._hub

    async def catalogue(self) -> Sequence[Group]:
        """Models that are offered without a search."""
        from engine.checkpoints.hub_queries.catalogue import catalogue

        return await asyncio.to_thread(catalogue)

    @staticmethod
    def page_of(repo_id: str) -> str:
        """The address of its page."""
        return f"{os.environ.get('HF_ENDPOINT') or _HUB}/{repo_id}"

    # Downloads

    async def _manager(self) -> Downloads:
        """Those of this machine, watched from now on. Raises OSError."""
        downloads = await self._services.downloads()
        if self._downloads is None:
            self._downloads = downloads
            downloads.listen(self._download_changed)
            self._tell("downloads")
        return downloads

    def statuses(self) -> list[Status]:
        return self._downloads.statuses() if self._downloads is not None else []

    async def pull(self, reference: HubReference) -> str:
        """Begin a download, or go on with it; its id. Raises OSError."""
        downloads = await self._manager()
        id = await downloads.add(reference)
        if downloads.status(id).state in ("paused", "failed"):
            await self.resume(id)
        return id

    async def pause(self, id: str) -> None:
        """Returns when its process has ended. Raises DownloadError when it cannot be ended."""
        await (await self._manager()).pause(id)

    async def resume(self, id: str) -> None:
        """Go on with one that is paused or failed, also when its process is just about to end."""
        await self.pause(id)
        await (await self._manager()).resume(id)

    async def cancel(self, id: str) -> None:
        """Stop a download and delete what came of it; one that is done by then only leaves the list.

        Raises DownloadError when it cannot be ended, and OSError.
        """
        await (await self._manager()).cancel(id)
        self._tell("downloads")
        self.rescan()

    async def forget(self, id: str) -> None:
        """Take a download that is done off the list."""
        await (await self._manager()).forget(id)
        self._tell("downloads")

    async def detach(self, id: str) -> None:
        """Let a download go on when the program ends."""
        await (await self._manager()).detach(id)

    def _download_changed(self, status: Status) -> None:
        self._tell("downloads")
        if status.state == "done":
            keys = "3, enter" if self.in_view else "f5, 3, enter"
            self._on_notice(f"{status.reference} is here. {keys} loads it into the chat.")
            if self._scanned:
                self.rescan()
        elif status.state == "failed" and status.reason != "cancelled":
            self._on_notice(sentences(status.message, status.hint), "error")


def _import_modules() -> None:
    for name in _MODULES:
        importlib.import_module(name)
