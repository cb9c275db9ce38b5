"""Revisions that come to name another commit, and commits that vanish, while a download of them is paused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.checkpoints.downloads.job import Job
from engine.checkpoints.downloads.manager import DownloadError, Downloads
from engine.checkpoints.hub_cache import HubReference
from tests.checkpoints.builders import model_files
from tests.checkpoints.downloads.conftest import Watcher
from tests.hub_server import HubServer, Repository, Request

MODEL = HubReference("org/model")
MIB = 1 << 20
WEIGHTS = 8 * MIB  # in 16 bits: 16 MiB


@pytest.fixture
def gate(hub: HubServer, tmp_path: Path) -> Iterator[threading.Event]:
    """The weights of org/model stop half-way until it is set."""
    hub.add("org/model", model_files(tmp_path, weights=WEIGHTS))
    opened = threading.Event()

    def wait_half_way(request: Request) -> None:
        if request.sent >= WEIGHTS:
            opened.wait()

    hub.before_chunk = wait_half_way
    yield opened
    opened.set()


async def _fetch(tmp_path: Path, data: str) -> Path:
    """The result of org/model, for a program with this data folder."""
    downloads = Downloads(tmp_path / data)
    try:
        return await downloads.wait(await downloads.add(MODEL, cache_dir=tmp_path / "cache"))
    finally:
        await downloads.close()


async def _paused_half_way(tmp_path: Path, watcher: Watcher) -> tuple[Downloads, str]:
    downloads = Downloads(tmp_path / "data", watcher)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    await watcher.until(lambda status: status.done >= WEIGHTS - MIB)
    await downloads.pause(job)
    return downloads, job


def _publish(hub: HubServer, files: dict[str, bytes], *, keep_old: bool) -> Repository:
    """A newer commit of org/model; keep_old: the Hub still has the one before."""
    old = hub.repositories["org/model"]
    if keep_old:
        hub.repositories["org/model@old"] = old
    return hub.add("org/model", dict(old.files) | files)


def _ref(tmp_path: Path) -> str:
    return (tmp_path / "cache" / "models--org--model" / "refs" / "main").read_text()


def _files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if not path.is_dir()]


async def test_a_revision_follows_the_hub_when_it_is_fetched_again(hub: HubServer, tmp_path: Path) -> None:
    first = await _fetch(tmp_path, "data")
    assert _ref(tmp_path) == first.name
    newer = _publish(hub, {"README.md": b"# newer"}, keep_old=False)
    assert (await _fetch(tmp_path, "data")).name == newer.commit == _ref(tmp_path)


async def test_going_on_never_sets_a_revision_back(hub: HubServer, tmp_path: Path, gate: threading.Event) -> None:
    """Another program fetched what is newer meanwhile."""
    watcher = Watcher()
    downloads, job = await _paused_half_way(tmp_path, watcher)
    gate.set()
    newer = _publish(hub, {"README.md": b"# newer", "model.safetensors": b"newer"}, keep_old=True)
    await _fetch(tmp_path, "another program's data")
    assert _ref(tmp_path) == newer.commit
    await downloads.resume(job)
    path = await downloads.wait(job)
    await downloads.close()
    old = hub.repositories["org/model@old"]
    assert (path.name, _ref(tmp_path)) == (old.commit, newer.commit)
    assert (path / "model.safetensors").read_bytes() == old.files["model.safetensors"]
    assert f"org/model@{old.commit}" in downloads.status(job).message


async def test_a_commit_that_is_gone_is_told_and_the_next_try_fetches_what_there_is(
    hub: HubServer, tmp_path: Path, gate: threading.Event
) -> None:
    watcher = Watcher()
    downloads, job = await _paused_half_way(tmp_path, watcher)
    gate.set()
    begun = downloads.status(job).commit
    newer = _publish(hub, {"README.md": b"# newer"}, keep_old=False)
    hub.requests.clear()
    await downloads.resume(job)
    with pytest.raises(DownloadError) as caught:
        await downloads.wait(job)
    assert (caught.value.reason, begun[:12] in caught.value.message) == ("not-found", True)
    assert "Try again" in caught.value.hint
    await downloads.resume(job)
    path = await downloads.wait(job)
    assert (path.name, _ref(tmp_path)) == (newer.commit, newer.commit)
    assert (path / "README.md").read_bytes() == b"# newer"
    sent = sum(request.sent for request in hub.requests if request.path.startswith("/storage/"))
    assert sent <= WEIGHTS + 2 * MIB, "what both commits share is not fetched again"
    await downloads.close()
    assert not [file for file in _files(tmp_path) if begun in file.parts or ".hugchat." in file.name]
    blobs = [file for file in _files(tmp_path) if file.parent.name == "blobs"]
    assert len(blobs) == len(list(path.iterdir()))


async def test_cancelling_leaves_nothing_of_a_commit_that_is_gone(
    hub: HubServer, tmp_path: Path, gate: threading.Event
) -> None:
    downloads, job = await _paused_half_way(tmp_path, Watcher())
    gate.set()
    _publish(hub, {"model.safetensors": b"newer"}, keep_old=False)
    await downloads.resume(job)
    with pytest.raises(DownloadError):
        await downloads.wait(job)
    await downloads.cancel(job)
    await downloads.close()
    assert _files(tmp_path) == []


async def test_a_commit_that_the_hub_has_again_is_finished(
    hub: HubServer, tmp_path: Path, gate: threading.Event
) -> None:
    downloads, job = await _paused_half_way(tmp_path, Watcher())
    gate.set()
    old = hub.repositories["org/model"]
    _publish(hub, {"README.md": b"# newer"}, keep_old=False)
    await downloads.resume(job)
    with pytest.raises(DownloadError):
        await downloads.wait(job)
    hub.repositories["org/model"] = old
    await downloads.resume(job)
    path = await downloads.wait(job)
    await downloads.close()
    assert path.name == old.commit
    assert {file.name: file.read_bytes() for file in path.iterdir()}.items() <= dict(old.files).items()
    assert (path / "model.safetensors").is_file()


def test_what_was_linked_is_known_for_each_commit(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.note_link("a" * 40, "config.json")
    job.note_link("b" * 40, "sub/config.json")
    assert (job.links("a" * 40), job.links("b" * 40)) == ({"config.json"}, {"sub/config.json"})
