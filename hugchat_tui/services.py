"""What the screens stand on: settings, store, engine and checkpoints, made once and closed together."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import CheckpointNotFoundError, EngineError
from hugchat_tui.conversations.errors import StoreClosedError

if TYPE_CHECKING:
    from engine.checkpoints.downloads.manager import Downloads
    from engine.checkpoints.downloads.status import Status
    from engine.checkpoints.hub_cache import HubReference
    from engine.checkpoints.model import Checkpoint
    from engine.fit import Fit
    from engine.pool import EnginePool, Resident
    from engine.protocol import Sampling
    from hugchat_tui.conversations.service import ConversationService
    from hugchat_tui.settings.schema import Settings

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # stage in words, done, total (0: unknown), in bytes


@dataclass(frozen=True, slots=True)
class Deletion:
    """A conversation that was deleted, or with `messages` the store's number of a deletion of messages in it."""

    conversation_id: int
    messages: int | None = None


class Services:
    """Owns every long-lived thing that is not a widget.

    The constructor does no input or output and imports nothing heavy, so that the first paint does not wait for it;
    `begin` opens the store and warms the engine.
    """

    def __init__(self, settings: Settings, on_notice: Callable[[str], None]) -> None:
        self.settings = settings
        self._on_notice = on_notice
        self._store: ConversationService | None = None
        self._pool: EnginePool | None = None
        self._starting: asyncio.Task[None] | None = None
        self._downloads: asyncio.Task[Downloads] | None = None
        self.arrived: list[Status] = []  # downloads that were done when they were taken up: nobody saw them arrive
        self._fetching: dict[str, _Fetch] = {}
        self._found: dict[str, Checkpoint] = {}  # by the reference that named it
        self.deleted: list[Deletion] = []  # what undo brings back, the last one first
        self.shown: Callable[[], Sequence[str]] = list  # references of what answers in the panes on the screen

    @property
    def store(self) -> ConversationService:
        """Raises StoreClosedError while the database is not open."""
        if self._store is None:
            raise StoreClosedError("The conversations are not open yet, or could not be opened.")
        return self._store

    @property
    def pool(self) -> EnginePool:
        if self._pool is None:
            raise RuntimeError("the engine is not started")
        return self._pool

    @property
    def started(self) -> bool:
        return self._pool is not None

    def begin(self) -> None:
        """Begin to open the store and to warm the engine; again, after that failed."""
        if self._starting is None or (self._starting.done() and not self.started):
            self._starting = asyncio.create_task(self._start())

    async def ready(self) -> None:
        """Returns when what `begin` began is done. Raises StoreError when the database is unusable."""
        if self._starting is None:
            self.begin()
        assert self._starting is not None
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        await asyncio.to_thread(_import_services)
        from engine.checkpoints.paths import data_dir
        from hugchat_tui.conversations.service import ConversationService

        self._store = await ConversationService.open(data_dir() / "conversations.db")
        self.start_engine(spare=True)

    def start_engine(self, *, spare: bool) -> None:
        """Make the pool; with `spare`, a worker begins its imports before anyone asks."""
        from engine.pool import EnginePool

        chosen = self.settings.engine
        self._pool = EnginePool(
            self._on_notice, ram_budget=chosen.memory_budget_bytes, worker_niceness=chosen.worker_niceness
        )
        if spare:
            self._pool.warm()

    async def close(self, *, downloads_go_on: bool = False) -> None:
        """Stop the workers, then close the store; downloads pause, or go on without this program.

        Raises StoreError when its last words could not be written.
        """
        if self._downloads is not None:
            await asyncio.wait([self._downloads])
            if _succeeded(self._downloads):
                await self._downloads.result().close(keep_going=downloads_go_on)
        fetching = [fetch.task for fetch in self._fetching.values()]
        for task in fetching:
            task.cancel()
        starting = [self._starting] if self._starting is not None else []
        if fetching or starting:
            await asyncio.wait([*fetching, *starting])
        if self._pool is not None:
            await self._pool.close()
        if self._store is not None:
            await self._store.close()

    def sampling(self) -> Sampling:
        """The settings as the engine's sampling parameters."""
        from engine.protocol import Sampling

        chosen = self.settings.sampling
        return Sampling(
            temperature=chosen.temperature,
            top_k=chosen.top_k,
            top_p=chosen.top_p,
            min_p=chosen.min_p,
            repetition_penalty=chosen.repetition_penalty,
            seed=chosen.seed,
            max_new_tokens=chosen.max_new_tokens,
        )

    async def checkpoints(self) -> list[Checkpoint]:
        """Every checkpoint on this machine, read in a thread."""
        from engine.checkpoints.discover import find_checkpoints
        from engine.checkpoints.paths import data_dir

        return await asyncio.to_thread(find_checkpoints, self._folders(), data_dir=data_dir())

    async def fits(self, checkpoints: Sequence[Checkpoint]) -> dict[str, Fit]:
        """By key, an estimate of how each checkpoint fits into memory."""
        from engine.fit import estimates

        chosen = self.settings
        return await asyncio.to_thread(
            estimates,
            checkpoints,
            device=chosen.model.device,
            dtype=chosen.model.dtype,
            ram_budget=chosen.engine.memory_budget_bytes,
        )

    async def ensure_checkpoint(self, reference: str, on_progress: Progress, *, fetch: bool = True) -> Checkpoint:
        """The checkpoint a reference names. fetch: the starter is installed and a Hub id fetched when not here yet.

        Several callers share one download; it ends when the last of them is cancelled.
        Raises CheckpointNotFoundError and what the download raises.
        """
        try:
            found = await self._fetched(reference, on_progress) if fetch or reference in self._fetching else None
            if found is None:
                found = await asyncio.to_thread(_resolve, reference, self._folders())
        except CheckpointNotFoundError:
            resident = self.resident(reference) if reference.startswith("runs/") else None
            if resident is None:
                raise
            found = resident.checkpoint  # its run has newer ones now and deleted it; what is loaded still answers
        self._found[reference] = found
        await asyncio.to_thread(_mark_used, found)
        return found

    async def _fetched(self, reference: str, on_progress: Progress) -> Checkpoint:
        fetch = self._fetching.get(reference)
        if fetch is None or fetch.task.done():
            fetch = _Fetch()
            fetch.task = asyncio.create_task(self._find_or_fetch(reference, fetch.report))
            self._fetching[reference] = fetch
        fetch.listeners.append(on_progress)
        if fetch.reported is not None:
            on_progress(*fetch.reported)
        try:
            return await asyncio.shield(fetch.task)
        finally:
            fetch.listeners.remove(on_progress)
            if not fetch.listeners:
                fetch.task.cancel()
                if self._fetching.get(reference) is fetch:  # not one that was begun when this had ended
                    del self._fetching[reference]

    def resident(self, reference: str) -> Resident | None:
        """The checkpoint that a reference named when it was last looked for, while it is loaded or being loaded."""
        from engine.pool import slot_key

        found = self._found.get(reference)
        if found is None or self._pool is None:
            return None
        chosen = self.settings.model
        key = slot_key(found, chosen.device, chosen.dtype)
        return next((resident for resident in self._pool.resident() if resident.key == key), None)

    async def save_setting(self, name: str, value: object) -> None:
        """Write one setting ("section.key") to the file. Raises SettingsError or OSError."""
        from hugchat_tui.settings.saving import save_setting

        await asyncio.to_thread(save_setting, name, value)

    async def _find_or_fetch(self, reference: str, on_progress: Progress) -> Checkpoint:
        from engine.checkpoints.paths import data_dir
        from engine.checkpoints.resolve import NotDownloadedError, StarterNotInstalledError
        from engine.checkpoints.starter import install_starter

        folders = self._folders()
        try:
            return await asyncio.to_thread(_resolve, reference, folders)
        except StarterNotInstalledError:
            await install_starter(data_dir(), on_progress)
        except NotDownloadedError as error:
            await self._download(error.reference, on_progress)
        return await asyncio.to_thread(_resolve, reference, folders)

    async def _download(self, reference: HubReference, on_progress: Progress) -> None:
        downloads = await self.downloads()
        before = {status.id for status in downloads.active}
        job = await downloads.add(reference)
        try:
            await downloads.wait(job, lambda status: on_progress(status.state, status.done, status.total))
        except asyncio.CancelledError:
            if job not in before and not downloads.closed and not downloads.is_foreign(job):
                try:
                    await downloads.pause(job)  # nobody else asked for it; what came is kept
                except EngineError:  # who cancelled is to hear of that, and the list of downloads shows that it runs
                    _log.warning("the download %s goes on", job, exc_info=True)
            raise

    async def downloads(self) -> Downloads:
        """The downloads of this machine, those among them that an earlier start left. Raises OSError."""
        if self._downloads is None or (self._downloads.done() and not _succeeded(self._downloads)):
            self._downloads = asyncio.create_task(self._take_up_downloads())
        return await asyncio.shield(self._downloads)

    async def _take_up_downloads(self) -> Downloads:
        from engine.checkpoints.paths import data_dir

        manager = await asyncio.to_thread(importlib.import_module, "engine.checkpoints.downloads.manager")
        downloads: Downloads = manager.Downloads(data_dir())
        await downloads.start()
        self.arrived = list(downloads.arrived)
        return downloads

    def _folders(self) -> list[Path]:
        from engine.checkpoints.paths import full_path

        return [full_path(Path(folder)) for folder in self.settings.model.folders]


