"""Pulling what is here already: damaged files are fetched anew, whole ones are not, and nothing is ever half there."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.checkpoints.downloads.job import Job
from engine.checkpoints.downloads.manager import DownloadError, Downloads
from engine.checkpoints.downloads.status import FileStatus, Status
from engine.checkpoints.hub_cache import HubReference
from tests.checkpoints.builders import model_files
from tests.checkpoints.downloads.conftest import Watcher
from tests.hub_server import HubServer, Request

MODEL = HubReference("org/model")
NAME = "model.safetensors"
MIB = 1 << 20


@pytest.fixture
def half_way(hub: HubServer, tmp_path: Path) -> Iterator[threading.Event]:
    """The weights of org/model stop half-way until it is set."""
    hub.add("org/model", model_files(tmp_path, weights=2 * MIB))
    opened = threading.Event()

    def wait(request: Request) -> None:
        if request.sent >= 2 * MIB:
            opened.wait()

    hub.before_chunk = wait
    yield opened
    opened.set()


async def _pull(tmp_path: Path, data: str = "data") -> tuple[Path, Status]:
    """Where org/model lies, and the last that its download said."""
    downloads = Downloads(tmp_path / data)
    try:
        job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
        path = await downloads.wait(job)
        last = downloads.status(job)
        await downloads.forget(job)
    finally:
        await downloads.close()
    return path, last


def _damage(file: Path) -> bytes:
    """Flip one bit in its middle; what it holds then."""
    blob = file.resolve()
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)
    return bytes(content)


def _fetched(hub: HubServer) -> list[str]:
    return [request.path.rpartition("/")[2] for request in hub.requests if "/resolve/" in request.path]


def _partial_files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if ".hugchat." in path.name]


@pytest.mark.parametrize("name", [NAME, "config.json"])
async def test_a_damaged_file_of_the_right_length_is_fetched_anew_and_no_other(
    hub: HubServer, tmp_path: Path, name: str
) -> None:
    """Pulling said "done", and the file was as damaged as before."""
    path, _ = await _pull(tmp_path)
    _damage(path / name)
    hub.requests.clear()
    again, last = await _pull(tmp_path)
    published = hub.repositories["org/model"].files
    assert {file.name: file.read_bytes() for file in again.iterdir()} == {
        file.name: published[file.name] for file in path.iterdir()
    }
    assert (again, _fetched(hub)) == (path, [name])
    assert name in last.message and "fetched anew" in last.message
    assert not _partial_files(tmp_path)


async def test_what_is_here_and_whole_is_not_fetched(hub: HubServer, tmp_path: Path) -> None:
    await _pull(tmp_path)
    hub.requests.clear()
    _, last = await _pull(tmp_path)
    assert (_fetched(hub), last.message) == ([], "")
    assert last.done == last.total == sum(file.size for file in last.files)


async def test_a_damaged_file_that_another_revision_brought_is_not_taken_over(hub: HubServer, tmp_path: Path) -> None:
    old, _ = await _pull(tmp_path)
    _damage(old / NAME)
    files = dict(hub.repositories["org/model"].files)
    hub.add("org/model", files | {"README.md": b"# newer"})
    new, last = await _pull(tmp_path)
    assert new != old
    assert (new / NAME).read_bytes() == (old / NAME).read_bytes() == files[NAME]
    assert NAME in last.message


async def test_a_damaged_copy_is_replaced_by_the_blob_that_is_whole(hub: HubServer, tmp_path: Path) -> None:
    """Where links are not possible a snapshot holds copies."""
    path, _ = await _pull(tmp_path)
    content = (path / NAME).read_bytes()
    (path / NAME).unlink()
    (path / NAME).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    hub.requests.clear()
    await _pull(tmp_path)
    assert ((path / NAME).read_bytes(), _fetched(hub)) == (content, [])


@pytest.mark.parametrize("then", ["cancel", "resume"])
async def test_the_damaged_file_stays_until_the_new_one_is_whole(
    hub: HubServer, tmp_path: Path, half_way: threading.Event, then: str
) -> None:
    half_way.set()
    path, _ = await _pull(tmp_path)
    half_way.clear()
    damaged = _damage(path / NAME)
    watcher = Watcher()
    downloads = Downloads(tmp_path / "data", watcher)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    await watcher.until(lambda status: any(file.path == NAME and file.done > MIB for file in _fetching(status)))
    await downloads.pause(job)
    assert (path / NAME).read_bytes() == damaged
    assert _partial_files(tmp_path)
    half_way.set()
    if then == "cancel":
        await downloads.cancel(job)
        assert (path / NAME).read_bytes() == damaged, "that was there before"
    else:
        await downloads.resume(job)
        await downloads.wait(job)
        assert (path / NAME).read_bytes() == hub.repositories["org/model"].files[NAME]
    await downloads.close()
    assert not _partial_files(tmp_path)


def _fetching(status: Status) -> list[FileStatus]:
    return [file for file in status.files if file.state == "downloading"]


async def test_a_snapshot_that_is_deleted_meanwhile_is_whole_in_the_end(
    hub: HubServer, tmp_path: Path, half_way: threading.Event
) -> None:
    """The download ended as done, and the checkpoint had no config."""
    watcher = Watcher()
    downloads = Downloads(tmp_path / "data", watcher)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    await watcher.until(lambda status: status.done > MIB)
    snapshot = tmp_path / "cache" / "models--org--model" / "snapshots" / hub.repositories["org/model"].commit
    (snapshot / "config.json").resolve().unlink()  # it is fetched once more; the others only get their names
    shutil.rmtree(snapshot)
    half_way.set()
    path = await downloads.wait(job)
    await downloads.close()
    published = hub.repositories["org/model"].files
    names = {"config.json", "tokenizer.json", "README.md", NAME}
    assert {file.name: file.read_bytes() for file in path.iterdir()} == {name: published[name] for name in names}
    assert sorted(_fetched(hub)) == sorted([*names, "config.json"])


async def test_a_repository_that_is_deleted_meanwhile_is_a_failure_in_words(
    hub: HubServer, tmp_path: Path, half_way: threading.Event
) -> None:
    watcher = Watcher()
    downloads = Downloads(tmp_path / "data", watcher)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    await watcher.until(lambda status: status.done > MIB)
    shutil.rmtree(tmp_path / "cache" / "models--org--model")
    half_way.set()
    with pytest.raises(DownloadError, match="is gone again: something deletes in the cache") as caught:
        await downloads.wait(job)
    assert caught.value.reason == "cache"
    await downloads.resume(job)
    assert ((await downloads.wait(job)) / NAME).is_file()
    await downloads.close()


async def test_two_that_begin_at_once_are_one_download(
    hub: HubServer, tmp_path: Path, half_way: threading.Event
) -> None:
    """Whose process came second called the other one's download interrupted."""
    watchers = Watcher(), Watcher()
    both = [Downloads(tmp_path / "data", watcher) for watcher in watchers]
    ids = [await downloads.add(MODEL, cache_dir=tmp_path / "cache") for downloads in both]
    for watcher in watchers:
        await watcher.until(lambda status: status.done > MIB)
    async with asyncio.timeout(60):  # no status need come any more: the transfer stands still
        while not any(downloads.is_foreign(ids[0]) for downloads in both):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    half_way.set()
    paths = [await downloads.wait(ids[0]) for downloads in both]
    for downloads in both:
        await downloads.close()
    assert paths[0] == paths[1]
    assert all("paused" not in watcher.states for watcher in watchers)
    assert not Job(tmp_path / "data" / "downloads" / ids[0]).running
