"""Beginning, pausing, going on, cancelling and detaching downloads."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest

from engine.checkpoints.downloads.job import Job, all_jobs
from engine.checkpoints.downloads.manager import DownloadError, Downloads
from engine.checkpoints.hub_cache import HubReference
from tests.checkpoints.builders import model_files
from tests.checkpoints.downloads.conftest import Watcher
from tests.hub_server import HubServer, Request

MODEL = HubReference("org/model")
WEIGHTS = 20_000_000  # in 16 bits: 40 MB
HALF = 20_000_000
MIB = 1 << 20


@pytest.fixture
def gate(hub: HubServer, tmp_path: Path) -> threading.Event:
    """The weights of org/model stop half-way until it is set."""
    hub.add("org/model", model_files(tmp_path, weights=WEIGHTS))
    opened = threading.Event()

    def wait_half_way(request: Request) -> None:
        if sum(each.sent for each in list(hub.requests)) >= HALF:
            opened.wait()

    hub.before_chunk = wait_half_way
    return opened


def _manager(tmp_path: Path) -> tuple[Downloads, Watcher]:
    watcher = Watcher()
    return Downloads(tmp_path / "data", watcher), watcher


def _weights_sent(hub: HubServer) -> int:
    return sum(request.sent for request in hub.requests if request.path.startswith("/storage/"))


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() or path.is_symlink()]


async def test_pause_keeps_what_came_and_resume_goes_on_from_there(
    hub: HubServer, tmp_path: Path, gate: threading.Event
) -> None:
    downloads, watcher = _manager(tmp_path)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    await watcher.until(lambda status: status.done >= HALF - 1_000_000)
    await downloads.pause(job)
    paused = downloads.status(job)
    assert (paused.state, paused.pid, paused.rate) == ("paused", 0, 0.0)
    assert paused.done >= HALF - 1_000_000
    gate.set()
    await downloads.resume(job)
    path = await downloads.wait(job)
    await downloads.close()
    assert (path / "model.safetensors").read_bytes() == hub.repositories["org/model"].files["model.safetensors"]
    assert _weights_sent(hub) <= 1.2 * 2 * WEIGHTS


async def test_progress_is_told_for_each_file_with_rate_and_time_left(hub: HubServer, tmp_path: Path) -> None:
    hub.add("org/model", model_files(tmp_path, weights=WEIGHTS))
    pace = threading.Event()

    def slowly(request: Request) -> None:
        pace.wait(0.01)

    hub.before_chunk = slowly
    downloads, watcher = _manager(tmp_path)
    await downloads.wait(await downloads.add(MODEL, cache_dir=tmp_path / "cache"))
    await downloads.close()
    under_way = [status for status in watcher.seen if 0 < status.done < status.total]
    assert under_way
    assert all(status.total == sum(file.size for file in status.files) for status in under_way)
    assert any(status.rate > 0 and status.left_s is not None for status in under_way)
    assert [status.done for status in under_way] == sorted(status.done for status in under_way)
    assert {file.state for file in watcher.seen[-1].files} == {"done"}


async def test_cancel_leaves_nothing_of_it(hub: HubServer, tmp_path: Path, gate: threading.Event) -> None:
    downloads, watcher = _manager(tmp_path)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    await watcher.until(lambda status: status.done >= HALF - 1_000_000)
    await downloads.cancel(job)
    gate.set()
    await downloads.close()
    assert downloads.statuses() == []
    assert _files(tmp_path / "cache") == []
    assert list(all_jobs(tmp_path / "data")) == []


async def test_cancel_keeps_what_was_there_before(hub: HubServer, tmp_path: Path) -> None:
    """A second GGUF of a repository is cancelled: the first one, and what both share, stay."""
    files = {"README.md": b"# card", "a.gguf": b"GGUF" * 1000, "b.gguf": b"GGUF" * 1_000_000}
    hub.add("org/quants", files)
    opened = threading.Event()

    def wait_half_way(request: Request) -> None:
        if request.sent >= 2_000_000:
            opened.wait()

    hub.before_chunk = wait_half_way
    downloads, watcher = _manager(tmp_path)
    first = await downloads.wait(
        await downloads.add(HubReference("org/quants", file="a.gguf"), cache_dir=tmp_path / "cache")
    )
    second = await downloads.add(HubReference("org/quants", file="b.gguf"), cache_dir=tmp_path / "cache")
    await watcher.until(lambda status: status.file == "b.gguf" and status.done >= 1_000_000)
    await downloads.cancel(second)
    opened.set()
    await downloads.close()
    assert first.read_bytes() == files["a.gguf"]
    assert not (first.parent / "b.gguf").exists()
    assert [path.parent.name for path in _files(tmp_path / "cache") if not path.is_symlink()].count("blobs") == 1


async def test_a_killed_process_is_shown_as_paused_and_goes_on(
    hub: HubServer, tmp_path: Path, gate: threading.Event
) -> None:
    downloads, watcher = _manager(tmp_path)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    running = await watcher.until(lambda status: status.done >= HALF - 1_000_000)
    os.kill(running.pid, signal.SIGKILL)
    killed = await watcher.until(lambda status: status.state == "paused")
    assert "interrupted" in killed.message
    gate.set()
    assert await downloads.add(MODEL, cache_dir=tmp_path / "cache") == job
    await downloads.wait(job)
    await downloads.close()
    assert _weights_sent(hub) <= 1.2 * 2 * WEIGHTS


async def test_three_run_at_once_and_the_others_wait_their_turn(
    hub: HubServer, tmp_path: Path, gate: threading.Event
) -> None:
    for number in range(5):
        hub.add(f"org/model-{number}", model_files(tmp_path, weights=WEIGHTS + number))
    downloads, watcher = _manager(tmp_path)
    jobs = [
        await downloads.add(HubReference(f"org/model-{number}"), cache_dir=tmp_path / "cache") for number in range(5)
    ]
    await watcher.until(lambda _: [status.pid > 0 for status in downloads.statuses()].count(True) == 3)
    assert [status.state for status in downloads.statuses()][3:] == ["queued", "queued"]
    gate.set()
    for job in jobs:
        await downloads.wait(job)
    await downloads.close()


_PROGRAM = """
import asyncio, sys
from pathlib import Path
from engine.checkpoints.downloads.manager import Downloads
from engine.checkpoints.hub_cache import HubReference

