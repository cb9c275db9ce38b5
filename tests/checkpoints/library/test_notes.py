"""Names and notes that the person gives, and a name that works wherever a checkpoint is asked for."""

from __future__ import annotations

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
    aliased,
    load_entries,
    mark_used,
    set_alias,
    set_note,
)
from engine.checkpoints.resolve import NotDownloadedError, resolve
from engine.errors import EngineError
from tests.checkpoints.builders import make_cached, make_gguf, make_model


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
    set_alias(tmp_path, "/a", "mine")
    with pytest.raises(AliasError, match="/a"):
        set_alias(tmp_path, "/b", "mine")
    set_alias(tmp_path, "/a", "mine")
    set_alias(tmp_path, "/b", "名 " + "x" * (ALIAS_LIMIT - 2))


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
    [b"", b"\xff", b"[]", b'{"version": 2, "entries": {"/a": {"alias": "x"}}}', b'{"entries": ' + b"[" * 90_000],
)
def test_a_file_that_is_not_understood_is_kept_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "library.json").write_bytes(content)
    assert load_entries(tmp_path) == {}
    set_note(tmp_path, "/a", "note")
    assert load_entries(tmp_path)["/a"].note == "note"
    assert (tmp_path / "library.json.damaged").read_bytes() == content


def test_entries_of_wrong_types_are_empty_ones(tmp_path: Path) -> None:
    (tmp_path / "library.json").write_text('{"version": 1, "entries": {"/a": {"alias": 7, "used": "x"}, "/b": []}}')
    (entry,) = load_entries(tmp_path).values()
    assert (entry.alias, entry.note, entry.used) == ("", "", 0.0)
