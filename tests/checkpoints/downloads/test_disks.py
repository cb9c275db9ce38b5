"""Disks that are full, closed to us or without links: real processes of downloads, in which only the disk's answers
are made up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.checkpoints.downloads import partial
from engine.checkpoints.downloads.job import Job, Request
from engine.checkpoints.downloads.manager import Downloads
from engine.checkpoints.downloads.partial import written_bytes
from engine.checkpoints.downloads.status import Status
from engine.checkpoints.hub_cache import HubReference
from tests.checkpoints.builders import model_files
from tests.checkpoints.downloads.conftest import Watcher
from tests.hub_server import HubServer, sha256
from tests.hub_server import Request as HubRequest

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
_NOT_TO_BE_WRITTEN = """
import errno, os
from pathlib import Path
mkdir, problem = os.mkdir, errno.{problem}
def refuse(path, *arguments, **keywords):
    if "cache" in Path(path).parts:
        raise OSError(problem, os.strerror(problem), str(path))
    mkdir(path, *arguments, **keywords)
os.mkdir = refuse
"""
_READ_ONLY_ON_THE_WAY = """
import errno, os
def refuse(*arguments):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))
os.pwrite = refuse
"""
_WITHOUT_LINKS = """
import errno, os
def refuse(*arguments, **keywords):
    raise OSError(errno.{problem}, os.strerror(errno.{problem}))
os.symlink = refuse
"""
_READ_ONLY_AND_FULL = """
import os, shutil
shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10, 9, 1)
os.access = lambda path, mode: False
os.statvfs = lambda path: os.statvfs_result((0, 0, 0, 0, 0, 0, 0, 0, os.ST_RDONLY, 0))
"""
_DATA_FULL_ON_THE_WAY = """
import errno, os
def refuse(file):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
os.fsync = refuse
"""
_READ_WHEN_TOLD = """
import time
from pathlib import Path
from engine.checkpoints.downloads import checking
opened = checking.open_regular
def wait(path):
    while not Path({go!r}).exists():
        time.sleep(0.01)
    return opened(path)
