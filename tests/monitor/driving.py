"""Runs that are written by hand, and the real app at its monitor."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from textual.widgets import Input

from hugchat_tui.monitor.screen import MonitorScreen
from hugchat_tui.monitor.service import MonitorService
from hugchat_tui.settings.schema import Settings
from sft.config import Data as RecipeData
from sft.config import Evaluation, Method, Model, Recipe, Source, Training
from sft.events import EventWriter
from sft.manifest import write_manifest
from sft.runs import RunDirectory, create_run
from tests.chat.driving import Home, chat
from tests.library.driving import Library


class Written:
    """A run whose files the test writes as the run's processes would."""

    def __init__(
        self, data: Path, name: str, *, base: str = "starter", rate: float = 2e-4, output: Path | None = None
    ) -> None:
        recipe = Recipe(
            model=Model(base=base),
            data=RecipeData(sources=(Source(path="/data/rows.jsonl"),)),
            method=Method(rank=4),
            training=Training(learning_rate=rate),
            evaluation=Evaluation(prompts=("Who are you?",)),
        )
        self.run: RunDirectory = create_run(recipe, data, name=name, output=output)
        self.events = EventWriter(self.run.events)

    def launched(self, *, going: bool = True) -> Written:
        """Started by a process that lives (this one), or by one that does not any more."""
        process = psutil.Process()
        document = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pid_started": process.create_time() if going else 1.0,
            "started_at": time.time(),
        }
        self.run.launch.write_text(json.dumps(document))
        self.events.write("phase", name="starting", done=0, total=0, words="")
        self.events.write("run", name=self.run.name, total_steps=100, world_size=1, device="cpu", version=1)
        return self

    def steps(self, first: int, last: int) -> Written:
        for step in range(first, last + 1):
            self.events.write(
                "step",
                step=step,
                loss=4.0 - step / 50,
                learning_rate=1e-3,
                grad_norm=1.0,
                tokens=step * 100,
                trained_tokens=step * 60,
                tokens_per_s=500.0,
                trained_tokens_per_s=300.0,
                epoch=step / 50,
                memory_bytes=1 << 28,
                seconds=0.2,
            )
        return self

    def evaluated(self, step: int, loss: float, answer: str = "") -> Written:
        self.events.write("eval", step=step, loss=loss, perplexity=2.0, tokens=100, best=True)
        if answer:
            self.events.write("sample", step=step, prompt="Who are you?", answer=answer, index=0)
        return self

    def ended(self, how: str, step: int = 100, words: str = "", hint: str = "") -> Written:
        """Its processes are gone, too."""
        self.launched_no_more()
        self.events.write("end", how=how, step=step, words=words, hint=hint)
        return self

    def launched_no_more(self) -> None:
        document = json.loads(self.run.launch.read_text())
        self.run.launch.write_text(json.dumps({**document, "pid_started": 1.0}))

    def checkpoint(self, step: int, size: int = 10_000) -> Path:
        """A whole checkpoint, of which nobody looks at the weights."""
        folder = self.run.checkpoints / f"step-{step}"
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"w" * size)
        write_manifest(folder)
        self.events.write("checkpoint", step=step, path=f"checkpoints/step-{step}", bytes=size, best=False)
        return folder

    def asked(self) -> list[dict[str, object]]:
        """What was asked of it."""
        if not self.run.control.exists():
            return []
        return [json.loads(line) for line in self.run.control.read_text().splitlines()]

    def answer(self, words: str = "done", step: int = 1) -> None:
        """Acknowledge what was asked last."""
        asked = self.asked()[-1]
        self.events.write("ack", command=asked["command"], id=asked["id"], step=step, words=words)


class Monitor(Library):
    """What a person sees and does there."""

    @property
    def runs(self) -> MonitorService:
        assert self.app.monitor is not None
        return self.app.monitor

    @property
    def at(self) -> MonitorScreen:
        screen = self.app._monitor_screen
        assert screen is not None
        return screen

    @property
    def in_monitor(self) -> bool:
        return isinstance(self.app.screen, MonitorScreen)

    async def listed(self, *names: str) -> None:
        """Wait until these are the runs in the list, from the top."""
        await self.until(lambda: self.run_names() == list(names), f"{names} in the list")

    def run_names(self) -> list[str]:
        return [row.name for row in self.at.table._shown]

    def all_drawn(self) -> bool:
        return not self.at._drawing.is_set and not self.at._changes and self.at.charts.all_drawn

    async def looked(self) -> None:
        """Read the runs now, and draw them."""
        await self.runs.refresh()
        await self.until(self.all_drawn, "it to be drawn")

    async def followed(self) -> None:
        """Wait until the run under the cursor has been read."""

        def loaded() -> bool:
            row = self.at.table.row
            follower = self.runs.follower(row.run) if row is not None else None
            return follower is not None and follower.loaded and bool(self.at._shown)

        await self.until(loaded, "the run to be read")
        await self.until(self.all_drawn, "it to be drawn")

    async def to_run(self, name: str) -> None:
        """Put the cursor on a run, by keys."""
        if not self.at.at_list:
            await self.press("escape")
        await self.press("home")
        for _ in range(self.at.table.count):
            row = self.at.table.row
            if row is not None and row.name == name:
                return
            await self.press("down")
        raise AssertionError(f"there is no {name} among {self.run_names()}")

    async def type_into(self, text: str) -> None:
        """Replace what stands in the input that has the focus."""
        focused = self.app.focused
        assert isinstance(focused, Input), focused
        focused.value = text
        await self.pilot.pause()

    def last_line(self) -> str:
        return self.text().splitlines()[-1]


@asynccontextmanager
async def monitor(
    home: Home, *, size: tuple[int, int] = (160, 48), settings: Settings | None = None, opened: bool = True
) -> AsyncIterator[Monitor]:
    """Start the app and open its monitor; quit in the end."""
    async with chat(home, size=size, settings=settings, loaded=False) as it:
        at = Monitor(it.home, it.app, it.pilot)
        await at.until(lambda: it.app.monitor is not None and it.app.monitor.ready, "the monitor's service")
        await at.until(lambda: it.app._monitor_screen is not None, "its screen")
        if opened:
            await at.press("f9")
            await at.looked()
        yield at
