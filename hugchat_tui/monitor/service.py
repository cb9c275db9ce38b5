"""What the monitor stands on: the runs of this machine, what is asked of them, and what is told of them meanwhile.

All of it is read from the runs' directories, so that it makes no difference who started a run, and where.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from hugchat_tui.common.tasks import start
from hugchat_tui.library.telling import OnNotice
from hugchat_tui.monitor.asked import Asked, Questions
from hugchat_tui.monitor.news import News, losses, missed, news_of

if TYPE_CHECKING:
    from hugchat_tui.monitor.follower import RunFollower
    from hugchat_tui.monitor.rows import Reading, RunReader, RunRow
    from hugchat_tui.services import Services
    from sft.config import Recipe
    from sft.json_lines import Record
    from sft.runs import RunDirectory

Change = Literal["rows", "history", "asked"]
"""rows: of the list. history: of a run that is followed. asked: something was asked of a run, or answered."""

_SHOWN_S, _HIDDEN_S, _ASKED_S = 1.0, 5.0, 0.3  # between two looks at the runs
_CLOSE_S = 3.0
_MODULES = (
    "hugchat_tui.monitor.follower",
    "hugchat_tui.monitor.rows",
    "hugchat_tui.monitor.run_notes",
    "hugchat_tui.monitor.upkeep",
    "sft.control",
    "sft.launch",
)

T = TypeVar("T")


class MonitorService:
    """State and work of the monitor. The constructor does nothing; everything here belongs to one event loop.

    rows: what is known of each run, by name. problem: why looking for runs failed. in_view: the person is in the
    monitor. told_of: the run of the last notice that came while they were not. asked: what runs were asked.
    """

    def __init__(self, services: Services, on_notice: OnNotice, on_alarm: Callable[[], None] = lambda: None) -> None:
        """on_alarm: called with each notice of a run that ended, failed or alerted."""
        self._services = services
        self._on_notice = on_notice
        self._on_alarm = on_alarm
        self._listeners: list[Callable[[Change], None]] = []
        self.rows: list[RunRow] = []
        self.problem = ""
        self.ready = False
        self.in_view = False
        self.told_of = ""
        self.asked = Questions()
        self._data = Path()
        self._reader: RunReader | None = None
        self._reading = asyncio.Lock()
        self._closed = False
        self._watching: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._followers: dict[Path, RunFollower] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._going_kept: tuple[str, ...] | None = None  # as the file of notes has them; None: not known yet

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Call it with every change, on the event loop."""
        self._listeners.append(listener)

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            listener(change)

    # Beginning and ending

    def start(self) -> None:
        """Look at the runs from now on; `ready` is set by the first look that succeeds."""
        self._watching = start(self._watch())

    async def close(self) -> None:
        """Look no more. Runs go on: they do not know of us."""
        self._closed = True
        self._woken.set()
        if self._watching is not None:
            # Not cancelled: asyncio.wait_for of Python 3.11 may lose that when it is woken at the same time.
            # Nor waited for without end: it may be reading a place that does not answer.
            await asyncio.wait([self._watching], timeout=_CLOSE_S)
        if self._followers:
            self.follow(())
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_S)

    def look(self) -> None:
        """Look at the runs now, and not only when it is time again."""
        self._woken.set()

    async def _watch(self) -> None:
        reading = await self._look()
        cleaned = False
        while not self._closed:
            if self.ready and not cleaned:
                cleaned = True
                await asyncio.to_thread(_remove_leftovers, self._data)
            more = reading is not None and reading.more
            pause = 0.0 if more else _ASKED_S if self.asked.waiting else _SHOWN_S if self.in_view else _HIDDEN_S
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), pause)
            if self._closed:
                return
            self._woken.clear()
            reading = await self._look()

    # What there is

    @property
    def folder(self) -> Path:
        """Where the program keeps its data."""
        return self._data

    async def refresh(self) -> None:
        """Read the runs; returns when `rows` is as they are now."""
        await self._look()

    def _read(self) -> Reading:
        """For a thread. Raises OSError."""
        if self._reader is None:
            _import_modules()
            from engine.checkpoints.paths import data_dir
            from hugchat_tui.monitor.rows import RunReader

            self._data = data_dir()
            self._reader = RunReader(self._data)
        return self._reader.read()

    async def _look(self) -> Reading | None:
        async with self._reading:
            try:
                reading = await asyncio.to_thread(self._read)
            except OSError as error:
                if not self.problem and not self.ready:
                    self._on_notice(f"Training runs cannot be looked for: {error}.", "warning")
                self.problem = str(error)
                self._tell("rows")
                return None
            before, self.rows = self.rows, reading.rows
            self.problem = ""
            for path, record in reading.told:
                self._hear(path, record)
            for news in losses(before, self.rows) if self.ready else missed(reading.going_before, self.rows):
                self._alarm(news)
            for words in self.asked.settle(self.rows):
                self._on_notice(words, "warning")
            await self._remember_going(reading)
            self.ready = True
        self._tell("rows")
        return reading

    async def _remember_going(self, reading: Reading) -> None:
        """So that the next start can tell what ended meanwhile, however this program ends."""
        from hugchat_tui.monitor.run_notes import set_going

        going = tuple(sorted(str(row.run.path) for row in reading.rows if row.going))
        first, kept = self._going_kept is None, self._going_kept or reading.going_before
        self._going_kept = going
        if going != tuple(kept):
            try:
                await asyncio.to_thread(set_going, self._data, going)
            except OSError as error:
                if first:
                    self._on_notice(f"Which runs are going is not kept for the next start. {error}", "warning")

    @property
    def headline(self) -> str:
        """What goes and how far it is, in a few words: "trial 43 %"; empty while nothing goes."""
        from hugchat_tui.monitor.run_columns import progress_words

        going = [row for row in self.rows if row.going]
        words = [f"{row.name} {progress_words(row)}" for row in going[:1]]
        return " · ".join([f"{len(going)} runs"] * (len(going) > 1) + words)

    def row(self, name: str) -> RunRow | None:
        return next((row for row in self.rows if row.name == name), None)

    def _row_at(self, path: Path) -> RunRow | None:
        return next((row for row in self.rows if row.run.path == path), None)

    # What is told

    def _hear(self, path: Path, record: Record) -> None:
        """An answer, an alert or an end, since the last look."""
        if record["type"] == "ack":
            if self.asked.answer(record):
                self._tell("asked")
            return
        row = self._row_at(path)
        self._alarm(news_of(row.name if row is not None else path.name, record))

    def _alarm(self, news: News) -> None:
        advice = f" f9, then {news.advice}" if news.advice and not self.in_view else ""
        self._on_notice(news.words + advice, news.severity)
        self._on_alarm()
        if not self.in_view:
            self.told_of = news.name

    # Runs that are followed

    def follow(self, runs: Sequence[RunDirectory]) -> None:
        """Read these along, event by event, and no others."""
        from hugchat_tui.monitor.follower import RunFollower

        wanted = {run.path: run for run in runs}
        for path in [path for path in self._followers if path not in wanted]:
            closing = start(self._followers.pop(path).close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        for path, run in wanted.items():
            if path not in self._followers:
                self._followers[path] = RunFollower(run, self._followed)
                self._followers[path].start()

    def follower(self, run: RunDirectory) -> RunFollower | None:
        """The one that reads a run along, if it is followed."""
        return self._followers.get(run.path)

    def _followed(self) -> None:
        for each in self.asked.waiting:
            for follower in self._followers.values():
                record = follower.history.acks.get(each.id)
                if record is not None and self.asked.answer(record):
                    self._tell("asked")
        self._tell("history")

    # What is asked

    async def send(self, row: RunRow, words: str, command: str, **values: object) -> None:
        """Ask it of a run; `asked` shows `words` until it has answered. Raises SftError and OSError."""
        from sft.control import send

        identity = await asyncio.to_thread(send, row.run.path, command, **values)
        self.asked.every.append(Asked(identity, row.run.path, row.name, words))
        self._tell("asked")
        self.look()

    async def kill(self, row: RunRow) -> bool:
        """End its processes at once; False when they are none of this machine's."""
        from sft.launch import kill

        killed = await asyncio.to_thread(kill, row.run)
        self.look()
        return killed

    async def resume(self, row: RunRow) -> None:
        """Go on with it. Raises EngineErrors and OSError."""
        from sft import config
        from sft.launch import start as launch

        recipe = await asyncio.to_thread(config.load, row.run.recipe)
        await asyncio.to_thread(launch, recipe, row.run)
        await self.refresh()

    async def branch(self, row: RunRow, step: int) -> RunDirectory:
        """Start another run from one of its steps. Raises EngineErrors and OSError."""
        from hugchat_tui.monitor.upkeep import branch
        from sft.launch import start as launch

        recipe = self.recipe_of(row)
        made = await asyncio.to_thread(branch, row.run, recipe, step, self._data)
        await asyncio.to_thread(launch, recipe, made)
        await self.refresh()
        return made

    @staticmethod
    def recipe_of(row: RunRow) -> Recipe:
        """Raises SftError when it cannot be read."""
        from sft.errors import SftError

        if row.recipe is None:
            raise SftError(f"The recipe of {row.name} cannot be used.", row.problem)
        return row.recipe

    async def whole_steps(self, row: RunRow) -> list[int]:
        """Steps that have a whole checkpoint, newest first."""
        from hugchat_tui.monitor.upkeep import whole_steps

        return await asyncio.to_thread(whole_steps, row.run)

    async def newest_reference(self, row: RunRow) -> str:
        """Its newest whole checkpoint as the chat names it. Raises SftError when there is none."""
        from hugchat_tui.monitor.upkeep import newest_reference

        return await asyncio.to_thread(newest_reference, row.run, going=row.going)

    # What is done with a run

    async def size(self, row: RunRow) -> int:
        """Bytes that deleting it would free."""
        from hugchat_tui.monitor.rows import run_size

        return await asyncio.to_thread(run_size, row.run)

    def trained_from(self, row: RunRow) -> list[str]:
        """Names of runs whose base is a checkpoint of this one."""
        own = f"runs/{row.name}"
        return [each.name for each in self.rows if each.base == own or each.base.startswith(f"{own}/")]

    async def delete(self, row: RunRow) -> None:
        """Raises SftError while it is going, and OSError."""
        from hugchat_tui.monitor.upkeep import delete

        self.follow([follower.run for path, follower in self._followers.items() if path != row.run.path])
        await asyncio.to_thread(delete, row.run, self._data)
        await self.refresh()

    async def set_tag(self, row: RunRow, tag: str) -> None:
        """Raises SftError and OSError."""
        from hugchat_tui.monitor.run_notes import set_tag

        await self._say(set_tag, row, tag)

    async def set_note(self, row: RunRow, note: str) -> None:
        """Raises SftError and OSError."""
        from hugchat_tui.monitor.run_notes import set_note

        await self._say(set_note, row, note)

    async def set_archived(self, row: RunRow, archived: bool) -> None:
        """Raises OSError."""
        from hugchat_tui.monitor.run_notes import set_archived

        await self._say(set_archived, row, archived)

    async def _say(self, write: Callable[[Path, Path, T], None], row: RunRow, value: T) -> None:
        await asyncio.to_thread(write, self._data, row.run.path, value)
        await self.refresh()


def _import_modules() -> None:
    for name in _MODULES:
        importlib.import_module(name)


def _remove_leftovers(data: Path) -> None:
    from hugchat_tui.monitor.upkeep import remove_leftovers

    with suppress(OSError):  # the next start tries again
        remove_leftovers(data)
