"""Deletions can be undone until the program ends, however it ends, and no half of one is ever left behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from huggingface_hub import scan_cache_dir

from engine.checkpoints.library.removal import Removal, plan_removal
from engine.checkpoints.library.rows import Places
from engine.checkpoints.library.trash import NoTrashError, RemovalError, Trash
from tests.checkpoints.builders import LLAMA, make_model
from tests.checkpoints.library.repositories import add_revision, contents, du, etag_of, rows_of, share

CONFIG = json.dumps(LLAMA).encode()
WEIGHTS = b"w" * 20_000

# Deletes a row, and at the given point of it ends as if it were killed.
DELETER = """
import os, signal, sys
from pathlib import Path
from engine.checkpoints.library.removal import plan_removal
from engine.checkpoints.library.rows import Places
from engine.checkpoints.library.trash import Trash
from tests.checkpoints.library.repositories import rows_of

cache, data, key, point, left = *sys.argv[1:5], int(sys.argv[5])
places = Places(Path(cache), Path(data))
rows = rows_of(places)
trash = Trash(places)
rename = Path.rename

def rename_and_die(self, target):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return rename(self, target)

if point == "discarding":
    Path.rename = rename_and_die
discarded = trash.discard(plan_removal([row for row in rows if row.key == key], rows, places))
if point == "restoring":
    Path.rename = rename_and_die
    trash.restore(discarded)
print("done", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "hf" / "hub", tmp_path / "data")
    made.cache_dir.mkdir(parents=True)
    return made


def two_revisions(places: Places) -> tuple[Path, Path]:
    """Two revisions that share their weights."""
    files = {"model.safetensors": WEIGHTS, "config.json": CONFIG, "sub/notes.txt": b"notes"}
    one = add_revision(places.cache_dir, "org/m", "1", files, ref="main")
    return one, add_revision(places.cache_dir, "org/m", "2", files | {"config.json": b"{}"}, ref="refs/pr/1")


def plan(places: Places, *paths: Path) -> Removal:
    rows = rows_of(places)
    keys = {str(path) for path in paths}
    return plan_removal([row for row in rows if row.key in keys], rows, places)


def trashes(places: Places) -> list[Path]:
    return sorted(places.cache_dir.parent.rglob(".hugchat-trash-*"))


def delete_in_a_process(places: Places, key: Path, point: str, left: int = 0) -> subprocess.Popen[str]:
    arguments = [str(places.cache_dir), str(places.data_dir), str(key), point, str(left)]
    return subprocess.Popen(
        [sys.executable, "-c", DELETER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


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


@pytest.mark.parametrize("point", ["discarding", "restoring"])
def test_killed_at_every_move_everything_is_put_back_at_the_next_start(places: Places, point: str) -> None:
    one, _ = two_revisions(places)
    was = contents(places.cache_dir)
    moves = len(plan(places, one).paths)
    for left in range(moves):
        process = delete_in_a_process(places, one, point, left)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert Trash(places).settle() == ()
        assert contents(places.cache_dir) == was
        assert trashes(places) == []
        assert list((places.data_dir / "trash").iterdir()) == []


def test_a_dead_process_trash_is_emptied_and_a_living_one_is_left_alone(places: Places) -> None:
    one, two = two_revisions(places)
    process = delete_in_a_process(places, one, "all of it")
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    size = du(places.cache_dir.parent)
    other = Trash(places)
    assert other.settle() == ()
    assert len(trashes(places)) == 1
    assert du(places.cache_dir.parent) == size
    process.kill()
    process.communicate()
    assert other.settle() == ()
    assert trashes(places) == []
    assert du(places.cache_dir.parent) < size
    assert not one.exists()
    assert (two / "model.safetensors").read_bytes() == WEIGHTS
    assert list((places.data_dir / "trash").iterdir()) == []


def test_a_journal_cut_off_in_its_last_line_is_read_as_far_as_it_goes(places: Places) -> None:
    one, _ = two_revisions(places)
    was = contents(places.cache_dir)
    Trash(places).discard(plan(places, one))  # its lock goes with it
    journal = next((places.data_dir / "trash").glob("*.jsonl"))
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:-1], '{"do']))
    assert Trash(places).settle() == ()
    assert contents(places.cache_dir) == was, "that it was done is not known"


def test_a_journal_can_delete_nothing_but_trash(places: Places, tmp_path: Path) -> None:
    precious = make_model(tmp_path / "precious")
    folder = places.data_dir / "trash"
    folder.mkdir(parents=True)
    lines = [{"number": 1, "moves": [["/nowhere", str(precious)]]}, {"done": 1}]
    (folder / "1-abc.jsonl").write_text("\n".join(map(json.dumps, lines)))
    Trash(places).settle()
    assert (precious / "config.json").exists()


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


def test_what_is_gone_for_good_cannot_come_back(places: Places) -> None:
    one, _ = two_revisions(places)
    trash = Trash(places)
    discarded = trash.discard(plan(places, one))
    trash.empty()
    with pytest.raises(RemovalError, match="no longer"):
        trash.restore(discarded)


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
