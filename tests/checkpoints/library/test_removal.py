"""What a deletion in the cache takes away, to the byte, and what it leaves because others need it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock
from huggingface_hub import scan_cache_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.checkpoints.library.removal import plan_removal
from engine.checkpoints.library.rows import Places
from engine.checkpoints.library.trash import Trash
from tests.checkpoints.builders import safetensors_bytes
from tests.checkpoints.library.repositories import (
    CONFIG,
    add_revision,
    carry_out,
    commit_of,
    contents,
    du,
    etag_of,
    inventory,
    plan,
    refusal,
    row_at,
    rows_of,
    share,
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "hf" / "hub", tmp_path / "data", (tmp_path / "folder",))
    for path in (made.cache_dir, made.data_dir, *made.folders):
        path.mkdir(parents=True)
    return made


# Few contents, so that revisions and repositories share them. Lengths around a block, and one link too long to lie in
# its inode.
FILES = st.dictionaries(
    st.sampled_from(["config.json", "model.safetensors", "tokenizer.json", "sub/deep/file.txt", "a.gguf", "b.gguf"]),
    st.sampled_from([b"", b"x", b"y" * 4096, b"z" * 5000, b"w" * 70_000]),
    min_size=1,
)
REVISIONS = st.lists(
    st.tuples(st.sampled_from(["org/one", "org/two"]), FILES, st.sampled_from(["", "main", "refs/pr/1", "v1"])),
    min_size=1,
    max_size=5,
)
LEFTOVERS = st.sets(st.sampled_from(["orphan", "partial", "dangling ref", "no_exist", "store"]))


@given(revisions=REVISIONS, leftovers=LEFTOVERS, data=st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_caches(
    tmp_path_factory: pytest.TempPathFactory,
    revisions: list[tuple[str, dict[str, bytes], str]],
    leftovers: set[str],
    data: st.DataObject,
) -> None:
    """Freed is `du` before minus after; what stays is whole; undo brings back every byte; all of it leaves nothing."""
    top = tmp_path_factory.mktemp("cache")
    places = Places(top / "hf" / "hub", top / "data")
    cache = places.cache_dir
    for number, (repo_id, files, ref) in enumerate(revisions):
        add_revision(cache, repo_id, str(number), files, ref=ref)
    repository = cache / ("models--" + revisions[0][0].replace("/", "--"))
    if "orphan" in leftovers:
        (repository / "blobs" / etag_of(b"nobody's")).write_bytes(b"nobody's")
    if "partial" in leftovers:
        (repository / "blobs" / f"{etag_of(b'half')}.1234abcd.incomplete").write_bytes(b"ha")
    if "dangling ref" in leftovers:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "gone").write_text(commit_of("gone"))
    if "no_exist" in leftovers:
        path = repository / ".no_exist" / commit_of(f"{revisions[0][0]} 0") / "added_tokens.json"
        path.parent.mkdir(parents=True)
        path.touch()
    if "store" in leftovers:
        for blob in cache.glob("models--*/blobs/*"):
            if blob.stat().st_size > 4096:
                share(blob, cache)
    before = inventory(places)
    rows = [row for row in before.rows if row.name not in (".locks", "blobs")]
    chosen = data.draw(st.lists(st.sampled_from(rows), min_size=1, unique_by=lambda row: row.key))
    was = contents(cache)
    size = du(cache)

    removal = plan_removal(chosen, before.rows, places)
    assert not removal.refuses
    trash = Trash(places)
    discarded = trash.discard(removal)
    assert size - du(cache) == removal.freed_bytes
    left = contents(cache)
    gone = {row.key for row in chosen}
    keys = {row.key for row in rows_of(places)}
    for row in rows:
        path = Path(row.key)
        if row.key not in gone:
            # Of two GGUF files the one that is left stands for its snapshot.
            assert keys.intersection((row.key, str(path.parent)))
            relative = str(path.relative_to(cache))
            if "snapshots" in path.parts:
                names = [name for name in was if name == relative or name.startswith(f"{relative}/")]
                # Of a snapshot of several GGUF files, other files of it may be among those chosen.
                assert all(left[name] == was[name] for name in names)
                assert all((cache / name).exists() for name in names), "no link leads nowhere"
        else:
            assert row.key not in keys
    if len(chosen) == len(rows):
        assert {path.name for path in cache.iterdir()} - {"blobs"} == {".locks"}
        assert {path.suffix for path in cache.glob("blobs/*/*")} <= {".lock"}
        assert list((cache / ".locks").iterdir()) == []

    trash.restore(discarded)
    assert contents(cache) == was
    assert du(cache) == size
    carry_out(places, plan_removal(chosen, before.rows, places))
    assert contents(cache) == left
    assert size - du(cache) == removal.freed_bytes


def test_a_link_to_nowhere_that_another_revision_has_too_is_in_nobodys_way(places: Places) -> None:
    """A blob that was deleted by hand, or never came: the plan raised FileNotFoundError, and nothing could go."""
    files = {"model.safetensors": b"w" * 9000, "config.json": CONFIG}
    one = add_revision(places.cache_dir, "org/m", "1", files, ref="main")
    two = add_revision(places.cache_dir, "org/m", "2", files | {"config.json": b"{}"}, ref="v2")
    (one / "model.safetensors").resolve().unlink()
    removal = plan(places, one)
    size = du(places.cache_dir)
    carry_out(places, removal)
    assert size - du(places.cache_dir) == removal.freed_bytes
    assert removal.shared_bytes_kept == 0
    assert (two / "config.json").read_bytes() == b"{}"


def test_a_blob_that_another_revision_uses_stays(places: Places) -> None:
    weights = b"w" * 100_000
    one = add_revision(places.cache_dir, "org/m", "1", {"model.safetensors": weights, "config.json": b"{}"}, ref="main")
    two = add_revision(places.cache_dir, "org/m", "2", {"model.safetensors": weights, "config.json": CONFIG}, ref="v2")
    removal = plan(places, one)
    repository = one.parent.parent
    assert repository / "blobs" / etag_of(weights, lfs=True) not in removal.paths
    assert repository / "blobs" / etag_of(b"{}") in removal.paths
    assert removal.shared_bytes_kept == du(repository / "blobs" / etag_of(weights, lfs=True))
    carry_out(places, removal)
    assert (two / "model.safetensors").read_bytes() == weights
    assert not (repository / "refs" / "main").exists()
    assert (repository / "refs" / "v2").exists()
    report = scan_cache_dir(places.cache_dir)
    assert report.warnings == []
    assert [revision.commit_hash for repo in report.repos for revision in repo.revisions] == [two.name]


def test_the_hub_client_agrees_on_what_is_left(places: Places) -> None:
    """The same deletion by huggingface_hub leaves the same files."""
    other = Places(places.data_dir / "other", places.data_dir)
    for cache in (places.cache_dir, other.cache_dir):
        for number in range(3):
            files = {"config.json": b"%d" % number, "model.safetensors": b"same", "x.txt": b"%d" % (number // 2)}
            add_revision(cache, "org/m", str(number), files, ref=["main", "refs/pr/7", ""][number])
    doomed = commit_of("org/m 0"), commit_of("org/m 1")
    scan_cache_dir(other.cache_dir).delete_revisions(*doomed).execute()
    snapshots = places.cache_dir / "models--org--m" / "snapshots"
    carry_out(places, plan(places, *(snapshots / commit for commit in doomed)))
    # The client leaves the listings of revisions that are gone, and folders without refs.
    theirs = {name for name in contents(other.cache_dir) if "trees/" not in name and not name.endswith(("refs", "pr"))}
    ours = {name for name in contents(places.cache_dir) if "trees/" not in name and not name.endswith("refs")}
    assert ours == theirs


def test_a_repository_whose_last_revision_goes_goes_with_its_locks_unless_a_partial_download_is_left(
    places: Places,
) -> None:
    files = {"config.json": CONFIG, "tokenizer.json": b"{}", "model.safetensors": safetensors_bytes()}
    one = add_revision(places.cache_dir, "org/m", "1", files, ref="main")
    repository = one.parent.parent
    partial = repository / "blobs" / "abc.hugchat.incomplete"
    partial.write_bytes(b"half")
    side_file = repository / "blobs" / "abc.hugchat.map"
    side_file.write_bytes(b"map")
    carry_out(places, plan(places, one))
    assert partial.exists()
    assert side_file.exists()
    assert scan_cache_dir(places.cache_dir).warnings == []
    carry_out(places, plan(places, repository))
    assert not repository.exists()
    assert not (places.cache_dir / ".locks" / repository.name).exists()


def test_a_download_that_began_after_the_scan_is_not_deleted(places: Places) -> None:
    one = add_revision(places.cache_dir, "org/m", "1", {"config.json": CONFIG}, ref="main")
    rows = rows_of(places)
    two = add_revision(places.cache_dir, "org/m", "2", {"config.json": b"{}"}, ref="v2")
    partial = one.parent.parent / "blobs" / "abc.12345678.incomplete"
    partial.write_bytes(b"half")
    removal = plan_removal([row for row in rows if row.key == str(one)], rows, places)
    carry_out(places, removal)
    assert partial.exists()
    assert (two / "config.json").read_bytes() == b"{}"


def test_what_is_being_downloaded_is_refused(places: Places) -> None:
    """The Hub's client, and our own downloads, hold the lock of the file that they write."""
    one = add_revision(places.cache_dir, "org/m", "1", {"config.json": CONFIG}, ref="main")
    lock = places.cache_dir / ".locks" / "models--org--m" / f"{etag_of(CONFIG)}.lock"
    with FileLock(lock):
        assert "being downloaded right now" in refusal(places, row_at(places, one))
    assert plan(places, one).paths