async def main():
    data, cache, how = sys.argv[1:]
    def begun(status):
        if status.done > 15_000_000:
            half.set()
    half = asyncio.Event()
    downloads = Downloads(Path(data), begun)
    job = await downloads.add(HubReference("org/model"), cache_dir=Path(cache))
    await half.wait()
    print(downloads.status(job).pid, flush=True)
    if how == "detach":
        await downloads.close(keep_going=True)
    elif how == "close":
        await downloads.close()
    else:
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def _another_program(tmp_path: Path, how: str) -> tuple[asyncio.subprocess.Process, int]:
    """A program that began the download and is half-way; the download's process."""
    arguments = (str(tmp_path / "data"), str(tmp_path / "cache"), how)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    return process, int(await process.stdout.readline())


async def test_a_detached_download_goes_on_and_the_next_start_picks_it_up(
    hub: HubServer, tmp_path: Path, gate: threading.Event
) -> None:
    program, pid = await _another_program(tmp_path, "detach")
    assert await program.wait() == 0
    assert psutil.pid_exists(pid)
    downloads, watcher = _manager(tmp_path)
    await downloads.start()
    found = await watcher.until(lambda status: status.detached)
    assert found.pid == pid
    gate.set()
    path = await downloads.wait(found.id)
    await downloads.close()
    assert (path / "config.json").is_file()
    assert "paused" not in watcher.states


