"""The inventory: every byte of the cache has a row, and every row says what it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.checkpoints.library.notes import mark_used, set_alias, set_note
from engine.checkpoints.library.removal import plan_removal
from engine.checkpoints.library.rows import Places, Row
from engine.checkpoints.resolve import resolve
from engine.checkpoints.starter import starter_path
from tests.checkpoints.builders import LLAMA, PARAMETERS, make_adapter, make_gguf, make_model, safetensors_bytes
from tests.checkpoints.library.repositories import add_revision, commit_of, du, inventory, row_at, rows_of

CONFIG = json.dumps(LLAMA).encode()
MODEL = {
    "config.json": CONFIG,
    "tokenizer.json": b"{}",
    "model.safetensors": safetensors_bytes(),
    "README.md": b"---\nlicense: mit\n---\n",
}
LARGE = bytes(range(256)) * 256


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for name in ("cache", "mine"):
        (tmp_path / name).mkdir()
    return Places(tmp_path / "cache", tmp_path / "data", (tmp_path / "mine",))


def _in_cache(places: Places) -> dict[str, Row]:
    """The cache's rows by what their key is below it."""
    return {os.path.relpath(row.key, places.cache_dir): row for row in rows_of(places)}


def _store(cache: Path) -> Path:
    store = cache / "blobs"
    store.mkdir(parents=True)
    (store / ".huggingface-shared-blobs").write_text("1\n")
    return store


def _share(cache: Path, blob: Path, name: str) -> Path:
    """Move a blob to huggingface_hub's store of files that repositories share, and leave the link that it leaves."""
    content = cache / "blobs" / name[:2] / name
    content.parent.mkdir(exist_ok=True)
    if not content.exists():
        blob.rename(content)
    blob.unlink(missing_ok=True)
    blob.symlink_to(os.path.relpath(content, blob.parent))
    with content.with_name(f"{name}.refs").open("a") as refs:
        refs.write(f"{blob.relative_to(cache)}\n")
    content.with_name(f"{name}.lock").touch()
    return content


def _fill(cache: Path) -> None:
    """Everything that may lie in a cache."""
    add_revision(cache, "org/two", "old", MODEL | {"old.txt": LARGE})
    add_revision(cache, "org/two", "new", MODEL | {"sub/new.txt": LARGE + b"x"}, ref="main")
    add_revision(cache, "org/two", "pr", MODEL, ref="refs/pr/1")
    two = cache / "models--org--two"
    (two / ".no_exist" / commit_of("org/two new")).mkdir(parents=True)
    (two / ".no_exist" / commit_of("org/two new") / "adapter_config.json").touch()
    (two / "refs" / "gone").write_text("e" * 40)
    (two / "blobs" / "forgotten").write_bytes(LARGE)

    going = add_revision(cache, "org/going", "new", {"config.json": CONFIG}, ref="main").parent.parent / "blobs"
    (going / f"{'a' * 64}.hugchat.incomplete").write_bytes(LARGE)
    (going / f"{'a' * 64}.hugchat.map").write_bytes(b"map")
    (going / f"{'b' * 64}.0123abcd.incomplete").write_bytes(LARGE)

    quants = add_revision(cache, "org/quants", "new", {"README.md": b"x", ".gitattributes": b"y" * 5000}, ref="main")
    for name in ("a-Q4_1.gguf", "b-Q4_1.gguf"):
        make_gguf(quants / name)

    (cache / "models--org--refs-only" / "refs").mkdir(parents=True)
    (cache / "models--org--refs-only" / "refs" / "main").write_text("f" * 40)
    (cache / "models--org--blobs-only" / "blobs").mkdir(parents=True)
    (cache / "models--org--blobs-only" / "blobs" / "x").write_bytes(LARGE)
    (cache / "models--org--empty").mkdir()
    (cache / "models--a-file").write_bytes(LARGE)
    (cache / "datasets--org--data" / "snapshots" / "x").mkdir(parents=True)
    (cache / "datasets--org--data" / "snapshots" / "x" / "data.csv").write_bytes(LARGE)
    (cache / "spaces--org--space").mkdir()
    (cache / "stray.txt").write_bytes(LARGE)
    (cache / "stray folder" / "deep").mkdir(parents=True)
    (cache / "stray folder" / "deep" / "file").write_bytes(LARGE)
    (cache / "CACHEDIR.TAG").write_text("Signature")

    store = _store(cache)
    for repo_id in ("org/shares", "org/shares-too"):
        snapshot = add_revision(cache, repo_id, "new", MODEL | {"large.bin": LARGE}, ref="main")
        _share(cache, snapshot.parent.parent / "blobs" / (snapshot / "large.bin").readlink().name, "ab" * 32)
    (store / "cd").mkdir()
    (store / "cd" / ("cd" * 32)).write_bytes(LARGE)

    loops = add_revision(cache, "org/loops", "new", MODEL, ref="main")
    (loops / "loop").symlink_to("loop")
    (loops / "up").symlink_to("..")
    (loops / "nowhere").symlink_to("../../blobs/nothing")


