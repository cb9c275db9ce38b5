"""The scripted workers that the tests of the engine's process side talk to."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.client import Worker
from tests.engine.scripted import SCRIPTS, Spawn


@pytest.fixture
async def spawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Spawn]:
    """Spawns scripted workers, which are closed after the test. A session's source may be given instead."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SCRIPTS), str(tmp_path)]))
    workers: list[Worker] = []

    async def start(source: str | None = None, load: bool = True) -> Worker:
        session = "scripted_session"
        if source is not None:
            session = f"session_{len(workers)}"
            (tmp_path / f"{session}.py").write_text(source)
        worker = await Worker.spawn(session=session)
        workers.append(worker)
        if load:
            await worker.load(Path("/any"))
        return worker

    yield start
    for worker in workers:
        await worker.close()