checking.open_regular = wait
"""
_SYNCED_ALL_THE_TIME = """
from engine.checkpoints.downloads import transfer
transfer._SYNC_EVERY_S = 0.0
"""
_RUN = "from engine.checkpoints.downloads.run import main\nmain()\n"


async def _begin_on(disk: str, tmp_path: Path) -> tuple[Job, asyncio.subprocess.Process]:
    """A download on such a disk."""
    job = Job.of(tmp_path / "data", MODEL, tmp_path / "cache")
    job.create(Request("org/model", "main", "", str(tmp_path / "cache")))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", disk + _RUN, str(job.directory)), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return job, process


async def _run_with(disk: str, tmp_path: Path) -> Status:
    """How the download ended on such a disk."""
    job, process = await _begin_on(disk, tmp_path)
    await process.communicate()
    assert process.returncode == 0
    status = job.status()
    assert status is not None
    return status


async def test_too_little_room_is_told_before_anything_is_fetched(hub: HubServer, tmp_path: Path) -> None:
    status = await _run_with(_FULL_AT_THE_START, tmp_path)
    assert (status.state, status.reason) == ("failed", "space")
    names = ("config.json", "tokenizer.json", "README.md", "model.safetensors")
    needed = sum(len(hub.repositories["org/model"].files[name]) for name in names)
    there = "0.1 MB are free there, of which 64.0 MB are to stay free."
    assert status.message == f"{_tenths(needed)} MB are to be fetched into {tmp_path / 'cache'}. {there}"
    assert status.hint == f"Make room for {_tenths(needed + 64_000_000)} MB more, or move the cache with HF_HOME."
    assert not [request for request in hub.requests if "/resolve/" in request.path]


def _tenths(size: int) -> str:
    return f"{-(-size // 100_000) / 10:.1f}"


async def test_a_disk_that_is_read_only_is_told_before_that_it_is_full(hub: HubServer, tmp_path: Path) -> None:
    status = await _run_with(_READ_ONLY_AND_FULL, tmp_path)
    _assert_tells_of_the_cache(status, tmp_path)
    assert "Read-only file system" in status.message


async def test_a_data_folder_that_fills_up_on_the_way_is_not_called_the_cache(hub: HubServer, tmp_path: Path) -> None:
    status = await _run_with(_DATA_FULL_ON_THE_WAY, tmp_path)
    assert (status.state, status.reason) == ("failed", "data")
    assert f"{tmp_path / 'data'}" in status.message and "No space left on device" in status.message
    assert "HUGCHAT_DATA_DIR" in status.hint


async def test_what_is_here_is_read_as_a_stage_of_its_own(hub: HubServer, tmp_path: Path) -> None:
    assert (await _run_with("", tmp_path)).state == "done"
    Job.of(tmp_path / "data", MODEL, tmp_path / "cache").remove()
    begun = threading.Event()
    hub.before_chunk = lambda request: begun.set()
    watcher = Watcher()
    downloads = Downloads(tmp_path / "data", watcher)
    job, process = await _begin_on(_READ_WHEN_TOLD.format(go=str(tmp_path / "go")), tmp_path)
    try:
        assert await asyncio.to_thread(begun.wait, 60)
        await downloads.start()
        reading = await watcher.until(lambda status: status.state == "checking")
    finally:
        (tmp_path / "go").touch()
    assert reading.message == "What is here already is compared with its checksums."
    assert reading.total > 0 == reading.done
    await downloads.wait(job.id)
    await downloads.close()
    await process.communicate()


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


@pytest.mark.parametrize("problem", ["EACCES", "EPERM", "EROFS"])
async def test_a_cache_that_cannot_be_written_to_is_told_with_its_folder(
    hub: HubServer, tmp_path: Path, problem: str
) -> None:
    status = await _run_with(_NOT_TO_BE_WRITTEN.format(problem=problem), tmp_path)
    _assert_tells_of_the_cache(status, tmp_path)


async def test_a_disk_that_turns_read_only_on_the_way_is_told(hub: HubServer, tmp_path: Path) -> None:
    _assert_tells_of_the_cache(await _run_with(_READ_ONLY_ON_THE_WAY, tmp_path), tmp_path)


@pytest.mark.parametrize("where", ["cache", "cache/models--org--model", "cache/models--org--model/blobs"])
async def test_a_file_in_the_way_is_told_and_does_not_keep_the_download_from_being_cancelled(
    hub: HubServer, tmp_path: Path, where: str
) -> None:
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / where).write_text("a file")
    status = await _run_with("", tmp_path)
    _assert_tells_of_the_cache(status, tmp_path)
    downloads = Downloads(tmp_path / "data")
    await downloads.start()
    await downloads.cancel(status.id)
    assert downloads.statuses() == []
    await downloads.close()
    assert (tmp_path / where).read_text() == "a file"


def _assert_tells_of_the_cache(status: Status, tmp_path: Path) -> None:
    assert (status.state, status.reason) == ("failed", "cache")
    assert str(tmp_path / "cache") in status.message and "HF_HOME" in status.hint


@pytest.mark.parametrize("problem", ["EPERM", "ENOTSUP", "ENOSYS"])
async def test_where_links_are_impossible_the_snapshot_holds_copies(
    hub: HubServer, tmp_path: Path, problem: str
) -> None:
    status = await _run_with(_WITHOUT_LINKS.format(problem=problem), tmp_path)
    assert status.state == "done"
    published = hub.repositories["org/model"].files
    found = _real_files(Path(status.path))
    assert found == {name: published[name] for name in found}
    assert set(found) == {"config.json", "tokenizer.json", "README.md", "model.safetensors"}
    hub.requests.clear()
    assert (await _run_with("", tmp_path)).state == "done"
    assert not [request for request in hub.requests if "/resolve/" in request.path]


async def test_what_came_is_brought_to_the_disk_while_the_download_runs(hub: HubServer, tmp_path: Path) -> None:
    """A machine that goes down in the middle of a day's download loses seconds of it."""
    hub.add("org/model", model_files(tmp_path, weights=WEIGHTS))
    half_way, opened = threading.Event(), threading.Event()

    def wait_half_way(request: HubRequest) -> None:
        if request.sent >= WEIGHTS:
            half_way.set()
            opened.wait()

    hub.before_chunk = wait_half_way
    job, process = await _begin_on(_SYNCED_ALL_THE_TIME, tmp_path)
    watcher = Watcher()
    downloads = Downloads(tmp_path / "data", watcher)
    blobs = tmp_path / "cache" / "models--org--model" / "blobs"
    weights = hub.repositories["org/model"].files["model.safetensors"]
    try:
        assert await asyncio.to_thread(half_way.wait, 60)
        await downloads.start()
        await watcher.until(lambda status: _after_a_crash(blobs, sha256(weights), len(weights)) >= WEIGHTS / 2)
    finally:
        opened.set()
    await downloads.wait(job.id)
    await downloads.close()
    await process.communicate()


def _real_files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if not path.is_symlink()}


def _after_a_crash(blobs: Path, etag: str, size: int) -> int:
    """Bytes of a file that are believed to be here once the machine has started anew."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr(partial, "_boot", lambda: b"another boot id.")
        return written_bytes(blobs, etag, size)
