"""Exported folders hold real files that load, whole or not at all, and never touch what they were copied from."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from engine.checkpoints.describe import describe
from engine.checkpoints.library.export import ExportError, copy_files, export
from engine.checkpoints.library.rows import Places
from engine.checkpoints.reading import UnreadableError
from tests.checkpoints.builders import LLAMA, make_gguf, make_model, safetensors_bytes
from tests.checkpoints.library.repositories import add_revision, contents, etag_of, row_at, share

FILES = {
    "model.safetensors": safetensors_bytes(),
    "config.json": json.dumps(LLAMA).encode(),
    "tokenizer.json": b"{}",
    "sub/deep.txt": b"deep",
    "empty.txt": b"",
}

EXPORTER = """
import asyncio, sys
from pathlib import Path
from engine.checkpoints.library.export import export
from engine.checkpoints.library.rows import Places
from tests.checkpoints.library.repositories import row_at
cache, key, destination = map(Path, sys.argv[1:])
row = row_at(Places(cache, cache.parent / "data"), key)

def wait_to_be_killed(*report):
    print(*report, flush=True)
    sys.stdin.read()

asyncio.run(export(row, destination, wait_to_be_killed))
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "hub", tmp_path / "data", (tmp_path / "folder",))
    for path in (made.cache_dir, made.data_dir, *made.folders, tmp_path / "out"):
        path.mkdir(parents=True)
    return made


