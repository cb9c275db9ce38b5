"""The scan in its child process, and the index that makes the next one fast."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.checkpoints.library.index import fingerprint, load_index, load_known
from engine.checkpoints.library.notes import set_alias, set_note
from engine.checkpoints.library.rows import Inventory, Places, Row
from engine.checkpoints.library.scan import ScanError, scan
from tests.checkpoints.builders import LLAMA, make_adapter, make_model, safetensors_bytes
from tests.checkpoints.library.repositories import add_revision, inventory

MODEL = {
    "config.json": json.dumps(LLAMA).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": safetensors_bytes(),
}
INDEX = "library-index.jsonl"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A cache, a folder with an adapter of a cached model and one whose name is no text, and a run."""
    add_revision(tmp_path / "cache", "org/model", "new", MODEL, ref="main")
    add_revision(tmp_path / "cache", "org/model", "old", MODEL)
    make_adapter(tmp_path / "mine" / "adapter", "org/model")
    make_model(tmp_path / "mine" / os.fsdecode(b"caf\xe9"))
    make_model(tmp_path / "data" / "runs" / "first" / "final")
    return Places(tmp_path / "cache", tmp_path / "data", (tmp_path / "mine",))


async def _scan(places: Places) -> Inventory:
    return await scan(places, lambda rows: None)


async def test_rows_come_from_the_child_as_they_would_from_here(places: Places) -> None:
    batches: list[list[Row]] = []
    found = await scan(places, lambda rows: batches.append(list(rows)))
    assert found == inventory(places)
    arrived = {row.key: row for batch in batches for row in batch}
    assert arrived == {row.key: row for row in found.rows}
    adapter = next(row for row in found.rows if row.name == "adapter")
    assert adapter.lineage == ("org/model", "adapter")


async def test_many_rows_come_in_batches_and_again_only_where_they_changed(tmp_path: Path) -> None:
    make_adapter(tmp_path / "mine" / "adapter", "m0")
    for number in range(150):
        make_model(tmp_path / "mine" / f"m{number}")
    batches: list[Sequence[Row]] = []
    await scan(Places(tmp_path / "cache", tmp_path / "data", (tmp_path / "mine",)), batches.append)
    assert max(map(len, batches)) <= 64
    names = [row.name for batch in batches for row in batch]
    assert (len(set(names)), len(names), names.count("adapter")) == (151, 152, 2), "again once its base was known"


async def test_the_index_shows_what_the_last_scan_found_with_todays_notes(places: Places) -> None:
    assert load_index(places) == []
    found = await _scan(places)
    assert tuple(load_index(places)) == found.rows
    set_alias(places.data_dir, found.rows[0].key, "mine")
    set_note(places.data_dir, found.rows[0].key, "a note")
    first = load_index(places)[0]
    assert (first.key, first.alias, first.note) == (found.rows[0].key, "mine", "a note")
    await _scan(places)
    set_alias(places.data_dir, found.rows[0].key, "")
    set_note(places.data_dir, found.rows[0].key, "")
    assert (load_index(places)[0].alias, load_index(places)[0].note) == ("", "")
    assert load_index(Places(places.cache_dir, places.data_dir)) == [], "of other places nothing is known"


async def test_what_did_not_change_is_not_read_again_and_what_did_is(places: Places) -> None:
    await _scan(places)
    weights = places.data_dir / "runs" / "first" / "final" / "model.safetensors"
    before = weights.stat()
    weights.write_bytes(b"\xff" * before.st_size)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    def run(found: Inventory) -> Row:
        return next(row for row in found.rows if row.source == "run")

    assert run(await _scan(places)).kind == "model", "same size and time: taken from the index"
    weights.touch()
    assert run(await _scan(places)).kind == "broken"


async def test_what_is_gone_or_new_is_noticed_in_spite_of_the_index(places: Places, tmp_path: Path) -> None:
    first = await _scan(places)
    base = next(row for row in first.rows if row.name == "org/model")
    (Path(base.key) / "model.safetensors").unlink()
    make_model(tmp_path / "mine" / "new")
    (tmp_path / "mine" / "adapter" / "adapter_model.safetensors").unlink()
    found = {row.name: row for row in (await _scan(places)).rows}
    assert (found["org/model"].kind, found["adapter"].kind, found["new"].kind) == ("unfinished", "broken", "model")
    assert tuple(load_index(places)) == tuple(found.values())


