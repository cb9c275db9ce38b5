"""Whatever lies on the disk, a scan ends, says why in a row, and lists what lies beside it."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.checkpoints.discover import find_checkpoints
from engine.checkpoints.library.details import read_details
from engine.checkpoints.library.occupied import Occupied
from engine.checkpoints.library.rows import Places, row_from_plain, to_json
from tests.checkpoints.builders import LLAMA, make_adapter, make_gguf, make_model, safetensors_bytes
from tests.checkpoints.library.repositories import add_revision, rows_of

CONFIG = json.dumps(LLAMA).encode()
MODEL = {"config.json": CONFIG, "tokenizer.json": b"{}", "model.safetensors": safetensors_bytes()}
NOT_UTF8 = os.fsdecode(b"caf\xe9")
ESCAPES = "\x1b]52;c;aGk=\x07[bold]\u202e夜"

Damage = Callable[[Path, Path], object]
"""Does something to a cache's folder and a person's folder."""


def _model_with(name: str, content: bytes) -> Damage:
    return lambda cache, mine: add_revision(cache, "org/bad", "new", MODEL | {name: content}, ref="main")


def _instead_of(name: str) -> Damage:
    """A file where the cache has a folder."""

    def change(cache: Path, mine: Path) -> None:
        (cache / "models--org--bad").mkdir()
        (cache / "models--org--bad" / name).write_bytes(b"\xff" * 100)

    return change


def _pipes(cache: Path, mine: Path) -> None:
    snapshot = add_revision(cache, "org/bad", "new", MODEL, ref="main")
    for path in (
        snapshot / "README.md",
        snapshot / "chat_template.jinja",
        cache / "models--org--bad" / "refs" / "pipe",
    ):
        os.mkfifo(path)
    os.mkfifo(cache / "pipe")
    os.mkfifo(mine / "pipe.gguf")


def _loops(cache: Path, mine: Path) -> None:
    (cache / "models--org--bad").symlink_to("models--org--bad")
    (cache / "models--org--worse").symlink_to(cache)
    (cache / "loop").symlink_to(cache)
    (mine / "loop").symlink_to(mine)
    snapshots = cache / "models--org--loops" / "snapshots"
    snapshots.mkdir(parents=True)
    (snapshots / ("a" * 40)).symlink_to(snapshots)
    (snapshots / ("b" * 40)).symlink_to("b" * 40)
    (cache / "models--org--loops" / "refs").symlink_to(".")
    (cache / "models--org--loops" / "blobs").symlink_to("/")


def _unseen(cache: Path, mine: Path) -> None:
    """Links whose targets even stat may not look at, as anything in a closed folder."""
    snapshot = add_revision(cache, "org/bad", "new", {"config.json": CONFIG}, ref="main")
    for path in (snapshot / "model.safetensors", snapshot / "tokenizer.json", cache / "x", cache / "models--a--b"):
        path.symlink_to("x" * 300)
    (mine / "link").symlink_to("x" * 300)
    (mine / "link.gguf").symlink_to("x" * 300)


def _names(cache: Path, mine: Path) -> None:
    for name in (NOT_UTF8, ESCAPES):
        add_revision(cache, "org/x", "new", MODEL, ref=name)
        (cache / "models--org--x").rename(cache / f"models--org--{name}")
        make_model(mine / name)
        make_gguf(mine / f"{name}.gguf")
        make_adapter(mine / f"adapter {name}", f"org/{name}" if name is ESCAPES else "x")
        (cache / name).write_bytes(b"stray")


def _deep(cache: Path, mine: Path) -> None:
    path = cache / "stray"
    for _ in range(60):  # as deep as a path may be long, and then some
        path = path / ("d" * 60)
        try:
            path.mkdir(parents=True)
        except OSError:
            break


def _provenance(cache: Path, mine: Path) -> None:
    make_model(mine / "bad")
    (mine / "bad" / "hugchat.json").write_bytes(b"[" * 30_000)


def _adapter(cache: Path, mine: Path) -> None:
    make_adapter(mine / "bad", "org/good")
    config = {"peft_type": ["x"], "base_model_name_or_path": "a\0b", "r": -1, "lora_alpha": 1e999, "target_modules": 7}
    (mine / "bad" / "adapter_config.json").write_text(json.dumps(config))


def _weights_before_the_file() -> bytes:
    """Its end is where the file ends, and its size is that of its shape."""
    count = 10**4000
    tensor = {"dtype": "BF16", "shape": [count], "data_offsets": [-2 * count, 0]}
    header = json.dumps({"a": tensor}).encode()
    return struct.pack("<Q", len(header)) + header


CASES: dict[str, tuple[Damage, str]] = {
    "header length of 2^62": (_model_with("model.safetensors", struct.pack("<Q", 2**62) + b"x"), "claims"),
    "weights of 10^4000 parameters": (_model_with("model.safetensors", _weights_before_the_file()), "makes no sense"),
    "weights cut off": (_model_with("model.safetensors", safetensors_bytes()[:-1]), "not whole"),
    "config 100,000 deep": (_model_with("config.json", b"[" * 100_000), "nested too deeply"),
    "tokenizer config 100,000 deep": (_model_with("tokenizer_config.json", b'{"a":' * 100_000), "nested too deeply"),
    "config of numbers beyond reason": (
        _model_with("config.json", CONFIG[:-1] + b', "hidden_size": ' + b"9" * 4000 + b"}"),
        "",
    ),
    "config that is another kind": (_model_with("config.json", b"[1]"), "JSON object"),
    "card without end": (_model_with("README.md", b"---\n" + b"license:\n" * 100_000), ""),
    "gguf that is none": (lambda cache, mine: (mine / "bad.gguf").write_bytes(b"GGUF" + b"\xff" * 50), "not supported"),
    "file called as a repository": (lambda cache, mine: (cache / "models--org--bad").write_bytes(b"x"), "No part"),
    "snapshots that are a file": (_instead_of("snapshots"), "Nothing of a model"),
    "refs that are a file": (_instead_of("refs"), "Nothing of a model"),
    "blobs that are a file": (_instead_of("blobs"), "Nothing of a model"),
    "named pipes": (_pipes, "not a regular file"),
    "links in circles": (_loops, "Nothing of a model"),
    "what may not be looked at": (_unseen, "cannot be read"),
    "names that are no text": (_names, "not valid UTF-8"),
    "folders without end": (_deep, "No part"),
    "provenance 30,000 deep": (_provenance, ""),
    "adapter of wrong types": (_adapter, "not on this machine"),
}


@pytest.mark.parametrize("case", CASES)
def test_damage_is_a_row_with_a_reason_and_hides_nothing_else(tmp_path: Path, case: str) -> None:
    places = Places(tmp_path / "cache", tmp_path / "data", (tmp_path / "mine",))
    damage, words = CASES[case]
    good = add_revision(places.cache_dir, "org/good", "new", MODEL, ref="main")
    own = make_model(tmp_path / "mine" / "good")
    damage(places.cache_dir, tmp_path / "mine")
    rows = rows_of(places)
    assert {str(good), str(own)} <= {row.key for row in rows if row.kind == "model" and not row.problem}
    assert any(words in row.problem for row in rows)
    assert all(row.problem for row in rows if row.kind in ("broken", "unfinished", "other"))
    assert all(len(row.problem) < 1000 for row in rows)
    for row in rows:
        assert row_from_plain(json.loads(to_json(row))) == row
        read_details(row)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_cache_that_may_not_be_read_is_a_row_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o000)
    (row,) = rows_of(Places(tmp_path / "cache", tmp_path / "data"))
    assert (row.kind, row.key) == ("broken", str(tmp_path / "cache"))
    assert "Permission denied" in row.problem


def test_a_cache_that_is_a_file_is_a_row_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"x")
    (row,) = rows_of(Places(tmp_path / "cache", tmp_path / "data"))
    assert (row.kind, "cannot be read" in row.problem) == ("broken", True)


def test_a_machine_without_anything_has_no_rows(tmp_path: Path) -> None:
    assert rows_of(Places(tmp_path / "cache", tmp_path / "data")) == ()


def test_moments_for_which_there_is_no_calendar_are_unknown(tmp_path: Path) -> None:
    """tmpfs and btrfs keep them, and showing one ended the details."""
    path = tmp_path / "file"
    path.touch()
    was = path.stat()
    ages_hence = os.stat_result((*was[:7], 2**40, 2**40, 2**40))
    occupied = Occupied()
    occupied.note_times(ages_hence)
    assert (occupied.modified, occupied.used) == (0.0, 0.0)
    occupied.note_times(was)
    assert (occupied.modified, occupied.used) == (was.st_mtime, was.st_atime)


def test_a_folder_of_a_user_that_there_is_not_is_a_row_with_a_reason(tmp_path: Path) -> None:
    """The whole library could not be looked through."""
    folders = (Path("~no-such-user/models"), tmp_path / "mine")
    make_model(tmp_path / "mine" / "good")
    missing, good = rows_of(Places(tmp_path / "cache", tmp_path / "data", folders))
    assert (missing.kind, good.kind) == ("broken", "model")
    assert "nothing at this path" in missing.problem
    found = find_checkpoints(folders, data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    assert [bool(checkpoint.problem) for checkpoint in found] == [True, False]