def quiet(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


async def test_a_cached_revision_becomes_a_folder_of_real_files(places: Places, tmp_path: Path) -> None:
    files = FILES | {"big.bin": os.urandom(40_000_000)}
    snapshot = add_revision(places.cache_dir, "org/m", "1", files, ref="main")
    share(snapshot.parent.parent / "blobs" / etag_of(files["big.bin"], lfs=True), places.cache_dir)
    seen: list[tuple[str, int, int]] = []
    was = contents(places.cache_dir)
    path = await export(row_at(places, snapshot), tmp_path / "out" / "m", lambda *report: seen.append(report))
    assert {name: content for name, content in contents(path).items() if content is not None} == files
    assert not any(entry.is_symlink() or entry.stat().st_nlink > 1 for entry in path.rglob("*") if entry.is_file())
    assert describe(path).problem is None
    total = sum(map(len, files.values()))
    assert seen[-1] == ("copying", total, total)
    assert len({done for _, done, _ in seen}) > 3
    for entry in path.rglob("*"):
        if entry.is_file():
            entry.write_bytes(b"changed")
    assert contents(places.cache_dir) == was, "what is done to the folder never reaches the cache"
    assert list((tmp_path / "out").iterdir()) == [path]


async def test_a_gguf_file_lies_in_the_folder_under_its_name(places: Places, tmp_path: Path) -> None:
    gguf = make_gguf(places.folders[0] / "a.gguf")
    make_gguf(places.folders[0] / "b.gguf")
    path = await export(row_at(places, gguf), tmp_path / "out" / "g", quiet)
    assert contents(path) == {"a.gguf": gguf.read_bytes()}


async def test_cancelling_kills_the_child_and_leaves_nothing(places: Places, tmp_path: Path) -> None:
    snapshot = add_revision(places.cache_dir, "org/m", "1", FILES | {"big.bin": bytes(64 << 20)}, ref="main")
    row = row_at(places, snapshot)
    started = asyncio.Event()
    work = asyncio.create_task(export(row, tmp_path / "out" / "m", lambda *report: started.set()))
    await asyncio.wait_for(started.wait(), 60)
    children = psutil.Process().children(recursive=True)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_export_left_is_deleted_by_the_next_one(places: Places, tmp_path: Path) -> None:
    snapshot = add_revision(places.cache_dir, "org/m", "1", FILES | {"big.bin": bytes(64 << 20)}, ref="main")
    arguments = [str(places.cache_dir), str(snapshot), str(tmp_path / "out" / "m")]
    process = subprocess.Popen(
        [sys.executable, "-c", EXPORTER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("copying")
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert psutil.wait_procs(children, timeout=30)[1] == [], "the child ends with its parent"
    assert not (tmp_path / "out" / "m").exists()
    assert list((tmp_path / "out").glob(".hugchat-export-*"))
    asyncio.run(export(row_at(places, snapshot), tmp_path / "out" / "m", quiet))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m"]


async def test_what_is_not_ours_to_delete_is_in_nobodys_way(places: Places, tmp_path: Path) -> None:
    """In a folder that several people use lies what they are exporting now, closed to us."""
    model = make_model(places.folders[0] / "model")
    out = tmp_path / "out"
    (out / "elsewhere").mkdir()
    (out / ".hugchat-export-link").symlink_to(out / "elsewhere")
    (out / ".hugchat-export-file").touch()
    os.mkfifo(out / ".hugchat-export-pipe")
    await export(row_at(places, model), out / "m", quiet)
    assert len(list(out.iterdir())) == 5


async def test_what_is_refused_before_anything_is_copied(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = add_revision(places.cache_dir, "org/m", "1", FILES, ref="main")
    row = row_at(places, snapshot)
    out = tmp_path / "out"
    (out / "taken").mkdir()
    (out / "link").symlink_to(out / "nowhere")
    for destination, why in (
        (out / "taken", "already"),
        (out / "link", "already"),
        (out / "no" / "such", "no folder"),
        (places.cache_dir / "m", "among the files"),
        (snapshot / "m", "among the files"),
    ):
        with pytest.raises(ExportError, match=why):
            await export(row, destination, quiet)
    with pytest.raises(ExportError, match="no checkpoint"):
        await export(row_at(places, places.cache_dir / ".locks"), out / "m", quiet)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
        with pytest.raises(ExportError, match="are free"):
            await export(row, out / "m", quiet)
    (snapshot / "config.json").resolve().unlink()
    with pytest.raises(ExportError, match=r"config\.json is missing"):
        await export(row, out / "m", quiet)
    assert sorted(path.name for path in out.iterdir()) == ["link", "taken"]


async def test_a_link_out_of_the_cache_is_not_followed(places: Places, tmp_path: Path) -> None:
    """A revision that was unpacked from elsewhere could carry one, and the folder may be published."""
    snapshot = add_revision(places.cache_dir, "org/m", "1", FILES, ref="main")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (snapshot / "notes.txt").symlink_to(secret)
    with pytest.raises(ExportError, match="leads out of the cache"):
        await export(row_at(places, snapshot), tmp_path / "out" / "m", quiet)
    assert list((tmp_path / "out").iterdir()) == []


def test_linked_folders_and_pipes_are_refused_in_words(places: Places, tmp_path: Path) -> None:
    model = make_model(places.folders[0] / "model")
    (model / "link").symlink_to(tmp_path)
    with pytest.raises(UnreadableError, match="link to a folder"):
        copy_files(model, tmp_path / "one", "", lambda message: None)
    (model / "link").unlink()
    os.mkfifo(model / "pipe")
    with pytest.raises(UnreadableError, match="not a regular file"):
        copy_files(model, tmp_path / "two", "", lambda message: None)


def test_a_file_that_becomes_shorter_while_it_is_copied_is_refused(places: Places, tmp_path: Path) -> None:
    model = make_model(places.folders[0] / "model")
    os.truncate(model / "model.safetensors", 40_000_000)

    def cut_off(message: Mapping[str, str | int]) -> None:
        if int(message["done"]) > 16_000_000:
            os.truncate(model / "model.safetensors", 16_000_000)

    (tmp_path / "copy").mkdir()
    with pytest.raises(UnreadableError, match="became shorter"):
        copy_files(model, tmp_path / "copy", "", cut_off)


def test_where_the_kernel_cannot_copy_it_is_done_by_hand(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one file system to another on older kernels, and on some network file systems."""
    model = make_model(places.folders[0] / "model")
    (model / "model.safetensors").write_bytes(os.urandom(20_000_000))

    def refuse(*arguments: object) -> int:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    (tmp_path / "copy").mkdir()
    copy_files(model, tmp_path / "copy", "", lambda message: None)
    assert contents(tmp_path / "copy") == contents(model)