async def test_an_adapter_gets_its_base_anew_when_only_the_base_changed(places: Places) -> None:
    (adapter,) = [row for row in (await _scan(places)).rows if row.name == "adapter"]
    assert adapter.problem == ""
    for path in (places.cache_dir / "models--org--model" / "snapshots").iterdir():
        (path / "config.json").unlink()
    (adapter,) = [row for row in (await _scan(places)).rows if row.name == "adapter"]
    assert (adapter.kind, "cannot be loaded" in adapter.problem) == ("adapter", True)


async def test_an_adapter_without_its_base_is_whole_once_the_base_is_there(places: Places, tmp_path: Path) -> None:
    make_adapter(tmp_path / "mine" / "early", "late")

    async def early() -> Row:
        return next(row for row in (await _scan(places)).rows if row.name == "early")

    assert "not on this machine" in (await early()).problem
    base = make_model(tmp_path / "mine" / "late")
    found = await early()
    assert (found.problem, found.checkpoint and found.checkpoint.base) == ("", base)


def test_a_fingerprint_tells_every_file_and_does_not_mind_links_to_nowhere(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    for number in range(5):
        (model / f"gone-{number}").symlink_to("nowhere")
    seen = {fingerprint(model)}
    for number, path in enumerate((*sorted(model.glob("*.json")), model / "model.safetensors"), start=2):
        path.write_bytes(path.read_bytes() + b" ")
        seen.add(fingerprint(model))
        assert len(seen) == number
    assert fingerprint(model) in seen


async def test_other_code_trusts_no_old_descriptions(places: Places) -> None:
    await _scan(places)
    assert load_known(places.data_dir)
    head, *rest = (places.data_dir / INDEX).read_text().splitlines()
    (places.data_dir / INDEX).write_text("\n".join([json.dumps({**json.loads(head), "stamp": "older"}), *rest]))
    assert load_known(places.data_dir) == {}
    assert len(load_index(places)) == len(rest), "what it found is still worth showing"


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]\n", b"null", b"{}\n{}", b'{"places": 1}\n' + b"[" * 100_000, b"{" * 100_000]
)
async def test_a_damaged_index_is_no_index(places: Places, content: bytes) -> None:
    (places.data_dir / INDEX).write_bytes(content)
    assert load_index(places) == []
    assert load_known(places.data_dir) == {}
    assert (await _scan(places)).rows
    lines = (places.data_dir / INDEX).read_bytes().splitlines()
    (places.data_dir / INDEX).write_bytes(b"\n".join([*lines, content[:1000] or b"{}"]))
    assert load_index(places) == []
    assert load_known(places.data_dir) == {}


async def test_a_data_folder_that_cannot_be_written_costs_the_index_only(tmp_path: Path) -> None:
    make_model(tmp_path / "mine" / "m")
    (tmp_path / "data").write_bytes(b"a file")
    found = await _scan(Places(tmp_path / "cache", tmp_path / "data", (tmp_path / "mine",)))
    assert [row.name for row in found.rows] == ["m"]


async def test_a_folder_that_can_be_none_fails_in_words(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="could not be looked through"):
        await _scan(Places(tmp_path, tmp_path / "data", (Path("a\0b"),)))


def test_reading_ahead_comes_to_an_end_whatever_lies_there(places: Places, tmp_path: Path) -> None:
    os.mkfifo(places.cache_dir / "pipe")
    (places.cache_dir / "loop").symlink_to(places.cache_dir)
    (places.cache_dir / "unseen").symlink_to("x" * 300)
    script = (
        "import os, sys; from engine.checkpoints.library.read_ahead import read_ahead; "
        "print(os.waitpid(read_ahead(sys.argv[1:]), 0)[1])"
    )
    tops = [str(tmp_path), str(tmp_path / "absent")]
    assert subprocess.run([sys.executable, "-c", script, *tops], capture_output=True, check=True).stdout == b"0\n"


async def test_cancelling_ends_the_child_and_leaves_no_half_index(tmp_path: Path) -> None:
    for number in range(100):
        make_model(tmp_path / "mine" / f"m{number}")
    places = Places(tmp_path / "cache", tmp_path / "data", (tmp_path / "mine",))
    begun = asyncio.Event()

    def on_rows(rows: Sequence[Row]) -> None:
        begun.set()

    scanning = asyncio.create_task(scan(places, on_rows))
    await begun.wait()
    scanning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scanning
    assert load_index(places) in ([], list(inventory(places).rows))
