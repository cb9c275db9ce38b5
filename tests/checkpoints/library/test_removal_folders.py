"""Deleting what lies outside of the cache, what is refused whatever the row says, and what breaks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest

from engine.checkpoints.library.removal import plan_removal
from engine.checkpoints.library.rows import Places
from tests.checkpoints.builders import make_adapter, make_gguf, make_model
from tests.checkpoints.library.repositories import (
    CONFIG,
    add_revision,
    carry_out,
    contents,
    du,
    plan,
    refusal,
    row_at,
    rows_of,
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "hf" / "hub", tmp_path / "data", (tmp_path / "folder",))
    for path in (made.cache_dir, made.data_dir, *made.folders):
        path.mkdir(parents=True)
    return made


def test_a_folder_that_holds_nothing_but_the_checkpoint_goes_whole(places: Places) -> None:
    model = make_model(places.folders[0] / "publisher" / "model")
    (model / "README.md").write_text("card")
    removal = plan(places, model)
    assert removal.paths == (model,)
    assert removal.stays == ()
    size = du(places.folders[0])
    carry_out(places, removal)
    assert size - du(places.folders[0]) == removal.freed_bytes
    assert (places.folders[0] / "publisher").is_dir()


def test_what_a_person_keeps_beside_a_checkpoint_stays(places: Places) -> None:
    model = make_model(places.folders[0] / "model")
    (model / "thesis.txt").write_text("years of work")
    (model / "photos").mkdir()
    (model / "photos" / "config.json").write_text("{}")
    removal = plan(places, model)
    assert removal.stays == (model / "photos", model / "thesis.txt")
    carry_out(places, removal)
    assert contents(model) == {"photos": None, "photos/config.json": b"{}", "thesis.txt": b"years of work"}


def test_a_folder_without_weights_may_be_something_else_and_is_refused(places: Places) -> None:
    """A web project, say: it lost its config.json, tsconfig.json, README and licence."""
    project = places.folders[0] / "project"
    project.mkdir()
    for name in ("config.json", "tsconfig.json", "README.md", "LICENSE", "main.js"):
        (project / name).write_text("{}")
    assert "no weights" in refusal(places, row_at(places, project))


def test_a_folder_of_a_user_that_there_is_not_keeps_nobody_from_deleting(places: Places) -> None:
    model = make_model(places.folders[0] / "model")
    found = replace(places, folders=(Path("~no-such-user/models"), *places.folders))
    (row,) = [row for row in rows_of(found) if row.key == str(model)]
    removal = plan_removal([row], rows_of(found), found)
    assert removal.paths == (model,)


def test_the_named_folder_itself_may_be_the_checkpoint(places: Places) -> None:
    make_model(places.folders[0])
    (places.folders[0] / "sub").mkdir()
    carry_out(places, plan(places, places.folders[0]))
    assert contents(places.folders[0]) == {"sub": None}


def test_a_gguf_file_goes_without_its_folder(places: Places) -> None:
    gguf = make_gguf(places.folders[0] / "a.gguf")
    other = make_gguf(places.folders[0] / "b.gguf")
    removal = plan(places, gguf)
    assert removal.freed_bytes == du(gguf)
    carry_out(places, removal)
    assert other.exists()
    assert not gguf.exists()


def test_of_a_link_only_the_link_goes(places: Places, tmp_path: Path) -> None:
    real = make_model(tmp_path / "real")
    (real / "notes.txt").write_text("a person's")
    (places.folders[0] / "link").symlink_to(real)
    gguf = make_gguf(tmp_path / "real.gguf")
    (places.folders[0] / "link.gguf").symlink_to(gguf)
    removal = plan(places, places.folders[0] / "link", places.folders[0] / "link.gguf")
    assert removal.freed_bytes == du(places.folders[0] / "link", places.folders[0] / "link.gguf"), "the links' own"
    carry_out(places, removal)
    assert list(places.folders[0].iterdir()) == []
    assert (real / "config.json").exists()
    assert gguf.exists()


def test_what_lies_behind_a_linked_folder_is_refused(places: Places, tmp_path: Path) -> None:
    make_model(tmp_path / "shared" / "model")
    (places.folders[0] / "publisher").symlink_to(tmp_path / "shared")
    row = row_at(places, places.folders[0] / "publisher" / "model")
    assert "behind the link" in refusal(places, row)


def test_a_linked_repository_is_refused(places: Places, tmp_path: Path) -> None:
    one = add_revision(places.cache_dir, "org/m", "1", {"config.json": CONFIG}, ref="main")
    repository = one.parent.parent
    repository.rename(tmp_path / "moved")
    repository.symlink_to(tmp_path / "moved")
    assert "link" in refusal(places, row_at(places, one))


@pytest.mark.parametrize("linked", ["blobs", "snapshot"])
def test_links_in_the_place_of_a_repositorys_folders_are_refused(places: Places, tmp_path: Path, linked: str) -> None:
    """Which blobs are needed, and whose they are, cannot be told then."""
    one = add_revision(places.cache_dir, "org/m", "1", {"config.json": CONFIG}, ref="main")
    two = add_revision(places.cache_dir, "org/m", "2", {"config.json": CONFIG}, ref="v2")
    moved = one.parent.parent / "blobs" if linked == "blobs" else two
    moved.rename(tmp_path / "moved")
    moved.symlink_to(tmp_path / "moved")
    assert "link to another place" in refusal(places, row_at(places, one))


def test_made_models_and_the_starter_go_whole(places: Places) -> None:
    made = make_model(places.data_dir / "models" / "mine")
    (made / "hugchat.json").write_text("{}")
    (made / "notes").mkdir()
    removal = plan(places, made)
    assert removal.paths == (made,)
    carry_out(places, removal)
    assert not made.exists()


def a_run(places: Places, launch: dict[str, object]) -> Path:
    step = make_model(places.data_dir / "runs" / "mine" / "checkpoints" / "step-10")
    (places.data_dir / "runs" / "mine" / "launch.json").write_text(json.dumps(launch))
    return step


def test_a_run_that_is_still_going_is_refused(places: Places) -> None:
    process = psutil.Process()
    going: dict[str, object] = {"host": socket.gethostname(), "pid": process.pid, "pid_started": process.create_time()}
    step = a_run(places, going)
    row = row_at(places, step)
    assert "still going" in refusal(places, row)
    a_run_of_another_process = going | {"pid_started": process.create_time() - 100}
    ages_hence = going | {"pid_started": 10**400}
    for ended in (a_run_of_another_process, ages_hence, going | {"pid": 2**22 + 1}, going | {"pid": "x"}, {}):
        (places.data_dir / "runs" / "mine" / "launch.json").write_text(json.dumps(ended))
        assert plan(places, step).paths == (step,)


def test_a_run_whose_process_ended_and_was_not_waited_for_is_over(places: Places) -> None:
    process = subprocess.Popen(["true"])
    started = psutil.Process(process.pid).create_time()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    step = a_run(places, {"host": socket.gethostname(), "pid": process.pid, "pid_started": started})
    assert plan(places, step).paths == (step,)
    process.wait()


def test_a_run_on_another_machine_counts_as_going_while_it_writes_events(places: Places) -> None:
    step = a_run(places, {"host": "elsewhere", "pid": 1})
    events = places.data_dir / "runs" / "mine" / "events.jsonl"
    events.touch()
    assert "still going" in refusal(places, row_at(places, step))
    os.utime(events, (time.time() - 3600,) * 2)
    assert plan(places, step).paths == (step,)


# -- what is refused whatever the row says --------------------------------------------------------------------


def test_a_row_that_leads_elsewhere_is_refused(places: Places, tmp_path: Path) -> None:
    """Rows are read from an index on the disk, which may be damaged or forged."""
    outside = make_model(tmp_path / "outside")
    model = make_model(places.folders[0] / "model")
    make_model(places.data_dir / "models" / "mine")
    row = row_at(places, model)
    for source, key in (
        ("folder", str(outside)),
        ("folder", "/"),
        ("folder", f"{model}/../../outside"),
        ("folder", f"{model}/"),
        ("folder", "outside"),
        ("cache", str(places.cache_dir)),
        ("cache", str(outside)),
        ("made", str(places.data_dir / "models")),
        ("made", str(places.data_dir)),
        ("run", str(places.data_dir / "models" / "mine")),
        ("starter", str(model)),
    ):
        assert refusal(places, msgspec.structs.replace(row, source=source, key=key))


def test_locks_unknown_folders_and_what_is_gone_are_refused(places: Places) -> None:
    add_revision(places.cache_dir, "org/m", "1", {"config.json": CONFIG}, ref="main")
    (places.cache_dir / "unknown").mkdir()
    assert "locks" in refusal(places, row_at(places, places.cache_dir / ".locks"))
    assert "Nothing is known" in refusal(places, row_at(places, places.cache_dir / "unknown"))
    model = make_model(places.folders[0] / "model")
    row = row_at(places, model)
    model.rename(places.data_dir / "away")
    assert "any more" in refusal(places, row)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_revision_that_cannot_be_read_keeps_its_siblings(places: Places) -> None:
    """Nobody can tell which blobs it links to."""
    one = add_revision(places.cache_dir, "org/m", "1", {"config.json": CONFIG}, ref="main")
    two = add_revision(places.cache_dir, "org/m", "2", {"config.json": CONFIG}, ref="v2")
    two.chmod(0)
    try:
        assert "cannot be looked through" in refusal(places, row_at(places, one))
    finally:
        two.chmod(0o755)


# -- what breaks ----------------------------------------------------------------------------------------------


def test_adapters_and_descendants_of_what_goes_are_named(places: Places) -> None:
    base = make_model(places.folders[0] / "base")
    adapter = make_adapter(places.folders[0] / "adapter", str(base))
    made = make_model(places.data_dir / "models" / "sum")
    origins = [{"name": "base", "path": str(base)}, {"name": "adapter", "path": str(adapter)}]
    (made / "hugchat.json").write_text(json.dumps({"made": "merge", "from": origins}))
    broken = {item.row.key: item.what for item in plan(places, base).breaks}
    assert set(broken) == {str(adapter), str(made)}
    assert "cannot be loaded" in broken[str(adapter)]
    assert "goes on working" in broken[str(made)]
    assert {item.row.key for item in plan(places, base, adapter).breaks} == {str(made)}
    assert plan(places, made).breaks == ()


def test_an_adapter_is_named_also_where_the_folder_of_its_base_stays(places: Places) -> None:
    base = make_model(places.folders[0] / "base")
    (base / "notes.txt").write_text("a person's")
    adapter = make_adapter(places.folders[0] / "adapter", str(base))
    (broken,) = plan(places, base).breaks
    assert broken.row.key == str(adapter)
    assert "cannot be loaded" in broken.what


def test_an_adapter_whose_base_is_another_revision_is_not_named(places: Places) -> None:
    files = {"config.json": CONFIG, "tokenizer.json": b"{}", "model.safetensors": b"w"}
    one = add_revision(places.cache_dir, "org/m", "1", files, ref="main")
    two = add_revision(places.cache_dir, "org/m", "2", files, ref="v2")
    adapter = make_adapter(places.folders[0] / "adapter", "org/m")
    rows = [
        msgspec.structs.replace(row, checkpoint=replace(row.checkpoint, base=one))
        if row.key == str(adapter) and row.checkpoint is not None
        else row
        for row in rows_of(places)
    ]
    for snapshot, broken in ((one, [str(adapter)]), (two, [])):
        removal = plan_removal([row for row in rows if row.key == str(snapshot)], rows, places)
        assert [item.row.key for item in removal.breaks] == broken
