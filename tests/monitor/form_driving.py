"""The real app at its form: real recipes, real preparation on a tiny checkpoint, runs that are really started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hugchat_tui.monitor.form import RunFormScreen, new_run
from hugchat_tui.monitor.form_rows import Row
from sft.runs import RunDirectory
from tests.chat.driving import Chat, Home, chat
from tests.engine.tiny_models import CHATML, make_checkpoint
from tests.sft.training.driving import write_rows


class Form(Chat):
    """What a person sees and does in the form."""

    form: RunFormScreen
    made: list[RunDirectory | None]  # what it ended with

    @property
    def ended(self) -> bool:
        return bool(self.made)

    @property
    def rows(self) -> list[Row]:
        return self.form.body.list._rows

    def value(self, place: str) -> str:
        return self.form.draft.text(place)

    def problems(self) -> dict[str, str]:
        """What is said below each key, on one line."""
        found: dict[str, str] = {}
        for row in self.rows:
            if row.kind == "problem":
                found[row.place] = f"{found.get(row.place, '')} {row.label}".strip()
        return found

    async def to(self, place: str) -> None:
        """Go to a row by keys, unfolding its section where that is needed."""
        section = place.partition(".")[0]
        if not any(row.place == place for row in self.rows):
            await self.to(section)
            await self.press("enter")
        for _ in range(200):
            if self.form.body.place == place:
                return
            at = next(index for index, row in enumerate(self.rows) if row.place == place)
            await self.press("down" if at > self.form.body.list.cursor else "up")
        raise AssertionError(f"{place} is not reached from {self.form.body.place}")

    async def fill(self, place: str, text: str) -> None:
        """Type a text at a place, instead of what stands there."""
        await self.to(place)
        await self.press("ctrl+u", *text)
        await self.until(lambda: self.form.body.input.value == text, f"{text!r} at {place}")

    async def found_out(self) -> None:
        """Wait until the rows are counted."""
        await self.until(lambda: self.form.finder.data.counted is not None, "the rows to be counted")

    async def start(self) -> None:
        """Ask for the start, and wait until it was started or refused."""
        await self.press("ctrl+r")
        await self.until(lambda: self.ended or not self.form.doing, "the start")

    def preview(self) -> str:
        return " ".join(line.plain for line in self.form.preview._lines)


@asynccontextmanager
async def form(home: Home, *, size: tuple[int, int] = (160, 48), **filled: Any) -> AsyncIterator[Form]:
    """Start the app and open its form; quit in the end. filled: as new_run takes it."""
    async with chat(home, size=size, loaded=False) as it:
        at = Form(it.home, it.app, it.pilot)
        at.made = []

        async def open_it() -> None:
            at.made.append(await new_run(it.app, **filled))

        await at.until(lambda: it.app.services.started, "the services")
        it.app.run_worker(open_it())
        await at.until(lambda: isinstance(it.app.screen, RunFormScreen), "the form")
        assert isinstance(it.app.screen, RunFormScreen)
        at.form = it.app.screen
        await at.until(lambda: at.form._begun_as is not None, "its recipe")
        yield at


def tiny_base(folder: Path) -> str:
    base = folder / "tiny"
    if not base.exists():
        make_checkpoint(base, "llama", chat_template=CHATML)
    return str(base)


def some_rows(folder: Path, rows: int = 60) -> str:
    return str(write_rows(folder / "harbour-rows.jsonl", rows))
