"""Verification without a network: what is right, what is damaged, and what nobody can tell."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path

import psutil
import pytest

from engine.checkpoints.library.rows import Places, Row
from engine.checkpoints.library.verify import Verification, check, verify
from tests.checkpoints.builders import LLAMA, make_gguf, make_model, safetensors_bytes
from tests.checkpoints.library.repositories import add_revision, etag_of, row_at, share

CONFIG = json.dumps(LLAMA).encode()
FILES = {"model.safetensors": safetensors_bytes(), "config.json": CONFIG, "tokenizer.json": b"{}"}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "hub", tmp_path / "data", (tmp_path / "folder",))
    for path in (made.cache_dir, made.data_dir, *made.folders):
        path.mkdir(parents=True)
    return made


def outcome(row: Row) -> Verification:
    """What the child would say, without a child."""
    from engine.checkpoints.library import verify as module

    said: list[dict[str, str | int]] = []
    check(row.source, Path(row.key), lambda message: said.append(dict(message)), row.name)
    return Verification(
        sum("checked" in message for message in said),
        tuple(module.Unchecked(str(each["unchecked"]), str(each["why"])) for each in said if "unchecked" in each),
        tuple(str(message["problem"]) for message in said if "problem" in message),
    )


def overwrite(path: Path, at: int, byte: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(byte)


async def test_a_cached_revision_in_its_child(places: Places) -> None:
    """Both kinds of checksum, one file under two names, one in the shared store, and progress up to the last byte."""
    files = FILES | {"copy.json": CONFIG, "pytorch_model.bin": os.urandom(3_000_000)}
    snapshot = add_revision(places.cache_dir, "org/m", "1", files, ref="main")
    share(snapshot.parent.parent / "blobs" / etag_of(files["pytorch_model.bin"], lfs=True), places.cache_dir)
    seen: list[tuple[str, int, int]] = []
    result = await verify(row_at(places, snapshot), lambda *report: seen.append(report))
    assert result == Verification(5, (), ())
    assert result.ok
    total = sum(len(content) for name, content in files.items() if name != "copy.json")
    assert seen[-1] == ("checking", total, total)
    overwrite((snapshot / "pytorch_model.bin").resolve(), 2_000_000, b"\0\0\0\0\0\0\0\0")
    result = await verify(row_at(places, snapshot), lambda *report: None)
    assert not result.ok
    assert [problem.split()[0] for problem in result.problems] == ["pytorch_model.bin"]


async def test_cancelling_kills_the_child(places: Places) -> None:
    snapshot = add_revision(places.cache_dir, "org/m", "1", {"config.json": CONFIG, "model.bin": bytes(64 << 20)})
    row = row_at(places, snapshot)
    started = asyncio.Event()
    work = asyncio.create_task(verify(row, lambda *report: started.set()))
    await asyncio.wait_for(started.wait(), 60)
    children = psutil.Process().children(recursive=True)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert psutil.wait_procs(children, timeout=30)[1] == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_one_flipped_bit_is_found(places: Places, name: str) -> None:
    snapshot = add_revision(places.cache_dir, "org/m", "1", FILES, ref="main")
    assert outcome(row_at(places, snapshot)).ok
    blob = (snapshot / name).resolve()
    overwrite(blob, len(FILES[name]) - 1, bytes([FILES[name][-1] ^ 1]))
    result = outcome(row_at(places, snapshot))
    assert result.problems == (f"{name} is damaged: its content does not have the checksum it was given.",)


def test_what_fetches_a_damaged_file_again_is_told(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is so: not of a file that a pull does not choose, nor in a folder of the person's."""
    monkeypatch.setenv("HF_HUB_CACHE", str(places.cache_dir))
    files = FILES | {"pytorch_model.bin": b"not needed"}
    newest = add_revision(places.cache_dir, "org/m", "2", files, ref="main")
    pull_request = add_revision(places.cache_dir, "org/m", "1", {"config.json": b"{} "} | files, ref="refs/pr/1")
    quant = add_revision(places.cache_dir, "org/q", "1", {"a.gguf": b"four"}, ref="main")
    quants = add_revision(places.cache_dir, "org/qs", "1", {"a.gguf": b"four", "b.gguf": b"eight"}, ref="v1")
    for snapshot in (newest, quant, quants):
        for path in snapshot.iterdir():
            overwrite(path.resolve(), 1, b"#")

    def told(path: Path) -> dict[str, str]:
        problems = [problem for problem in outcome(row_at(places, path)).problems if "damaged" in problem]
        return {problem.split()[0]: problem.partition(" given.")[2].strip() for problem in problems}

    again = "hugchat models pull org/m fetches it again."
    assert told(newest) == {**dict.fromkeys(FILES, again), "pytorch_model.bin": ""}
    assert set(told(pull_request).values()) == {"hugchat models pull org/m@refs/pr/1 fetches it again.", ""}
    assert told(quant) == {"a.gguf": "hugchat models pull org/q/a.gguf fetches it again."}
    assert told(quants / "b.gguf") == {"b.gguf": "hugchat models pull org/qs/b.gguf@v1 fetches it again."}
    monkeypatch.setenv("HF_HUB_CACHE", "/elsewhere")
    assert set(told(newest).values()) == {""}