def test_one_of_several_ggufs_goes_alone_and_the_last_one_with_everything(places: Places) -> None:
    files = {"q4.gguf": b"four", "q8.gguf": b"eight", "README.md": b"card"}
    snapshot = add_revision(places.cache_dir, "org/g", "1", files, ref="main")
    size = du(places.cache_dir)
    removal = plan(places, snapshot / "q4.gguf")
    assert {path.name for path in removal.paths} == {"q4.gguf", etag_of(b"four", lfs=True)}
    carry_out(places, removal)
    assert size - du(places.cache_dir) == removal.freed_bytes
    assert (snapshot / "q8.gguf").read_bytes() == b"eight"
    both = add_revision(places.cache_dir, "org/h", "1", files, ref="main")
    carry_out(places, plan(places, both / "q4.gguf", both / "q8.gguf"))
    assert not both.parent.parent.exists()


def test_the_shared_store(places: Places) -> None:
    """Content goes with the last repository that links to it, and never while its list of users cannot be read."""
    cache = places.cache_dir
    content = b"c" * 50_000
    name = etag_of(content, lfs=True)
    snapshots = []
    for repo_id in ("org/one", "org/two"):
        snapshot = add_revision(cache, repo_id, "1", {"model.safetensors": content, "config.json": CONFIG}, ref="main")
        stored = share(snapshot.parent.parent / "blobs" / name, cache)
        snapshots.append(snapshot)
    users = stored.with_name(f"{stored.name}.refs")
    assert "Repositories use" in refusal(places, row_at(places, cache / "blobs"))
    removal = plan(places, snapshots[0])
    assert removal.shared_bytes_kept == du(stored)
    size = du(cache)
    carry_out(places, removal)
    assert size - du(cache) == removal.freed_bytes
    assert (snapshots[1] / "model.safetensors").read_bytes() == content
    listed = users.read_text()
    users.unlink()
    assert stored not in plan(places, snapshots[1]).paths
    users.write_text(listed)
    removal = plan(places, snapshots[1])
    size = du(cache)
    was = contents(cache)
    trash = Trash(places)
    discarded = trash.discard(removal)
    assert size - du(cache) == removal.freed_bytes > 50_000
    assert not stored.exists()
    assert not users.exists()
    trash.restore(discarded)
    assert contents(cache) == was
    assert scan_cache_dir(cache).warnings == []
    (snapshots[1].parent.parent / "blobs" / name).unlink()  # as other programs delete
    assert set(plan(places, cache / "blobs").paths) == {stored, users}