def test_every_byte_below_the_cache_belongs_to_a_row_and_counts_once(places: Places) -> None:
    _fill(places.cache_dir)
    found = inventory(places)
    # The folder of the cache itself stays whatever is deleted.
    assert found.total_bytes == du(places.cache_dir) - places.cache_dir.stat().st_blocks * 512
    assert sum(row.own_bytes for row in found.rows) + found.shared_bytes == found.total_bytes
    assert len({row.key for row in found.rows}) == len(found.rows)
    assert all(row.size_bytes >= row.own_bytes for row in found.rows)


def test_everything_in_a_cache_is_called_what_it_is(places: Places) -> None:
    _fill(places.cache_dir)
    found = _in_cache(places)
    new, old, pull = (commit_of(f"org/two {name}") for name in ("new", "old", "pr"))
    two = "models--org--two"
    assert {key: (row.name, row.kind, row.refs) for key, row in found.items() if key.startswith(two)} == {
        f"{two}/snapshots/{new}": ("org/two", "model", ("main",)),
        f"{two}/snapshots/{pull}": ("org/two@refs/pr/1", "model", ("refs/pr/1",)),
        f"{two}/snapshots/{old}": (f"org/two@{old}", "model", ()),
        two: ("org/two", "other", ()),
    }
    quants = f"models--org--quants/snapshots/{commit_of('org/quants new')}"
    others = {key: row.kind for key, row in found.items() if not key.startswith(two)}
    assert others == {
        "models--org--blobs-only": "unfinished",
        "models--org--empty": "unfinished",
        "models--org--going": "unfinished",
        f"models--org--loops/snapshots/{commit_of('org/loops new')}": "model",
        f"{quants}/a-Q4_1.gguf": "gguf",
        f"{quants}/b-Q4_1.gguf": "gguf",
        "models--org--refs-only": "unfinished",
        f"models--org--shares/snapshots/{commit_of('org/shares new')}": "model",
        f"models--org--shares-too/snapshots/{commit_of('org/shares-too new')}": "model",
        "datasets--org--data": "other",
        "spaces--org--space": "other",
        "models--a-file": "other",
        "stray.txt": "other",
        "stray folder": "other",
        "CACHEDIR.TAG": "other",
        ".locks": "other",
        "blobs": "other",
    }
    assert all(row.problem for row in found.values() if row.kind in ("other", "unfinished", "broken"))
    assert found["models--org--going"].repository == "models--org--going"


def test_a_partial_download_says_whose_it_is_and_what_to_do(places: Places) -> None:
    _fill(places.cache_dir)
    words = _in_cache(places)["models--org--going"].problem
    assert "hugchat models pull org/going" in words
    assert "1 partial file of another program's download" in words
    left = _in_cache(places)["models--org--two"].problem
    assert "no revision names" in left


def test_a_row_owns_what_only_it_refers_to(places: Places) -> None:
    cache = places.cache_dir
    add_revision(cache, "org/alone", "new", MODEL | {"large": LARGE}, ref="main")
    add_revision(cache, "org/two", "old", {"config.json": CONFIG, "large": LARGE, "own": LARGE + b"1"})
    add_revision(cache, "org/two", "new", {"config.json": CONFIG, "large": LARGE, "own": LARGE + b"2"}, ref="main")
    found = {row.name: row for row in rows_of(places)}
    alone = [cache / "models--org--alone", cache / ".locks" / "models--org--alone"]
    assert found["org/alone"].own_bytes == found["org/alone"].size_bytes == du(*alone)
    two = found["org/two"]
    blob = (Path(two.key) / "own").stat().st_blocks * 512
    assert blob < two.own_bytes < two.size_bytes - blob, "its own large file counts, the shared one does not"