def test_a_blob_that_is_gone_is_a_problem(places: Places) -> None:
    snapshot = add_revision(places.cache_dir, "org/m", "1", FILES, ref="main")
    row = row_at(places, snapshot)
    (snapshot / "model.safetensors").resolve().unlink()
    assert outcome(row).problems == ("model.safetensors is missing: the link to it leads nowhere.",)


def test_a_shard_that_was_never_fetched_is_a_problem(places: Places) -> None:
    index = json.dumps(
        {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    )
    files = {"config.json": CONFIG, "model.safetensors.index.json": index.encode()}
    files["model-00001-of-00002.safetensors"] = safetensors_bytes()
    snapshot = add_revision(places.cache_dir, "org/m", "1", files, ref="main")
    assert "1 of 2 weight files are missing" in " ".join(outcome(row_at(places, snapshot)).problems)


def test_files_that_were_copied_into_a_revision_have_no_checksum(places: Places) -> None:
    """Where links are not possible the client copies; a person may also have put a file there."""
    snapshot = add_revision(places.cache_dir, "org/m", "1", FILES, ref="main")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").write_bytes(FILES["model.safetensors"])
    result = outcome(row_at(places, snapshot))
    assert not result.ok
    assert result.checked_files == 2
    assert [each.file for each in result.unchecked] == ["model.safetensors"]
    assert "no checksum is known" in result.unchecked[0].why


def write_manifest(directory: Path) -> None:
    files = {
        path.relative_to(directory).as_posix(): {
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in directory.rglob("*")
        if path.is_file()
    }
    (directory / "manifest.json").write_text(json.dumps({"files": files}))


def test_the_manifest_of_a_run(places: Places) -> None:
    step = make_model(places.data_dir / "runs" / "mine" / "checkpoints" / "step-10")
    (step / "optimizer").mkdir()
    (step / "optimizer" / "rank0.bin").write_bytes(b"state")
    write_manifest(step)
    row = row_at(places, step)
    assert outcome(row) == Verification(4, (), ())
    assert outcome(row).ok
    overwrite(step / "model.safetensors", 300, b"\1")
    (step / "optimizer" / "rank0.bin").write_bytes(b"longer state")
    (step / "tokenizer.json").unlink()
    (step / "new.safetensors").write_bytes(safetensors_bytes())
    result = outcome(row)
    assert sorted(result.problems) == [
        "model.safetensors is damaged: its content does not have the checksum it was given.",
        "optimizer/rank0.bin is damaged: it has 12 bytes and should have 5.",
        "tokenizer.json is missing, and manifest.json names it.",
    ]
    assert [each.file for each in result.unchecked] == ["new.safetensors"]
    assert "does not name it" in result.unchecked[0].why


@pytest.mark.parametrize(
    "manifest",
    [
        {"files": {"model.safetensors": {"size": "many", "sha256": "0" * 64}}},
        {"files": {"model.safetensors": {"size": 1, "sha256": "short"}}},
        {"files": {"model.safetensors": 7}},
        {"files": {"../../../etc/passwd": {"size": 1, "sha256": "0" * 64}}},
    ],
)
def test_a_broken_or_hostile_manifest_is_a_problem(places: Places, manifest: object) -> None:
    step = make_model(places.data_dir / "runs" / "mine" / "final")
    (step / "manifest.json").write_text(json.dumps(manifest))
    assert outcome(row_at(places, step)).problems


def test_the_manifest_of_another_program_is_none(places: Places) -> None:
    model = make_model(places.folders[0] / "model")
    (model / "manifest.json").write_text('{"name": "an extension", "files": ["a"]}')
    result = outcome(row_at(places, model))
    assert result.problems == ()
    assert result.checked_files == 0


def test_a_plain_folder_is_looked_at_and_not_called_verified(places: Places) -> None:
    model = make_model(places.folders[0] / "model")
    (model / ".git").mkdir()
    (model / ".git" / "config").touch()
    result = outcome(row_at(places, model))
    assert not result.ok
    assert result.problems == ()
    assert result.checked_files == 0
    why = {each.file: each.why for each in result.unchecked}
    assert why == {
        "config.json": "no checksum is known",
        "model.safetensors": "no checksum is known; it has the length its header says",
        "tokenizer.json": "no checksum is known",
    }
    os.truncate(model / "model.safetensors", (model / "model.safetensors").stat().st_size - 1)
    assert "not whole" in outcome(row_at(places, model)).problems[0]


def test_a_gguf_file_in_a_folder(places: Places) -> None:
    gguf = make_gguf(places.folders[0] / "a.gguf")
    make_gguf(places.folders[0] / "b.gguf")
    result = outcome(row_at(places, gguf))
    assert [each.file for each in result.unchecked] == ["a.gguf"]
    assert result.problems == ()
    os.truncate(gguf, gguf.stat().st_size - 1)
    assert "not whole" in outcome(row_at(places, gguf)).problems[0]


def test_a_folder_of_links_into_the_cache_has_the_cache_s_checksums(places: Places) -> None:
    snapshot = add_revision(places.cache_dir, "org/m", "1", FILES, ref="main")
    model = places.folders[0] / "model"
    model.mkdir()
    for name in FILES:
        (model / name).symlink_to(snapshot / name)
    assert outcome(row_at(places, model)) == Verification(3, (), ())


def test_the_rest_of_a_repository(places: Places) -> None:
    snapshot = add_revision(places.cache_dir, "org/m", "1", FILES, ref="main")
    repository = snapshot.parent.parent
    (repository / "blobs" / "abc.hugchat.incomplete").write_bytes(b"half")
    result = outcome(row_at(places, repository))
    assert result.checked_files == 3
    assert [(each.file, each.why) for each in result.unchecked] == [
        ("abc.hugchat.incomplete", "a download that is not finished")
    ]


def test_what_went_away_or_is_no_file_is_a_problem(places: Places) -> None:
    model = make_model(places.folders[0] / "model")
    row = row_at(places, model)
    os.mkfifo(model / "pipe.safetensors")
    (model / "loop").symlink_to(model / "loop")
    problems = outcome(row).problems
    assert any("pipe.safetensors is not a regular file" in problem for problem in problems)
    assert any("loop" in problem for problem in problems)
    model.rename(places.data_dir / "away")
    assert outcome(row).problems


def test_the_starter(starter: Path) -> None:
    """Its weights come out the same on every machine."""
    places = Places(starter.parent / "no cache", starter.parent.parent)
    result = outcome(row_at(places, starter))
    assert result.checked_files == 1
    assert result.ok, result