@pytest.mark.parametrize("odd", ["pipe for a list", "pipe for the mark", "link for a lock"])
def test_a_store_that_is_not_what_it_should_be_gives_nothing_away(places: Places, odd: str) -> None:
    """A named pipe blocked the deletion for ever."""
    cache, content = places.cache_dir, b"c" * 50_000
    snapshot = add_revision(cache, "org/one", "1", {"model.safetensors": content, "config.json": CONFIG}, ref="main")
    stored = share(snapshot.parent.parent / "blobs" / etag_of(content, lfs=True), cache)
    if odd == "link for a lock":
        lock = stored.with_name(f"{stored.name}.lock")
        lock.rename(lock.with_name("elsewhere"))
        lock.symlink_to("elsewhere")
    else:
        name = f"{stored.name[:2]}/{stored.name}.refs" if odd == "pipe for a list" else ".huggingface-shared-blobs"
        (cache / "blobs" / name).unlink()
        os.mkfifo(cache / "blobs" / name)
    removal = plan(places, snapshot)
    assert removal.paths and stored not in removal.paths
    carry_out(places, removal)
    assert stored.read_bytes() == content


def test_a_file_with_a_name_outside_of_the_cache_frees_nothing(places: Places, tmp_path: Path) -> None:
    weights = b"w" * 100_000
    one = add_revision(places.cache_dir, "org/m", "1", {"model.safetensors": weights, "config.json": CONFIG})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.hardlink_to((one / "model.safetensors").resolve())
    size = du(places.cache_dir, elsewhere)
    removal = plan(places, one)
    assert removal.freed_bytes < 100_000 <= removal.shared_bytes_kept
    carry_out(places, removal)
    assert size - du(places.cache_dir, elsewhere) == removal.freed_bytes


def test_data_sets_and_unused_files_of_the_cache(places: Places) -> None:
    snapshot = add_revision(places.cache_dir, "org/d", "1", {"data.txt": b"rows"}, ref="main")
    dataset = snapshot.parent.parent.rename(places.cache_dir / "datasets--org--d")
    stray = places.cache_dir / "stray.txt"
    stray.write_text("stray")
    removal = plan(places, dataset, stray)
    assert set(removal.paths) == {dataset, stray}
    carry_out(places, removal)
    assert not dataset.exists()
    assert not stray.exists()