class _Fetch:
    """One download and those who watch it."""

    task: asyncio.Task[Checkpoint]

    def __init__(self) -> None:
        self.listeners: list[Progress] = []
        self.reported: tuple[str, int, int] | None = None  # last

    def report(self, stage: str, done: int, total: int) -> None:
        self.reported = stage, done, total
        for listener in list(self.listeners):
            listener(stage, done, total)


def _resolve(reference: str, folders: Sequence[Path]) -> Checkpoint:
    from engine.checkpoints.paths import data_dir
    from engine.checkpoints.resolve import resolve

    return resolve(reference, data_dir=data_dir(), folders=folders)


def _mark_used(checkpoint: Checkpoint) -> None:
    """Remember it for the library's column; nobody who wants to chat need know when that fails."""
    from engine.checkpoints.library.notes import mark_used
    from engine.checkpoints.paths import data_dir

    try:
        mark_used(data_dir(), checkpoint.key)
    except OSError:
        _log.warning("when %s was used could not be written down", checkpoint.key, exc_info=True)


def _succeeded(task: asyncio.Task[Downloads]) -> bool:
    return not task.cancelled() and task.exception() is None


def _import_services() -> None:
    """Import what start needs in a thread: together these cost more than the loop may stand still."""
    for name in ("engine.pool", "engine.checkpoints.resolve", "hugchat_tui.conversations.service"):
        importlib.import_module(name)
