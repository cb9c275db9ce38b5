"""Runs driven from outside, as a person's shell does: the supervisor's process, its ranks, and the run directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sft import config
from sft.config import Checkpoints, Data, Evaluation, Launch, Method, Model, Recipe, Source, Training
from sft.events import Record, tail
from sft.runs import RunDirectory, create_run
from tests.engine.tiny_models import CHATML, Family, make_checkpoint


def write_rows(path: Path, rows: int = 60) -> Path:
    """Questions and answers of several lengths, as alpaca has them."""
    places = ("harbour", "mill", "school", "bridge", "market", "tower", "forge", "garden")
    lines = []
    for number in range(rows):
        place = places[number % len(places)]
        question = f"What does the {place} number {number} hold?"
        answer = f"The {place} holds {number} " + "barrels of oil and salt " * (1 + number % 4)
        lines.append(json.dumps({"instruction": question, "input": "", "output": answer.strip() + "."}))
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def tiny_recipe(
    folder: Path,
    *,
    family: Family = "llama",
    kind: str = "lora",
    steps: int = 8,
    ranks: int = 1,
    zero: int = 0,
    accumulation: int = 4,
    every: int = 3,
) -> Recipe:
    """A recipe over a tiny model and a few rows, both made in the folder."""
    base = folder / f"base-{family}"
    if not base.exists():
        make_checkpoint(base, family, chat_template=CHATML)
    rows = folder / "rows.jsonl"
    if not rows.exists():
        write_rows(rows)
    return Recipe(
        model=Model(base=str(base)),
        data=Data(sources=(Source(path=str(rows)),), max_length=96, held_out=0.1),
        method=config.Method(kind=kind) if kind == "full" else Method(),  # type: ignore[arg-type]
        training=Training(max_steps=steps, accumulation=accumulation, learning_rate=1e-3, warmup_ratio=0.0),
        evaluation=Evaluation(every=0),
        checkpoints=Checkpoints(every=every),
        launch=Launch(ranks=ranks, zero=zero, device="cpu"),  # type: ignore[arg-type]
    )


@dataclass
class Running:
    """A run whose supervisor was started."""

    run: RunDirectory
    process: subprocess.Popen[bytes]
    offset: int = 0
    seen: list[Record] = field(default_factory=list)

    def wait(self, timeout_s: float = 240) -> int:
        """Until the supervisor has ended; its exit status."""
        return self.process.wait(timeout_s)

    def until(self, kind: str, **values: object) -> Record:
        """Wait for an event; a run that ends without it fails the test with its log."""
        read = 0
        while True:
            read += self._read()
            for record in self.seen[:]:
                self.seen.remove(record)
                if record["type"] == kind and all(record.get(name) == value for name, value in values.items()):
                    return record
            if self.process.poll() is not None and not self._read():
                raise AssertionError(f"the run ended without {kind} {values}:\n{log_of(self.run)}")
            try:
                self.process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue

    def _read(self) -> int:
        read = tail(self.run.events, self.offset)
        self.offset = read.offset
        self.seen += read.records
        return len(read.records)

    def ranks(self) -> list[psutil.Process]:
        """The processes that train."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [
            each
            for each in children
            if "sft.training" in each.cmdline() and "torch.distributed.run" not in each.cmdline()
        ]

    def kill_everything(self) -> None:
        """As when the machine loses power: the supervisor, the launcher and every rank."""
        processes = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for each in processes:
            try:
                each.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        self.process.wait(30)
        psutil.wait_procs(processes, timeout=30)


def new_run(recipe: Recipe, data: Path, name: str = "trial") -> RunDirectory:
    return create_run(recipe, data, name=name)


def start(
    run: RunDirectory, data: Path, environment: Mapping[str, str] | None = None, prefix: tuple[str, ...] = ()
) -> Running:
    """Start, or resume, a run. prefix: a command that runs the command behind it."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-P", "-m", "sft.supervise", str(run.path)],
        env={**os.environ, "HUGCHAT_DATA_DIR": str(data), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    offset = run.events.stat().st_size if run.events.exists() else 0
    return Running(run, process, offset)


def train(recipe: Recipe, data: Path, name: str = "trial") -> RunDirectory:
    """Run it from its beginning to its end, which must be a good one."""
    run = new_run(recipe, data, name)
    running = start(run, data)
    assert running.wait() == 0, log_of(run)
    return run


def events(run: RunDirectory, kind: str) -> list[Record]:
    return [record for record in tail(run.events, 0, 1 << 30).records if record["type"] == kind]


def curve(run: RunDirectory) -> dict[int, float]:
    """The loss of each step; of one that was done twice, the second time."""
    return {record["step"]: record["loss"] for record in events(run, "step")}


def log_of(run: RunDirectory) -> str:
    told = [record for record in tail(run.events, 0, 1 << 30).records if record["type"] in ("end", "alert")]
    log = run.log.read_text("utf-8", "replace")[-4000:] if run.log.exists() else ""
    return f"{told}\n{log}"
