"""Names and notes that the person gives, and a name that works wherever a checkpoint is asked for."""

from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.checkpoints.library.notes import (
    ALIAS_LIMIT,
    NOTE_LIMIT,
    AliasError,
    Entry,
    aliased,
    load_entries,
    mark_used,
    set_alias,
    set_note,
)
from engine.checkpoints.library.rows import Places
from engine.checkpoints.resolve import NotDownloadedError, resolve
from engine.errors import EngineError
from tests.checkpoints.builders import LLAMA, make_cached, make_gguf, make_model, safetensors_bytes
from tests.checkpoints.library.repositories import add_revision, commit_of, inventory, row_at


def test_an_alias_finds_its_checkpoint_under_the_name_it_is_listed_by(tmp_path: Path) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    cached = make_model(make_cached(cache, "org/model"))
    run = make_model(data / "runs" / "first" / "checkpoints" / "step-9")
    own = make_model(tmp_path / "elsewhere" / "own")
    quant = make_gguf(make_cached(cache, "org/quants") / "a.gguf")
    make_gguf(quant.with_name("b.gguf"))
    for alias, path in {"one": cached, "two": run, "three": own, "four": quant}.items():
        set_alias(data, str(path), alias)

    def found(alias: str) -> tuple[str, Path, str]:
        checkpoint = resolve(alias, data_dir=data, cache_dir=cache)
        return checkpoint.name, checkpoint.path, checkpoint.source

    assert found("one") == ("org/model", cached, "cache")
    assert found("two") == ("runs/first/step-9", run, "run")
    assert found("three") == ("own", own, "folder")
    assert found("four") == ("org/quants/a.gguf", quant, "cache")


def test_an_alias_of_something_gone_is_no_name_any_more(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    set_alias(tmp_path / "data", str(model), "small")
    shutil.rmtree(model)
    with pytest.raises(NotDownloadedError):
        resolve("small", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")


def test_an_alias_can_be_changed_and_taken_away(tmp_path: Path) -> None:
    set_alias(tmp_path, "/a", "  old ")
    set_alias(tmp_path, "/a", "new")
    assert (aliased(tmp_path, "old"), aliased(tmp_path, "new")) == ("", "/a")
    set_alias(tmp_path, "/a", "")
    assert (aliased(tmp_path, "new"), aliased(tmp_path, ""), load_entries(tmp_path)) == ("", "", {})


@pytest.mark.parametrize(
    "alias",
    ["starter", "runs/x", "org/model", "a\\b", "x@main", ".", "..", "~", "a\nb", "\x1b[31m", "a\u202eb", "x" * 61],
)
def test_a_name_that_would_mean_something_else_is_refused(tmp_path: Path, alias: str) -> None:
    with pytest.raises(AliasError):
        set_alias(tmp_path, "/a", alias)
    assert load_entries(tmp_path) == {}


def test_two_checkpoints_do_not_share_a_name(tmp_path: Path) -> None:
    one, two = make_model(tmp_path / "one"), make_model(tmp_path / "two")
    set_alias(tmp_path, str(one), "mine")
    with pytest.raises(AliasError, match=str(one)):
        set_alias(tmp_path, str(two), "mine")
    set_alias(tmp_path, str(one), "mine")
    set_alias(tmp_path, str(two), "名 " + "x" * (ALIAS_LIMIT - 2))


def test_the_name_of_something_gone_can_be_given_again(tmp_path: Path) -> None:
    """No row is left to take it from."""
    one, two = make_model(tmp_path / "one"), make_model(tmp_path / "two")
    set_alias(tmp_path, str(one), "mine")
    set_note(tmp_path, str(one), "a note")
    shutil.rmtree(one)
    set_alias(tmp_path, str(two), "mine")
    assert aliased(tmp_path, "mine") == str(two)
    assert load_entries(tmp_path)[str(one)] == Entry(note="a note")


FILES = {"config.json": json.dumps(LLAMA).encode(), "tokenizer.json": b"{}", "model.safetensors": safetensors_bytes()}


def test_what_is_said_of_a_cached_model_goes_on_to_the_next_revision(tmp_path: Path) -> None:
    """A pull of a new revision moves the ref, and what the person said was of the model."""
    places = Places(tmp_path / "cache", tmp_path / "data")
    old = add_revision(places.cache_dir, "org/m", "1", FILES, ref="main")
    pull = add_revision(places.cache_dir, "org/m", "2", FILES, ref="refs/pr/1")
    quants = {"a.gguf": b"a", "b.gguf": b"b"}
    add_revision(places.cache_dir, "org/q", "1", quants, ref="main")
    set_alias(places.data_dir, str(old), "mine")
    set_note(places.data_dir, str(old), "a note")
    set_alias(places.data_dir, str(pull), "proposed")
    set_alias(places.data_dir, str(places.cache_dir / f"models--org--q/snapshots/{commit_of('org/q 1')}/b.gguf"), "q")
    mark_used(places.data_dir, str(old))
    new = add_revision(places.cache_dir, "org/m", "3", FILES | {"README.md": b"new"}, ref="main")
    quant = add_revision(places.cache_dir, "org/q", "2", quants | {"README.md": b"new"}, ref="main") / "b.gguf"
    rows = {row.key: row for row in inventory(places).rows}
    told = {key: (row.alias, row.note) for key, row in rows.items() if row.alias or row.note}
    assert told == {str(new): ("mine", "a note"), str(pull): ("proposed", ""), str(quant): ("q", "")}
    assert rows[str(old)].used > 0 and load_entries(places.data_dir)[str(old)].used > 0, "this one was loaded"
    found = resolve("mine", data_dir=places.data_dir, cache_dir=places.cache_dir)
    assert (found.path, found.name) == (new, "org/m")
    assert aliased(places.data_dir, "q") == str(quant)
    with pytest.raises(AliasError):
        set_alias(places.data_dir, str(old), "mine")
    set_alias(places.data_dir, str(new), "")
    assert aliased(places.data_dir, "mine") == ""


def test_what_was_kept_under_a_revision_once_is_read_and_moves_on_with_the_next_change(tmp_path: Path) -> None:
    places = Places(tmp_path / "cache", tmp_path / "data")
    old = add_revision(places.cache_dir, "org/m", "1", FILES, ref="main")
    places.data_dir.mkdir()
    entries = {str(old): {"alias": "mine", "note": "a note", "used": 5.0}}
    (places.data_dir / "library.json").write_text(json.dumps({"version": 1, "entries": entries}))
    row = row_at(places, old)
    assert (row.alias, row.note) == ("mine", "a note")
    assert aliased(places.data_dir, "mine") == str(old)
    set_note(places.data_dir, str(old), "another")
    assert load_entries(places.data_dir)[str(old)] == Entry(used=5.0)
    new = add_revision(places.cache_dir, "org/m", "2", FILES | {"README.md": b"new"}, ref="main")
    row = row_at(places, new)
    assert (row.alias, row.note) == ("mine", "another")
    assert (row_at(places, old).alias, row_at(places, old).note) == ("", "")


def test_a_revision_that_no_ref_names_keeps_what_was_said_of_it(tmp_path: Path) -> None:
    places = Places(tmp_path / "cache", tmp_path / "data")
    pinned = add_revision(places.cache_dir, "org/m", "1", FILES)
    set_alias(places.data_dir, str(pinned), "pinned")
    add_revision(places.cache_dir, "org/m", "2", FILES, ref="main")
    assert row_at(places, pinned).alias == "pinned"
    assert aliased(places.data_dir, "pinned") == str(pinned)


def test_a_name_whose_ref_is_gone_is_no_name_and_can_be_given_again(tmp_path: Path) -> None:
    places = Places(tmp_path / "cache", tmp_path / "data")
    one = add_revision(places.cache_dir, "org/m", "1", FILES, ref="main")
    set_alias(places.data_dir, str(one), "mine")
    shutil.rmtree(places.cache_dir)
    assert aliased(places.data_dir, "mine") == ""
    assert aliased(places.data_dir, "") == ""
    two = make_model(tmp_path / "two")
    set_alias(places.data_dir, str(two), "mine")
    assert aliased(places.data_dir, "mine") == str(two)


def test_notes_and_uses_stay_beside_the_alias(tmp_path: Path) -> None:
    key = os.fsdecode(b"/caf\xe9")
    before = time.time()
    set_alias(tmp_path, key, "mine")
    set_note(tmp_path, key, "  good at \x1b[31m tests\n")
    mark_used(tmp_path, key)
    entry = load_entries(tmp_path)[key]
    assert (entry.alias, entry.note) == ("mine", "good at \x1b[31m tests")
    assert before <= entry.used <= time.time()
    set_note(tmp_path, key, "")
    assert load_entries(tmp_path)[key].note == ""
    with pytest.raises(EngineError, match="Shorten"):
        set_note(tmp_path, key, "x" * (NOTE_LIMIT + 1))


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: set_note(tmp_path, f"/{number}", f"note {number}"), range(40)))
    assert {key: entry.note for key, entry in load_entries(tmp_path).items()} == {
        f"/{number}": f"note {number}" for number in range(40)
    }
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b'{"version": 0, "entries": {"/a": {"alias": "x"}}}', b'{"entries": ' + b"[" * 90_000],
)
def test_a_file_that_is_not_understood_is_kept_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "library.json").write_bytes(content)
    assert load_entries(tmp_path) == {}
    set_note(tmp_path, "/a", "note")
    assert load_entries(tmp_path)["/a"].note == "note"
    assert (tmp_path / "library.json.damaged").read_bytes() == content


