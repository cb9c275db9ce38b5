"""Begins, watches and stops long jobs on checkpoints of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError
from hugchat_tui.common.format import counted, sentences
from hugchat_tui.common.tasks import start
from hugchat_tui.library.work import Work

if TYPE_CHECKING:
    from engine.checkpoints.library.rows import Row, RowSource
    from engine.checkpoints.library.verify import Verification

_REMEDIES: dict[RowSource, str] = {
    "cache": "Delete it (d) and fetch it again (2, then p).",
    "starter": "Delete it (d) and choose it again in the chat: it is made anew.",
}
_REMEDY = "Copy or make it anew from what it came from."


class Jobs:
    """every: all since the program started, but for those that were taken off the list.

    on_change: called when one began, moved or ended. on_end: called with one that ended by itself.
    """

    def __init__(self, on_change: Callable[[], None], on_end: Callable[[Work], None]) -> None:
        self.every: list[Work] = []
        self._on_change = on_change
        self._on_end = on_end

    @property
    def running(self) -> list[Work]:
        return [work for work in self.every if work.state == "running"]

    def on(self, key: str) -> list[Work]:
        """Those on the row with this key."""
        return [work for work in self.every if work.about == key]

    def verify(self, row: Row) -> None:
        """Compare its files with their checksums, offline."""

        async def job(work: Work) -> None:
            from engine.checkpoints.library.verify import verify

            result = await verify(row, work.report)
            if result.problems:
                raise EngineError(verification_words(result, row.source))
            work.message = verification_words(result, row.source)

        self._begin("Verifying", row, job)

    def convert(self, row: Row, name: str) -> None:
        """Write it as safetensors to data/models/NAME."""

        async def job(work: Work) -> None:
            from engine.checkpoints.conversion import convert
            from engine.checkpoints.paths import data_dir

            assert row.checkpoint is not None
            work.result = str(await convert(row.checkpoint, name, data_dir(), work.report))
            work.message = f"It is here as {name}."

        self._begin("Converting", row, job)

    def merge(self, row: Row, base: Row, name: str) -> None:
        """Write an adapter and its base as one model to data/models/NAME."""

        async def job(work: Work) -> None:
            from engine.checkpoints.conversion import merge
            from engine.checkpoints.paths import data_dir

            assert row.checkpoint is not None and base.checkpoint is not None
            work.result = str(await merge(row.checkpoint, base.checkpoint, name, data_dir(), work.report))
            work.message = f"It is here as {name}."

        self._begin("Merging", row, job)

    def export(self, row: Row, destination: str) -> None:
        """Copy it to a plain folder."""

        async def job(work: Work) -> None:
            from engine.checkpoints.library.export import export

            work.message = f"It lies in {await export(row, Path(destination), work.report)}."

        self._begin("Exporting", row, job)

    def _begin(self, verb: str, row: Row, job: Callable[[Work], Awaitable[None]]) -> None:
        """Begin a job, unless the same one is running; it takes the place of an earlier one that ended."""
        same = [work for work in self.every if (work.verb, work.about) == (verb, row.key)]
        if any(work.state == "running" for work in same):
            return
        self.every = [work for work in self.every if work not in same]
        work = Work(verb, row.key, row.alias or row.name, self._on_change)
        self.every.append(work)
        work.task = start(self._run(work, job))
        self._on_change()

    async def _run(self, work: Work, job: Callable[[Work], Awaitable[None]]) -> None:
        try:
            await job(work)
            work.state = "done"
        except (EngineError, OSError) as error:
            work.state, work.message = "failed", str(error)
        except asyncio.CancelledError:
            work.state, work.message = "stopped", "It was stopped; nothing of it is left."
            raise
        finally:
            if work.state == "running":
                work.state, work.message = "failed", "An error in the program itself ended it. The log has the details."
            self._on_change()
        self._on_end(work)

    def stop(self, work: Work) -> None:
        """Stop a job that runs; take one that ended off the list."""
        if work.state == "running" and work.task is not None:
            work.task.cancel()
        else:
            self.every.remove(work)
            self._on_change()

    async def close(self) -> None:
        """Stop all of them."""
        tasks = [work.task for work in self.running if work.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def verification_words(result: Verification, source: RowSource) -> str:
    """What verifying came to: a line that says the worst of it and what to do, and one for everything else."""
    compared = f"{counted(result.checked_files, 'file')} compared with a checksum."
    if result.problems:
        more = len(result.problems) - 1
        others = f"{counted(more, 'more problem')} below" if more else ""
        lines = [sentences(f"Something is wrong: {result.problems[0]}", others, _REMEDIES.get(source, _REMEDY))]
        lines += [*result.problems[1:], compared]
    else:
        lines = [f"{'Everything is right' if result.ok else 'Not all is known'}: {compared}"]
    lines += [f"{each.file}: {each.why}" for each in result.unchecked]
    return "\n".join(lines)