async def test_what_was_done_while_nobody_looked_is_listed_until_it_was_seen(
    hub: HubServer, tmp_path: Path, gate: threading.Event
) -> None:
    """It went on after its program had ended, and the next start knew nothing of it."""
    program, pid = await _another_program(tmp_path, "detach")
    assert await program.wait() == 0
    gate.set()
    await asyncio.to_thread(psutil.wait_procs, [psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=60)
    for _ in range(2):  # the first program that finds it may be killed before it said anything
        downloads, _ = _manager(tmp_path)
        await downloads.start()
        [found] = downloads.statuses()
        assert (found.state, downloads.arrived) == ("done", [found])
        await downloads.close()
    await downloads.forget(found.id)
    after, _ = _manager(tmp_path)
    await after.start()
    assert (after.statuses(), after.arrived) == ([], [])
    assert found.path and list((tmp_path / "cache").rglob("model.safetensors"))
    await after.close()


async def test_what_was_seen_to_be_done_or_was_deleted_since_is_not_told_again(hub: HubServer, tmp_path: Path) -> None:
    for deleted in (False, True):
        downloads, _ = _manager(tmp_path)
        path = await downloads.wait(await downloads.add(MODEL, cache_dir=tmp_path / "cache"))
        await downloads.close()
        if deleted:
            [job] = all_jobs(tmp_path / "data")
            job.mark_seen(False)
            shutil.rmtree(path)
        again, _ = _manager(tmp_path)
        await again.start()
        assert (again.statuses(), again.arrived) == ([], [])
        await again.close()


async def test_what_others_began_or_deleted_is_known_after_another_look(
    hub: HubServer, tmp_path: Path, gate: threading.Event
) -> None:
    downloads, watcher = _manager(tmp_path)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    await watcher.until(lambda status: status.done > MIB)
    await downloads.pause(job)
    other, _ = _manager(tmp_path)
    await other.start()
    assert [status.id for status in other.statuses()] == [job]
    await other.cancel(job)
    await downloads.start()
    assert downloads.statuses() == []
    await downloads.close()
    await other.close()


async def test_a_picked_up_download_can_be_paused(hub: HubServer, tmp_path: Path, gate: threading.Event) -> None:
    program, _ = await _another_program(tmp_path, "detach")
    await program.wait()
    downloads, _ = _manager(tmp_path)
    await downloads.start()
    [found] = downloads.statuses()
    await downloads.pause(found.id)
    assert downloads.status(found.id).state == "paused"
    gate.set()
    await downloads.close()


@pytest.mark.parametrize("how", ["close", "kill"])
async def test_the_end_of_the_program_pauses_its_downloads(
    hub: HubServer, tmp_path: Path, gate: threading.Event, how: str
) -> None:
    program, pid = await _another_program(tmp_path, how)
    if how == "kill":
        program.kill()
    await program.wait()
    await asyncio.to_thread(psutil.wait_procs, [psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=30)
    downloads, _ = _manager(tmp_path)
    await downloads.start()
    [left] = downloads.statuses()
    assert left.state == "paused"
    gate.set()
    assert await downloads.add(MODEL, cache_dir=tmp_path / "cache") == left.id
    await downloads.wait(left.id)
    await downloads.close()
    assert _weights_sent(hub) <= 1.2 * 2 * WEIGHTS


async def test_two_programs_share_one_download(hub: HubServer, tmp_path: Path, gate: threading.Event) -> None:
    program, pid = await _another_program(tmp_path, "stay")
    downloads, watcher = _manager(tmp_path)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    seen = await watcher.until(lambda status: status.pid)
    assert seen.pid == pid
    gate.set()
    await downloads.wait(job)
    program.kill()
    await program.wait()
    await downloads.close()
    assert _weights_sent(hub) <= 1.2 * 2 * WEIGHTS


async def test_waiting_for_one_that_is_paused_says_so(hub: HubServer, tmp_path: Path, gate: threading.Event) -> None:
    downloads, watcher = _manager(tmp_path)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    waiting = asyncio.create_task(downloads.wait(job))
    await watcher.until(lambda status: status.done)
    await downloads.pause(job)
    with pytest.raises(DownloadError, match="was paused"):
        await waiting
    gate.set()
    await downloads.close()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"repo_id": 7}'])
async def test_a_damaged_job_file_is_passed_over(tmp_path: Path, content: bytes) -> None:
    job = Job(tmp_path / "data" / "downloads" / "x")
    job.directory.mkdir(parents=True)
    (job.directory / "job.json").write_bytes(content)
    downloads, _ = _manager(tmp_path)
    await downloads.start()
    assert downloads.statuses() == []
    await downloads.close()


async def test_cancel_keeps_what_another_download_finished_meanwhile(
    hub: HubServer, tmp_path: Path, gate: threading.Event
) -> None:
    """The same commit under another name shares the snapshot."""
    downloads, watcher = _manager(tmp_path)
    first = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    await watcher.until(lambda status: status.done >= HALF - 1_000_000)
    await downloads.pause(first)
    gate.set()
    commit = HubReference("org/model", hub.repositories["org/model"].commit)
    path = await downloads.wait(await downloads.add(commit, cache_dir=tmp_path / "cache"))
    await downloads.cancel(first)
    await downloads.close()
    assert {file.name for file in path.iterdir()} == {"config.json", "tokenizer.json", "README.md", "model.safetensors"}
    assert (path / "model.safetensors").read_bytes() == hub.repositories["org/model"].files["model.safetensors"]


async def test_pause_right_behind_add_holds(hub: HubServer, tmp_path: Path, gate: threading.Event) -> None:
    downloads, _ = _manager(tmp_path)
    for _ in range(3):
        job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
        await asyncio.sleep(0)
        await downloads.pause(job)
        assert downloads.status(job).state == "paused"
        assert not downloads.active
    again = [downloads.add(MODEL, cache_dir=tmp_path / "cache") for _ in range(3)]
    assert set(await asyncio.gather(*again)) == {job}
    gate.set()
    await downloads.wait(job)
    await downloads.close()
    looked_up = [request for request in hub.requests if "/tree/" in request.path]
    assert len(looked_up) <= 4, "one process at a time"


async def test_a_job_that_vanishes_neither_blocks_the_others_nor_the_end(
    hub: HubServer, tmp_path: Path, gate: threading.Event
) -> None:
    hub.add("org/other", model_files(tmp_path, weights=WEIGHTS + 1))
    downloads, watcher = _manager(tmp_path)
    lost = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    kept = await downloads.add(HubReference("org/other"), cache_dir=tmp_path / "cache")
    await watcher.until(lambda _: all(status.pid for status in downloads.statuses()))
    await asyncio.to_thread(Job(tmp_path / "data" / "downloads" / lost).remove)
    os.kill(downloads.status(lost).pid, signal.SIGKILL)
    await watcher.until(lambda _: downloads.status(lost).state == "paused")
    gate.set()
    await downloads.wait(kept)
    await downloads.close()