def test_nothing_that_was_kept_aside_is_lost_by_what_comes_after(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / "library.json").write_text(content)
        set_alias(tmp_path, "/a", "x")
    set_alias(tmp_path, "/a", "")
    set_note(tmp_path, "/a", "a file without an entry is not damaged")
    aside = sorted(path.name for path in tmp_path.glob("library.json.*"))
    assert aside == ["library.json.damaged", "library.json.damaged1"]
    assert [(tmp_path / name).read_text() for name in aside] == ["first", "second"]


@pytest.mark.parametrize("newer", [True, False])
def test_what_a_newer_version_wrote_or_cannot_be_read_now_stays_as_it_is(tmp_path: Path, newer: bool) -> None:
    path = tmp_path / "library.json"
    if newer:
        path.write_text('{"version": 2, "entries": {"/a": {"alias": "x"}}, "new": 1}')
    else:
        os.mkfifo(path)
    was = path.lstat()
    assert load_entries(tmp_path) == {}
    with pytest.raises(OSError, match=r"library\.json .*stays as it is"):
        mark_used(tmp_path, "/a")
    assert path.lstat() == was
    assert {entry.name for entry in tmp_path.iterdir()} == {".library.lock", "library.json"}


@pytest.mark.parametrize("used", ['"x"', "1" + "0" * 400, "NaN", "1e999", "-5", "1e12"])
def test_entries_of_wrong_types_are_empty_ones(tmp_path: Path, used: str) -> None:
    """A moment beyond all calendars could not be shown."""
    content = '{"version": 1, "entries": {"/a": {"alias": 7, "used": %s}, "/b": []}}' % used  # noqa: UP031
    (tmp_path / "library.json").write_text(content)
    (entry,) = load_entries(tmp_path).values()
    assert (entry.alias, entry.note, entry.used) == ("", "", 0.0)
