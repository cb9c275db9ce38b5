"""Which process a download is, and ending it: the real processes, and none but them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from filelock import FileLock

from engine.checkpoints.downloads.job import Job, Request
from engine.checkpoints.downloads.manager import DownloadError, Downloads
from engine.checkpoints.downloads.partial import MAP_SUFFIX, PARTIAL_SUFFIX
from engine.checkpoints.downloads.processes import mark_of
from engine.checkpoints.downloads.status import ProcessMark
from engine.checkpoints.hub_cache import HubReference
from tests import hub_server
from tests.checkpoints.builders import model_files
from tests.checkpoints.downloads.conftest import Watcher
from tests.hub_server import HubServer

MODEL = HubReference("org/model")
MIB = 1 << 20
SOON_S = 0.5


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with downloads."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process


@pytest.fixture
def gate(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Every file but what the Hub says of them waits until it is set."""
    opened = threading.Event()

    def wait(request: hub_server.Request) -> None:
        if "/resolve/" in request.path or request.path.startswith("/storage/"):
            opened.wait()

    hub.before_chunk = wait
    yield opened
    opened.set()


@pytest.fixture
def half_way(hub: HubServer, tmp_path: Path) -> Iterator[threading.Event]:
    """The weights of org/model stop half-way until it is set."""
    hub.add("org/model", model_files(tmp_path, weights=2 * MIB))
    opened = threading.Event()

    def wait(request: hub_server.Request) -> None:
        if request.sent >= 2 * MIB:
            opened.wait()

    hub.before_chunk = wait
    yield opened
    opened.set()


def _mark(process: subprocess.Popen[bytes]) -> ProcessMark:
    mark = mark_of(process.pid)
    assert mark is not None
    return mark


async def _refusal(tmp_path: Path, mark: ProcessMark | None) -> DownloadError:
    """What pausing and cancelling say of a download that runs, by its lock, in the process of this mark."""
    cache = str(tmp_path / "cache")
    job = Job.of(tmp_path / "data", MODEL, tmp_path / "cache")
    request = Request("org/model", "main", "", cache)
    job.create(request)
    job.save_status(msgspec.structs.replace(job.first_status(request), state="downloading", process=mark))
    with job.lock():
        downloads = Downloads(tmp_path / "data", end_within_s=SOON_S)
        await downloads.start()
        with pytest.raises(DownloadError) as caught:
            await downloads.pause(job.id)
        with pytest.raises(DownloadError):
            await downloads.cancel(job.id)
        assert downloads.status(job.id).state == "downloading"
        assert job.request() == request
        await downloads.close()
    return caught.value


@pytest.mark.parametrize("changed", [{"started": "1"}, {"boot": "another"}])
async def test_a_number_that_another_process_has_by_now_is_not_signalled(
    tmp_path: Path, bystander: subprocess.Popen[bytes], changed: dict[str, str]
) -> None:
    error = await _refusal(tmp_path, msgspec.structs.replace(_mark(bystander), **changed))
    assert (error.reason, "not the process that its record names" in error.message) == ("elsewhere", True)
    assert bystander.communicate(b"alive")[0] == b"alive"