def test_files_that_repositories_share_belong_to_each_and_to_none_alone(places: Places) -> None:
    _fill(places.cache_dir)
    found = {row.name: row for row in rows_of(places)}
    payload = places.cache_dir / "blobs" / "ab" / ("ab" * 32)
    shared = du(payload, payload.with_name(f"{payload.name}.refs"))
    alone = du(places.cache_dir / "models--org--shares", places.cache_dir / ".locks" / "models--org--shares")
    assert found["org/shares"].own_bytes == alone
    assert found["org/shares"].size_bytes >= alone + shared
    assert found["blobs"].own_bytes == du(places.cache_dir / "blobs") - shared


def test_a_row_owns_what_deleting_it_alone_frees(places: Places) -> None:
    _fill(places.cache_dir)
    rows = rows_of(places)
    plans = [plan_removal([row], rows, places) for row in rows]
    told = {plan.rows[0].key: (plan.freed_bytes, plan.rows[0].own_bytes) for plan in plans if plan.rows}
    assert len(told) > 15
    assert {key: own for key, (_, own) in told.items()} == {key: freed for key, (freed, _) in told.items()}


def test_what_lies_outside_the_cache_is_not_counted_to_it(places: Places, tmp_path: Path) -> None:
    make_model(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "model.safetensors").write_bytes(safetensors_bytes({"a": (1000, 1000)}))
    snapshot = add_revision(places.cache_dir, "org/linked", "new", {"config.json": CONFIG}, ref="main")
    for name in ("model.safetensors", "tokenizer.json"):
        (snapshot / name).symlink_to(tmp_path / "elsewhere" / name)
    row = row_at(places, snapshot)
    assert row.kind == "model"
    assert row.size_bytes < 1_000_000 < (row.checkpoint.size_bytes if row.checkpoint else 0)


def test_a_detached_revision_is_found_by_its_name(places: Places) -> None:
    add_revision(places.cache_dir, "org/two", "new", MODEL, ref="main")
    old = add_revision(places.cache_dir, "org/two", "old", MODEL)
    row = row_at(places, old)
    found = resolve(row.name, data_dir=places.data_dir, cache_dir=places.cache_dir)
    assert (found.path, found.problem) == (old, None)


def test_every_source_has_its_rows_and_each_place_one(places: Places, tmp_path: Path) -> None:
    data, mine = places.data_dir, tmp_path / "mine"
    make_model(starter_path(data))
    make_model(data / "models" / "merged")
    make_model(data / "models" / ".making-tmp-1")
    make_model(data / "runs" / "first" / "final")
    make_model(data / "runs" / "first" / "checkpoints" / "step-9")
    make_model(data / "runs" / ".hugchat-trash-1" / "final")
    make_model(mine / "publisher" / "own")
    make_gguf(mine / "small.gguf")
    add_revision(mine / "old-cache", "org/elsewhere", "new", MODEL, ref="main")
    add_revision(places.cache_dir, "org/model", "new", MODEL, ref="main")
    twice = Places(places.cache_dir, data, (mine, mine / "publisher", tmp_path / "absent"))
    assert [(row.name, row.source, row.kind) for row in rows_of(twice)] == [
        ("starter", "starter", "model"),
        ("org/model", "cache", "model"),
        (".locks", "cache", "other"),
        ("org/elsewhere", "cache", "model"),
        ("publisher/own", "folder", "model"),
        ("small.gguf", "folder", "gguf"),
        ("absent", "folder", "broken"),
        ("merged", "made", "model"),
        ("runs/first", "run", "model"),
        ("runs/first/step-9", "run", "model"),
    ]
    own = row_at(twice, mine / "publisher" / "own")
    assert own.size_bytes == own.own_bytes == du(mine / "publisher" / "own")


