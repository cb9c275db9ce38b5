"""Deleting with a preview and a way back, and long jobs, driven by real keys over real folders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from engine.checkpoints.library.rows import Inventory, Places, Row
from engine.checkpoints.library.scan import scan
from tests.chat.driving import Home
from tests.checkpoints.builders import make_adapter, make_model, safetensors_bytes
from tests.checkpoints.library.repositories import add_revision, du
from tests.library.driving import Library, cache_of, library


def files(weights: int, **more: bytes) -> dict[str, bytes]:
    return {
        "config.json": b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}',
        "tokenizer.json": b"{}",
        "model.safetensors": safetensors_bytes({"a": (weights,)}),
        **more,
    }


async def asked(it: Library, *words: str) -> None:
    """Wait for the question that holds the words."""
    await it.until(lambda: all(word in it.question() for word in words) and it.question(), "the question")


async def test_deleting_says_what_it_frees_and_what_stays_and_frees_exactly_that(home: Home) -> None:
    cache = cache_of(home)
    add_revision(cache, "org/both", "old", files(50_000, shared=b"x" * 40_000))
    add_revision(cache, "org/both", "new", files(60_000, shared=b"x" * 40_000), ref="main")
    async with library(home) as it:
        await it.to("org/both")
        before = du(cache)
        await it.press("d")
        await asked(it, "Delete org/both?", "stay, because something else needs these files too")
        promised = int(it.question().partition(" bytes.")[0].rpartition(" ")[2].replace(",", ""))
        await it.press("escape")
        assert "org/both" in it.names() and du(cache) == before
        await it.press("d")
        await asked(it, "Delete org/both?")
        await it.press("d")
        await it.until(lambda: not any(row.refs for row in it.service.rows), "it to go")
        await it.service.empty_trash()
        assert before - du(cache) == promised
    assert (cache / "models--org--both" / "blobs").is_dir(), "the older revision's files are there"


async def test_a_look_that_began_before_does_not_bring_back_what_was_deleted(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(home.models / "gamma")
    seen, shown = asyncio.Event(), asyncio.Event()

    async def slow_scan(places: Places, on_rows: Callable[[Sequence[Row]], None]) -> Inventory:
        found = await scan(places, lambda _: None)
        seen.set()
        await shown.wait()
        on_rows(found.rows)
        return found

    async with library(home) as it:
        monkeypatch.setattr("engine.checkpoints.library.scan.scan", slow_scan)
        it.service.rescan()
        await seen.wait()
        await it.to("gamma")
        await it.press("d", "d")
        await it.until(lambda: "gamma" not in it.names(), "it to go")
        listed: list[bool] = []
        it.service.listen(lambda _: listed.append(any(row.name == "gamma" for row in it.service.rows)))
        shown.set()
        await it.scanned()
        assert listed and not any(listed)


async def test_undo_brings_back_what_was_deleted_last_until_the_app_closes(home: Home) -> None:
    for name in ("gamma", "delta"):
        make_model(home.models / name)
    async with library(home) as it:
        for name in ("gamma", "delta"):
            await it.to(name)
            await it.press("d", "d")
            await it.until(lambda: name not in it.names(), "it to go")  # noqa: B023 - awaited here
        assert not (home.models / "gamma").exists()
        await it.press("u")
        await it.until(lambda: "delta" in it.names(), "the last one")
        assert "gamma" not in it.names() and (home.models / "delta" / "model.safetensors").is_file()
        assert "1 checkpoint came back." in it.notices()
    left = {path.name for path in home.models.iterdir()}
    assert left == {"alpha", "beta", "delta"}, "the trash went with the app"


async def test_marked_rows_are_deleted_together_after_one_question(home: Home) -> None:
    make_model(home.models / "gamma")
    async with library(home) as it:
        await it.to("beta")
        await it.press("space", "space")
        assert "2 rows marked" in it.text()
        await it.press("d")
        await asked(it, "Delete 2 checkpoints?", "beta", "gamma")
        await it.press("d")
        await it.until(lambda: it.names() == ["alpha"], "both to go")
        assert "rows marked" not in it.text()


async def test_escape_unmarks_before_it_leaves(home: Home) -> None:
    """What was marked before a visit to the chat was deleted after it."""
    async with library(home) as it:
        await it.press("space", "space")
        assert "2 rows marked" in it.text() and "esc Unmark" in it.text()
        await it.press("escape")
        assert it.in_library and not it.table.marked and "rows marked" not in it.text()
        await it.press("escape")
        assert it.in_chat


async def test_the_question_names_the_adapter_that_breaks_and_what_is_loaded_now(home: Home) -> None:
    add_revision(cache_of(home), "org/base", "1", files(1000), ref="main")
    make_adapter(home.models / "tuned", "org/base")
    async with library(home, loaded=True) as it:
        await it.to("org/base")
        await it.press("d")
        await asked(it, "Breaks tuned: an adapter, which cannot be loaded without it")
        await it.press("escape")
        await it.to("alpha")
        await it.press("d")
        await asked(it, "alpha is loaded now.")


async def test_what_must_not_be_deleted_stays_and_says_why(home: Home) -> None:
    (cache_of(home) / "what-is-this").mkdir(parents=True)
    (cache_of(home) / "what-is-this" / "file").write_bytes(b"x" * 5000)
    async with library(home) as it:
        row = next(row for row in it.service.rows if "what-is-this" in row.key)
        await it.to(row.name)
        await it.press("d")
        await asked(it, "Nothing can be deleted", "Stays: ")
        assert "OK" in it.text() and "Leave" not in it.text(), "there is nothing to decide"
        await it.press("escape")
        assert (cache_of(home) / "what-is-this" / "file").is_file()


async def test_verifying_tells_a_flipped_byte_where_the_person_is(home: Home) -> None:
    snapshot = add_revision(cache_of(home), "org/whole", "1", files(5000), ref="main")
    async with library(home) as it:
        await it.to("org/whole")
        await it.press("v")
        assert (await it.worked("Verifying")).state == "done"
        await it.until(lambda: "Everything is right: 3 files compared with a checksum." in it.details(), "the result")
        blob = (snapshot / "model.safetensors").resolve()
        blob.write_bytes(blob.read_bytes()[:-1] + b"\x01")
        await it.press("v")
        assert (await it.worked("Verifying")).state == "failed"
        await it.until(lambda: "Something is wrong" in it.details(), "the result")
        why = "Verifying org/whole: Something is wrong: model.safetensors is damaged: its content does not have"
        [notice] = [each for each in it.app._notifications if each.message.startswith(why)]
        assert "Delete it (d) and fetch it again" in notice.message and notice.severity == "error"
        await it.press("3")
        assert "\u21b5" not in it.text()


async def test_export_writes_a_plain_folder_and_says_where(home: Home, tmp_path: Path) -> None:
    add_revision(cache_of(home), "org/whole", "1", files(5000), ref="main")
    async with library(home) as it:
        await it.to("org/whole")
        await it.press("x")
        await it.until(lambda: "Export as a folder" in it.text())
        await it.press("ctrl+u", *str(tmp_path), "enter")
        await it.until(lambda: "There is something at" in it.problem(), "the refusal, where it can be corrected")
        await it.press(*"/out", "enter")
        assert (await it.worked("Exporting")).state == "done"
        assert (tmp_path / "out" / "model.safetensors").read_bytes() == files(5000)["model.safetensors"]
        assert not (tmp_path / "out" / "model.safetensors").is_symlink()
        await it.press("3")
        assert "Exporting org/whole" in it.text()
        await it.press("x")
        await it.until(lambda: "Nothing is being downloaded." not in it.text() or not it.service.statuses())
        assert [work.verb for work in it.service.jobs.every] == [], "it is off the list"


async def test_jobs_that_make_no_sense_are_refused_in_words(home: Home) -> None:
    make_adapter(home.models / "lost", "nobody/there")
    async with library(home) as it:
        await it.to("beta")
        await it.press("m")
        await it.until(lambda: "beta is not an adapter; only adapters are merged." in it.notices())
        await it.press("t")
        await it.until(lambda: "Convert to safetensors" in it.text())
        await it.press("enter")
        work = await it.worked("Converting")
        assert work.state == "failed" and "is in safetensors already" in work.message
        await it.to("lost")
        await it.press("enter")
        await it.until(lambda: any("nobody/there" in notice for notice in it.notices()), "why it cannot be loaded")
        assert it.in_library


async def test_a_job_that_runs_is_shown_with_its_progress_and_stopped_by_x(home: Home) -> None:
    snapshot = add_revision(cache_of(home), "org/large", "1", files(5000), ref="main")
    (snapshot / "model.safetensors").resolve().unlink()
    with (snapshot / "model.safetensors").resolve().open("ab") as file:
        file.truncate(40_000_000_000)  # holes: it takes no space, and a minute to read
    async with library(home) as it:
        await it.to("org/large")
        await it.press("v")
        await it.until(lambda: "of 40 GB" in it.details(), "the progress")
        await it.press("3")
        assert "Verifying org/large" in it.text() and "checking" in it.text()
        await it.press("x")
        work = await it.worked("Verifying")
        assert (work.state, work.message) == ("stopped", "It was stopped; nothing of it is left.")
