"""Unfinished downloads in the library: real downloads, each one row that goes as a whole, and never while it runs."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engine.checkpoints.downloads.manager import DownloadError, Downloads
from engine.checkpoints.hub_cache import HubReference
from engine.checkpoints.library.rows import Places, Row
from engine.checkpoints.library.trash import Trash
from tests.checkpoints.builders import make_gguf, model_files
from tests.checkpoints.downloads.conftest import Watcher
from tests.checkpoints.library.repositories import carry_out, contents, du, inventory, plan, refusal, rows_of
from tests.hub_server import HubServer, Request

MODEL = HubReference("org/model")
MIB = 1 << 20


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "cache").mkdir()
    return Places(tmp_path / "cache", tmp_path / "data")


@pytest.fixture
def gate(hub: HubServer, tmp_path: Path) -> Iterator[threading.Event]:
    """What is larger than 2 MiB stops there until it is set."""
    hub.add("org/model", model_files(tmp_path, weights=2 * MIB))
    opened = threading.Event()

    def wait(request: Request) -> None:
        if request.sent >= 2 * MIB:
            opened.wait()

    hub.before_chunk = wait
    yield opened
    opened.set()


@pytest.fixture
async def downloads(places: Places) -> AsyncIterator[Downloads]:
    manager = Downloads(places.data_dir)
    yield manager
    await manager.close()


async def _half(downloads: Downloads, places: Places, reference: HubReference = MODEL) -> str:
    """A download that runs, and has half of its largest file."""
    watcher = Watcher()
    downloads.listen(watcher)
    job = await downloads.add(reference, cache_dir=places.cache_dir)
    await watcher.until(lambda status: status.id == job and status.state == "downloading" and status.done > MIB)
    return job


def _models(places: Places) -> list[Row]:
    return [row for row in rows_of(places) if row.repository]


def _below_the_cache(places: Places) -> int:
    return du(places.cache_dir) - places.cache_dir.stat().st_blocks * 512


async def test_it_is_one_row_and_goes_with_all_that_it_left(
    hub: HubServer, places: Places, gate: threading.Event, downloads: Downloads
) -> None:
    """It had two rows of one name, and deleting one left the other."""
    job = await _half(downloads, places)
    await downloads.pause(job)
    found = inventory(places)
    [row] = [row for row in found.rows if row.repository]
    assert (row.name, row.kind, row.key) == ("org/model", "unfinished", str(places.cache_dir / "models--org--model"))
    assert row.problem.count("not finished") == 1 and row.problem.endswith("hugchat models pull org/model.")
    assert found.total_bytes == _below_the_cache(places) == sum(each.own_bytes for each in found.rows)
    before = du(places.cache_dir, places.data_dir)
    was = contents(places.cache_dir)
    removal = plan(places, Path(row.key))
    trash = Trash(places)
    discarded = trash.discard(removal)
    assert before - du(places.cache_dir, places.data_dir) - removal.freed_bytes < 64 * 1024, (
        "but for the trash's folder"
    )
    assert _models(places) == []
    await downloads.start()
    assert downloads.statuses() == []
    trash.restore(discarded)
    assert contents(places.cache_dir) == was
    await downloads.start()
    assert [status.state for status in downloads.statuses()] == ["paused"]
    carry_out(places, removal)
    assert not list(places.cache_dir.glob("models--*"))
    assert not (places.data_dir / "downloads" / job).exists()


async def test_one_that_was_deleted_can_be_begun_again_by_who_knew_it(
    hub: HubServer, places: Places, gate: threading.Event, downloads: Downloads
) -> None:
    job = await _half(downloads, places)
    await downloads.pause(job)
    carry_out(places, plan(places, places.cache_dir / "models--org--model"))
    gate.set()
    await downloads.resume(job)
    assert (await downloads.wait(job)).is_dir()


async def test_one_that_failed_is_such_a_row_too(
    hub: HubServer, places: Places, gate: threading.Event, downloads: Downloads
) -> None:
    gate.set()
    hub.corrupt = "model.safetensors"
    with pytest.raises(DownloadError):
        await downloads.wait(await downloads.add(MODEL, cache_dir=places.cache_dir))
    [row] = _models(places)
    assert (row.name, row.kind) == ("org/model", "unfinished")
    assert "not finished" in row.problem and "no weights" not in row.problem
    carry_out(places, plan(places, Path(row.key)))
    assert not list(places.cache_dir.glob("models--*"))


async def test_a_newer_revision_on_its_way_goes_alone(
    hub: HubServer, places: Places, gate: threading.Event, downloads: Downloads
) -> None:
    gate.set()
    whole = await downloads.wait(await downloads.add(MODEL, cache_dir=places.cache_dir))
    was = contents(places.cache_dir / "models--org--model")
    gate.clear()
    files = dict(hub.repositories["org/model"].files)
    newer = hub.add("org/model", files | {"model.safetensors": files["model.safetensors"][:-1] + b"x"})
    job = await _half(downloads, places)
    assert [(row.name, row.kind) for row in _models(places)] == [
        ("org/model", "model"),
        (f"org/model@{newer.commit}", "unfinished"),
    ]
    assert not plan(places, whole).refuses, "what both need stays"
    await downloads.pause(job)
    row = _models(places)[1]
    found = inventory(places)
    assert (
        found.total_bytes == _below_the_cache(places) == sum(each.own_bytes for each in found.rows) + found.shared_bytes
    )
    carry_out(places, plan(places, Path(row.key)))
    assert [row.name for row in _models(places)] == ["org/model"]
    assert contents(places.cache_dir / "models--org--model") == was


async def test_a_gguf_on_its_way_beside_a_whole_one_has_its_own_name(
    hub: HubServer, places: Places, gate: threading.Event, downloads: Downloads, tmp_path: Path
) -> None:
    data = make_gguf(tmp_path / "x.gguf").read_bytes()
    hub.add("org/quants", {"a.gguf": data, "b.gguf": data + bytes(4 * MIB)})
    whole = await downloads.wait(
        await downloads.add(HubReference("org/quants", file="a.gguf"), cache_dir=places.cache_dir)
    )
    job = await _half(downloads, places, HubReference("org/quants", file="b.gguf"))
    await downloads.pause(job)
    rows = {row.name: row for row in _models(places)}
    assert {name: row.kind for name, row in rows.items()} == {"org/quants": "gguf", "org/quants/b.gguf": "unfinished"}
    assert "hugchat models pull org/quants/b.gguf." in rows["org/quants/b.gguf"].problem
    carry_out(places, plan(places, Path(rows["org/quants/b.gguf"].key)))
    assert whole.read_bytes() == data
    assert [row.name for row in _models(places)] == ["org/quants"]


async def test_what_is_running_is_refused_by_every_name_it_has(
    hub: HubServer, places: Places, gate: threading.Event, downloads: Downloads
) -> None:
    """The snapshot was deleted under a running download, which then was done without its config."""
    job = await _half(downloads, places)
    [row] = _models(places)
    assert row.checkpoint is not None
    assert "being downloaded right now" in refusal(places, row)
    snapshot = Row(key=str(row.checkpoint.path), name="x", kind="unfinished", source="cache", repository=row.repository)
    assert "being downloaded right now" in refusal(places, snapshot)
    gate.set()
    path = await downloads.wait(job)
    assert sorted(file.name for file in path.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