def test_what_is_damaged_unfinished_or_only_refused_is_told_apart(places: Places, tmp_path: Path) -> None:
    cache, mine = places.cache_dir, tmp_path / "mine"
    without_weights = {name: content for name, content in MODEL.items() if name != "model.safetensors"}
    foreign = {"model_type": "chatglm", "auto_map": {"AutoModel": "modeling_chatglm.ChatGLM"}}
    for name, files in {
        "cut-off": MODEL | {"model.safetensors": safetensors_bytes()[:-1]},
        "no-weights": without_weights,
        "no-tokenizer": {"config.json": CONFIG, "model.safetensors": safetensors_bytes()},
        "remote-code": MODEL | {"config.json": json.dumps(foreign).encode()},
        "only-a-card": {"README.md": b"# x"},
    }.items():
        add_revision(cache, f"org/{name}", "new", files, ref="main")
    make_model(mine / "no-weights-either")
    (mine / "no-weights-either" / "model.safetensors").unlink()
    rows = {row.name: row for row in rows_of(places)}
    del rows[".locks"]
    assert {name: row.kind for name, row in rows.items()} == {
        "org/cut-off": "broken",
        "org/no-weights": "unfinished",
        "org/no-tokenizer": "unfinished",
        "org/remote-code": "model",
        "org/only-a-card": "other",
        "no-weights-either": "broken",
    }
    assert all(row.problem and row.checkpoint is not None for row in rows.values())
    refused = rows["org/remote-code"].checkpoint
    assert refused is not None
    assert (refused.remote_code, refused.parameters, refused.licence) == (True, PARAMETERS, "mit")


def test_adapters_know_their_base_and_what_was_made_its_origins(places: Places, tmp_path: Path) -> None:
    mine, made = tmp_path / "mine", places.data_dir / "models"
    base = add_revision(places.cache_dir, "org/base", "new", MODEL, ref="main")
    make_adapter(mine / "adapter", "org/base")
    make_adapter(mine / "lonely", "org/gone")
    origins = [{"name": name, "path": "", "revision": ""} for name in ("org/base", "adapter")]
    (make_model(made / "merged") / "hugchat.json").write_text(json.dumps({"made": "merge", "from": origins}))
    again = [{"name": "merged", "path": "", "revision": ""}]
    (make_model(made / "again") / "hugchat.json").write_text(json.dumps({"made": "convert", "from": again}))
    found = {row.name: row for row in rows_of(places)}
    adapter = found["adapter"].checkpoint
    assert adapter is not None
    assert (adapter.base, adapter.family, adapter.context_length) == (base, "llama", 4096)
    assert found["lonely"].kind == "adapter"
    assert "org/gone is not on this machine" in found["lonely"].problem
    assert {name: row.lineage for name, row in found.items()} == {
        "org/base": (),
        ".locks": (),
        "adapter": ("org/base", "adapter"),
        "lonely": ("org/gone", "lonely"),
        "merged": ("org/base", "adapter", "merged"),
        "again": ("org/base", "adapter", "merged", "again"),
    }
    assert found["merged"].checkpoint is not None
    assert found["merged"].checkpoint.made_by == "merge"


def test_origins_that_go_round_in_circles_end(places: Places) -> None:
    made = places.data_dir / "models"
    for name in "abc":
        origins = [{"name": other} for other in "abc"]
        (make_model(made / name) / "hugchat.json").write_text(json.dumps({"made": "merge", "from": origins}))
    (made / "c" / "hugchat.json").write_text('{"made": ["x"], "from": {"name": 7}}')
    lineages = {row.name: row.lineage for row in rows_of(places)}
    assert sorted(lineages["a"]) == sorted(lineages["b"]) == ["a", "b", "c"]
    assert (lineages["a"][-1], lineages["b"][-1], lineages["c"]) == ("a", "b", ())


def test_rows_carry_the_persons_words_and_when_they_were_used(places: Places) -> None:
    snapshot = add_revision(places.cache_dir, "org/model", "new", MODEL, ref="main")
    for path in (places.cache_dir / "models--org--model" / "blobs").iterdir():
        os.utime(path, (1_000_000.0, 500_000.0))
    os.utime(
        (places.cache_dir / "models--org--model" / "blobs" / (snapshot / "config.json").readlink().name), (2e6, 7e5)
    )
    row = row_at(places, snapshot)
    assert (row.modified, row.used, row.alias, row.note) == (700_000.0, 2_000_000.0, "", "")
    assert row_at(places, snapshot).used == 2_000_000.0, "looking at a checkpoint is not using it"
    set_alias(places.data_dir, row.key, "mine")
    set_note(places.data_dir, row.key, "good at [b]tests[/b]")
    mark_used(places.data_dir, row.key)
    row = row_at(places, snapshot)
    assert (row.alias, row.note) == ("mine", "good at [b]tests[/b]")
    assert row.used > 2_000_000.0