async def test_a_download_of_another_machine_is_told_to_be_there(
    tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    """The data folder may lie on a disk that machines share."""
    error = await _refusal(tmp_path, msgspec.structs.replace(_mark(bystander), host="the-other-machine"))
    assert (error.reason, "another machine (the-other-machine)" in error.message) == ("elsewhere", True)
    assert bystander.communicate(b"alive")[0] == b"alive"


async def test_one_that_never_says_which_process_it_is_is_told(tmp_path: Path) -> None:
    assert (await _refusal(tmp_path, None)).reason == "elsewhere"


def test_the_mark_of_a_process_is_its_own_and_goes_with_it() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        mark = _mark(process)
        assert (mark.pid, mark.host, mark) == (process.pid, socket.gethostname(), mark_of(process.pid))
        assert mark.started != _own_start()
        process.kill()
        psutil.wait_procs([psutil.Process(process.pid)], timeout=30)
        assert mark_of(process.pid) is None


def _own_start() -> str:
    mark = mark_of(os.getpid())
    assert mark is not None
    return mark.started


@pytest.mark.parametrize("how", ["pause", "close"])
async def test_a_process_that_does_not_end_is_killed(
    hub: HubServer, tmp_path: Path, gate: threading.Event, how: str
) -> None:
    """One that is stopped, as one that waits for a disk, does not hear what it is told."""
    watcher = Watcher()
    downloads = Downloads(tmp_path / "data", watcher, end_within_s=SOON_S)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    pid = (await watcher.until(lambda status: status.state == "downloading")).pid
    process = psutil.Process(pid)
    process.suspend()
    try:
        async with asyncio.timeout(60):
            await (downloads.pause(job) if how == "pause" else downloads.close())
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert downloads.status(job).state == "paused"
    assert not psutil.pid_exists(pid)
    await downloads.close()
    gate.set()
    again = Downloads(tmp_path / "data")
    await again.wait(await again.add(MODEL, cache_dir=tmp_path / "cache"))
    await again.close()


async def test_a_resumed_download_ends_with_the_program_although_it_once_was_detached(
    hub: HubServer, tmp_path: Path, gate: threading.Event
) -> None:
    watcher = Watcher()
    downloads = Downloads(tmp_path / "data", watcher)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    await watcher.until(lambda status: status.state == "downloading")
    await downloads.detach(job)
    await watcher.until(lambda status: status.detached)
    await downloads.pause(job)
    assert not downloads.status(job).detached, "what rests does not go on"
    await downloads.resume(job)
    running = await watcher.until(lambda status: status.state == "downloading")
    assert not running.detached
    await downloads.close()
    assert (downloads.status(job).state, psutil.pid_exists(running.pid)) == ("paused", False)


async def test_cancelling_what_is_done_leaves_it_whole(hub: HubServer, tmp_path: Path) -> None:
    """It may have come to its end while the person was asked; in the library it can be deleted."""
    downloads = Downloads(tmp_path / "data")
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    path = await downloads.wait(job)
    before = {file: file.read_bytes() for file in (tmp_path / "cache").rglob("*") if file.is_file()}
    await downloads.cancel(job)
    await downloads.close()
    assert (downloads.statuses(), path.is_dir()) == ([], True)
    assert {file: file.read_bytes() for file in (tmp_path / "cache").rglob("*") if file.is_file()} == before
    assert not (tmp_path / "data" / "downloads" / job).exists()


async def test_a_process_that_breaks_down_is_told_with_its_last_words(hub: HubServer, tmp_path: Path) -> None:
    lock = Job.of(tmp_path / "data", MODEL, tmp_path / "cache").directory / "lock"
    lock.mkdir(parents=True)
    downloads = Downloads(tmp_path / "data")
    with pytest.raises(DownloadError, match=r"broke down: IsADirectoryError.*lock") as caught:
        await downloads.wait(await downloads.add(MODEL, cache_dir=tmp_path / "cache"))
    await downloads.close()
    assert (caught.value.reason, caught.value.hint) == ("unexpected", "Try again; what came is kept.")


async def test_cancelling_leaves_alone_what_another_program_is_just_fetching(
    hub: HubServer, tmp_path: Path, half_way: threading.Event
) -> None:
    """It writes the same partial files, behind the lock of their content."""
    watcher = Watcher()
    downloads = Downloads(tmp_path / "data", watcher)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    await watcher.until(lambda status: status.done > MIB)
    await downloads.pause(job)
    repository = tmp_path / "cache" / "models--org--model"
    etag = hub_server.sha256(hub.repositories["org/model"].files["model.safetensors"])
    partial_files = [repository / "blobs" / f"{etag}{suffix}" for suffix in (PARTIAL_SUFFIX, MAP_SUFFIX)]
    assert all(file.is_file() for file in partial_files)
    with FileLock(tmp_path / "cache" / ".locks" / repository.name / f"{etag}.lock"):
        await downloads.cancel(job)
        assert all(file.is_file() for file in partial_files)
        assert sorted((repository / "blobs").iterdir()) == sorted(partial_files)
    await downloads.close()


async def test_what_cannot_be_deleted_stays_on_the_list(
    hub: HubServer, tmp_path: Path, half_way: threading.Event
) -> None:
    watcher = Watcher()
    downloads = Downloads(tmp_path / "data", watcher)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    await watcher.until(lambda status: status.done > MIB)
    await downloads.pause(job)
    [map_file] = (tmp_path / "cache").rglob(f"*{MAP_SUFFIX}")
    map_file.unlink()
    map_file.mkdir()
    with pytest.raises(OSError, match="directory"):
        await downloads.cancel(job)
    assert [status.state for status in downloads.statuses()] == ["paused"]
    map_file.rmdir()
    await downloads.cancel(job)
    assert downloads.statuses() == []
    await downloads.close()
