"""Deletions can be undone until the program ends, however it ends, and no half of one is ever left behind."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from huggingface_hub import scan_cache_dir

from engine.checkpoints.library.rows import Places
from engine.checkpoints.library.trash import NoTrashError, RemovalError, Trash
from tests.checkpoints.builders import make_model
from tests.checkpoints.library.repositories import (
    CONFIG,
    WEIGHTS,
    add_revision,
    contents,
    du,
    etag_of,
    plan,
    share,
    trashes,
    two_revisions,
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "hf" / "hub", tmp_path / "data")
    made.cache_dir.mkdir(parents=True)
    return made


def test_the_hub_client_sees_nothing_of_the_trash(places: Places) -> None:
    one, two = two_revisions(places)
    trash = Trash(places)
    trash.discard(plan(places, one))
    assert [path.parent for path in trashes(places)] == [places.cache_dir.parent], "beside the cache"
    report = scan_cache_dir(places.cache_dir)
    assert report.warnings == []
    assert [revision.snapshot_path for repo in report.repos for revision in repo.revisions] == [two]
    assert trash.empty() == ()
    assert trashes(places) == []
    assert list((places.data_dir / "trash").iterdir()) == []


def test_where_the_cache_is_a_file_system_of_its_own_the_trash_is_among_its_locks(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that mounts a volume at HF_HUB_CACHE."""
    one, _ = two_revisions(places)
    was = contents(places.cache_dir)
    rename = Path.rename

    def on_one_disk(self: Path, target: Path) -> Path:
        if self.is_relative_to(places.cache_dir) != target.is_relative_to(places.cache_dir):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", on_one_disk)
    trash = Trash(places)
    discarded = trash.discard(plan(places, one))
    assert [path.parent for path in trashes(places) if any(path.iterdir())] == [places.cache_dir / ".locks"]
    report = scan_cache_dir(places.cache_dir)
    assert report.warnings == []
    assert not report.incomplete_files
    trash.restore(discarded)
    trash.empty()
    assert contents(places.cache_dir) == was
    assert trashes(places) == []


@pytest.mark.parametrize("why", [errno.EXDEV, errno.ENOSPC])
def test_what_cannot_be_renamed_is_said_and_can_be_deleted_for_good(
    places: Places, monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    """An overlay file system renames no folder of a lower layer; a full disk takes no journal."""
    one, two = two_revisions(places)
    was = contents(places.cache_dir)
    removal = plan(places, one)
    size = du(places.cache_dir)

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(why, os.strerror(why), str(self))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        trash = Trash(places)
        with pytest.raises(NoTrashError) as caught:
            trash.discard(removal)
    assert os.strerror(why) in caught.value.message
    assert "for good" in caught.value.hint
    trash.empty()
    assert contents(places.cache_dir) == was
    trash.delete_for_good(removal)
    assert size - du(places.cache_dir) == removal.freed_bytes
    assert (two / "model.safetensors").read_bytes() == WEIGHTS
    assert scan_cache_dir(places.cache_dir).warnings == []


def test_a_move_that_fails_puts_the_others_back(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = two_revisions(places)
    was = contents(places.cache_dir)
    removal = plan(places, one)
    assert len(removal.paths) > 2
    rename = Path.rename

    def fail_for_the_last(self: Path, target: Path) -> Path:
        if self == removal.paths[-1]:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_last)
    trash = Trash(places)
    with pytest.raises(RemovalError, match="busy"):
        trash.discard(removal)
    assert contents(places.cache_dir) == was
    trash.empty()
    assert contents(places.cache_dir) == was
    assert trashes(places) == []


def test_an_undo_that_failed_can_be_tried_again(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """It said so, and then that there was nothing in the trash any more."""
    one, _ = two_revisions(places)
    was = contents(places.cache_dir)
    trash = Trash(places)
    discarded = trash.discard(plan(places, one))
    rename = Path.rename
    last = discarded.moves[0][1]  # put back last

    def fail_for_one(self: Path, target: Path) -> Path:
        if self == last:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(self))
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fail_for_one)
        with pytest.raises(RemovalError, match="busy"):
            trash.restore(discarded)
    trash.restore(discarded)
    assert contents(places.cache_dir) == was
    trash.empty()
    assert contents(places.cache_dir) == was


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_several_deletions_are_undone_in_any_order(places: Places, order: tuple[int, ...]) -> None:
    one, two = two_revisions(places)
    model = make_model(places.data_dir / "models" / "mine")
    was = contents(places.cache_dir), contents(model)
    trash = Trash(places)
    discarded = [trash.discard(plan(places, path)) for path in (one, model)]
    discarded.append(trash.discard(plan(places, two)))
    assert not one.parent.parent.exists(), "the last revision took the repository with it"
    for number in order:
        trash.restore(discarded[number])
    assert (contents(places.cache_dir), contents(model)) == was
    trash.empty()
    assert (contents(places.cache_dir), contents(model)) == was


def test_a_plan_that_is_no_longer_right_is_not_carried_out(places: Places) -> None:
    one, two = two_revisions(places)
    removal = plan(places, one, two)
    three = add_revision(places.cache_dir, "org/m", "3", {"model.safetensors": WEIGHTS}, ref="v3")
    with pytest.raises(RemovalError, match="changed"):
        Trash(places).discard(removal)
    assert (three / "model.safetensors").read_bytes() == WEIGHTS
    assert one.exists()


