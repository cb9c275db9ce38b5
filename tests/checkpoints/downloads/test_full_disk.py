"""A disk without room: the real process of a download, in which only the disk's answers are made up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from engine.checkpoints.downloads.job import Job, Request
from engine.checkpoints.downloads.manager import Downloads
from engine.checkpoints.downloads.status import Status
from engine.checkpoints.hub_cache import HubReference
from tests.checkpoints.builders import model_files
from tests.hub_server import HubServer

MODEL = HubReference("org/model")
ROOM = 10_000_000
WEIGHTS = 10_000_000  # in 16 bits: 20 MB

_FULL_AT_THE_START = """
import shutil
shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10, 9, 1)
"""
_FULL_ON_THE_WAY = f"""
import errno, os
room, pwrite = {ROOM}, os.pwrite
def write(file, data, at):
    global room
    room -= len(data)
    if room < 0:
        raise OSError(errno.ENOSPC, "No space left on device")
    return pwrite(file, data, at)
os.pwrite = write
"""
_RUN = "from engine.checkpoints.downloads.run import main\nmain()\n"


async def _run_with(disk: str, tmp_path: Path) -> Status:
    """How the download ended on such a disk."""
    job = Job.of(tmp_path / "data", MODEL, tmp_path / "cache")
    job.create(Request("org/model", "main", "", str(tmp_path / "cache")))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", disk + _RUN, str(job.directory)), stdin=subprocess.PIPE
    )
    assert await process.wait() == 0
    status = job.status()
    assert status is not None
    return status


async def test_too_little_room_is_told_before_anything_is_fetched(hub: HubServer, tmp_path: Path) -> None:
    status = await _run_with(_FULL_AT_THE_START, tmp_path)
    assert (status.state, status.reason) == ("failed", "space")
    assert "are free" in status.message and "HF_HOME" in status.hint
    assert not [request for request in hub.requests if "/resolve/" in request.path]


async def test_a_disk_that_fills_up_on_the_way_is_told_and_what_came_is_kept(hub: HubServer, tmp_path: Path) -> None:
    hub.add("org/model", model_files(tmp_path, weights=WEIGHTS))
    status = await _run_with(_FULL_ON_THE_WAY, tmp_path)
    assert (status.state, status.reason) == ("failed", "space")
    assert ROOM / 2 < status.done <= ROOM
    downloads = Downloads(tmp_path / "data")
    await downloads.start()
    [found] = downloads.statuses()
    await downloads.resume(found.id)
    path = await downloads.wait(found.id)
    await downloads.close()
    assert (path / "model.safetensors").stat().st_size > 2 * WEIGHTS
    sent = sum(request.sent for request in hub.requests if request.path.startswith("/storage/"))
    assert sent - 2 * WEIGHTS < 2 * WEIGHTS - status.done + 4_000_000, "what was on the disk is not fetched again"