def test_what_was_downloaded_again_meanwhile_is_kept(places: Places) -> None:
    one, _ = two_revisions(places)
    trash = Trash(places)
    discarded = trash.discard(plan(places, one))
    repository = one.parent.parent
    # Another revision arrives, with one of the blobs, and main moves on to it.
    three = add_revision(places.cache_dir, "org/m", "3", {"config.json": CONFIG}, ref="main")
    trash.restore(discarded)
    assert (one / "config.json").read_bytes() == CONFIG
    assert (repository / "refs" / "main").read_text() == three.name
    trash.empty()
    assert (one / "config.json").read_bytes() == CONFIG
    assert (one / "sub" / "notes.txt").read_bytes() == b"notes"
    assert scan_cache_dir(places.cache_dir).warnings == []


def test_a_revision_that_is_half_there_again_becomes_whole(places: Places) -> None:
    one, _ = two_revisions(places)
    was = contents(places.cache_dir)
    trash = Trash(places)
    discarded = trash.discard(plan(places, one))
    add_revision(places.cache_dir, "org/m", "1", {"config.json": CONFIG}, ref="main")
    trash.restore(discarded)
    trash.empty()
    assert contents(places.cache_dir) == was


def test_a_folder_that_is_there_again_is_not_touched(places: Places) -> None:
    model = make_model(places.data_dir / "models" / "mine")
    was = contents(model)
    trash = Trash(places)
    discarded = trash.discard(plan(places, model))
    model.mkdir()
    (model / "new").touch()
    with pytest.raises(RemovalError, match="again"):
        trash.restore(discarded)
    assert contents(model) == {"new": b""}
    model.rename(model.with_name("newer"))
    trash.restore(discarded)
    assert contents(model) == was


def test_a_shared_content_that_came_back_keeps_both_users(places: Places) -> None:
    """Else deleting the second would delete what the first one, undone, links to."""
    snapshots: list[Path] = []
    trash = Trash(places)
    for repo_id in ("org/one", "org/two"):
        files = {"model.safetensors": WEIGHTS, "config.json": CONFIG}
        snapshot = add_revision(places.cache_dir, repo_id, "1", files, ref="main")
        share(snapshot.parent.parent / "blobs" / etag_of(WEIGHTS, lfs=True), places.cache_dir)
        if not snapshots:
            discarded = trash.discard(plan(places, snapshot))
        snapshots.append(snapshot)
    trash.restore(discarded)
    trash.discard(plan(places, snapshots[1]))
    trash.empty()
    assert (snapshots[0] / "model.safetensors").read_bytes() == WEIGHTS


def test_a_list_of_users_with_odd_lines_is_undone_all_the_same(places: Places) -> None:
    """Other programs write it. A path from the root ended the undo, and then every start of the program."""
    files = {"model.safetensors": WEIGHTS, "config.json": CONFIG}
    snapshot = add_revision(places.cache_dir, "org/one", "1", files, ref="main")
    blob = snapshot.parent.parent / "blobs" / etag_of(WEIGHTS, lfs=True)
    users = share(blob, places.cache_dir)
    users = users.with_name(f"{users.name}.refs")
    users.write_text(f"/etc/passwd\n../../x\n{users.read_text()}")
    trash = Trash(places)
    discarded = trash.discard(plan(places, snapshot))
    other = add_revision(places.cache_dir, "org/two", "1", files, ref="main")
    share(other.parent.parent / "blobs" / etag_of(WEIGHTS, lfs=True), places.cache_dir)
    trash.restore(discarded)
    assert trash.empty() == ()
    assert sorted(users.read_text().splitlines()) == [
        f"models--org--{name}/blobs/{etag_of(WEIGHTS, lfs=True)}" for name in ("one", "two")
    ]


def test_what_is_gone_for_good_cannot_come_back(places: Places) -> None:
    one, _ = two_revisions(places)
    trash = Trash(places)
    discarded = trash.discard(plan(places, one))
    trash.empty()
    with pytest.raises(RemovalError, match="no longer"):
        trash.restore(discarded)


def test_what_is_gone_in_part_does_not_come_back_in_part(places: Places) -> None:
    one, _ = two_revisions(places)
    trash = Trash(places)
    discarded = trash.discard(plan(places, one))
    was = contents(places.cache_dir)
    target = discarded.moves[0][1]
    target.unlink() if target.is_file() else shutil.rmtree(target)
    with pytest.raises(RemovalError, match="no longer"):
        trash.restore(discarded)
    assert contents(places.cache_dir) == was


def test_a_shared_content_in_use_is_left_where_it_is(places: Places) -> None:
    one, two = two_revisions(places)
    stored = share(one.parent.parent / "blobs" / etag_of(WEIGHTS, lfs=True), places.cache_dir)
    removal = plan(places, one, two)
    assert stored in removal.paths
    with (
        FileLock(stored.with_name(f"{stored.name}.lock")),
        pytest.raises(RemovalError, match=r"right now|changed"),
    ):
        Trash(places).discard(removal)
    assert (one / "model.safetensors").read_bytes() == WEIGHTS


def test_folders_that_were_made_read_only_go_too(places: Places) -> None:
    model = make_model(places.data_dir / "models" / "mine")
    (model / "sub").mkdir()
    (model / "sub" / "file").touch()
    (model / "sub").chmod(0o500)
    trash = Trash(places)
    trash.discard(plan(places, model))
    assert trash.empty() == ()
    assert not list(places.data_dir.rglob(".hugchat-trash-*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_were_closed_go_too(places: Places) -> None:
    model = make_model(places.data_dir / "models" / "mine")
    trash = Trash(places)
    discarded = trash.discard(plan(places, model))
    moved = discarded.moves[0][1]
    (moved / "closed" / "deep").mkdir(parents=True)
    (moved / "closed" / "deep" / "file").touch()
    for folder in (moved / "closed" / "deep", moved / "closed", moved):
        folder.chmod(0)
    assert trash.empty() == ()
    assert not list(places.data_dir.rglob(".hugchat-trash-*"))
