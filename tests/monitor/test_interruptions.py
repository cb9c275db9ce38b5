"""What is done to runs while keys are pressed, programs are killed, files cannot be read for a moment, clocks jump."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hugchat_tui.monitor import service as service_module
from hugchat_tui.monitor import upkeep
from hugchat_tui.monitor.rows import Reading, RunReader
from hugchat_tui.monitor.service import MonitorService
from hugchat_tui.monitor.upkeep import branch, delete, remove_leftovers
from hugchat_tui.services import Services
from hugchat_tui.settings.schema import Settings
from sft.errors import SftError
from sft.runs import RunDirectory, list_runs
from tests.chat.driving import Home, chat
from tests.monitor.driving import Monitor, Written, monitor
from tests.monitor.records import lines, record
from tests.monitor.test_service import Notices, started, until


def stopped(data: Path, name: str, *, output: Path | None = None) -> Written:
    return Written(data, name, output=output).launched().steps(1, 5).ended("stopped", 5)


class Held:
    """A function that waits in its thread until it may go on."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()
        self._function = function

    def __call__(self, *args: Any) -> Any:
        self.entered.set()
        assert self.go_on.wait(60)
        return self._function(*args)


# Keys


async def test_the_next_key_does_not_end_a_deletion_unheard(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(home.data, "one")
    held = Held(delete)
    monkeypatch.setattr(upkeep, "delete", held)
    async with monitor(home) as it:
        await it.press("d")
        await it.until(it.question)
        await it.press("d")
        await it.until(held.entered.is_set)
        await it.press("x", "n")
        held.go_on.set()
        await it.until(lambda: any("Deleted one" in notice for notice in it.notices()), "its end to be told")


async def test_the_next_key_does_not_end_a_branch_and_its_failure_is_told(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(home.data, "one").checkpoint(5)

    def fail(*args: object) -> RunDirectory:
        raise SftError("The disk is full.")

    held = Held(fail)
    monkeypatch.setattr(upkeep, "branch", held)
    async with monitor(home) as it:
        await it.press("b")
        await it.until(lambda: "Another run goes on from there" in it.question())
        await it.press("1")
        await it.until(held.entered.is_set)
        await it.press("x", "n")
        held.go_on.set()
        await it.until(lambda: any("The disk is full." in notice for notice in it.notices()), "the failure to be told")


# Kills


def test_a_branch_is_listed_when_its_checkpoint_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Written(tmp_path, "trunk")
    written.checkpoint(30)
    (row,) = RunReader(tmp_path).read().rows
    assert row.recipe is not None

    def listed(*args: object) -> None:
        assert [run.name for run in list_runs(tmp_path)] == ["trunk"]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(upkeep, "flush_tree", listed)
        with pytest.raises(KeyboardInterrupt):
            branch(written.run, row.recipe, 30, tmp_path)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["trunk"]
    made = branch(written.run, row.recipe, 30, tmp_path)
    assert (made.checkpoints / "step-30" / "adapter_model.safetensors").is_file()


def test_what_a_killed_branch_left_is_removed_when_nobody_makes_it_any_more(tmp_path: Path) -> None:
    old, new = (tmp_path / "runs" / f".new-branch-{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (1.0, 1.0))
    remove_leftovers(tmp_path)
    assert not old.exists() and new.exists()


def test_a_run_that_cannot_be_renamed_stays_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = stopped(tmp_path / "data", "far", output=tmp_path / "elsewhere")

    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="Read-only"):
            delete(written.run, tmp_path / "data")
    assert [run.name for run in list_runs(tmp_path / "data")] == ["far"]


@pytest.mark.parametrize("killed_at", ["_remove_tree", "Path.rename"])
def test_a_deletion_elsewhere_that_was_killed_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    """At the removal, and between the renaming of the run and that of the link to it."""
    data, rename = tmp_path / "data", Path.rename
    written, other = stopped(data, "far", output=tmp_path / "far"), stopped(data, "far-2", output=tmp_path / "far-2")

    def kill(path: Path, *args: Path) -> Path:
        if killed_at == "Path.rename" and not path.is_symlink():
            return rename(path, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"hugchat_tui.monitor.upkeep.{killed_at}", kill)
        with pytest.raises(KeyboardInterrupt):
            delete(written.run, data)
    assert [run.name for run in list_runs(data)] == ["far-2"]
    remove_leftovers(data)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "far-2"}
    assert [path.name for path in (data / "runs").iterdir()] == ["far-2"] and other.run.events.exists()


def test_a_link_to_a_place_that_is_not_mounted_stays(tmp_path: Path) -> None:
    written = stopped(tmp_path / "data", "far", output=tmp_path / "mounted" / "far")
    (tmp_path / "mounted").rename(tmp_path / "unmounted")
    remove_leftovers(tmp_path / "data")
    (tmp_path / "unmounted").rename(tmp_path / "mounted")
    assert [run.path for run in list_runs(tmp_path / "data")] == [written.run.path]


def test_two_programs_may_remove_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, rmtree = stopped(tmp_path, "one"), shutil.rmtree
    raced: list[Path] = []

    def race(path: Path) -> None:
        if not raced:
            raced.append(path)
            rmtree(path)
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", race)
    delete(written.run, tmp_path)
    assert list((tmp_path / "runs").iterdir()) == [] and raced


# Reading


def test_what_could_not_be_read_for_a_moment_is_not_said_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written(tmp_path, "one").launched().steps(1, 5)
    reader = RunReader(tmp_path)

    def fail(run: RunDirectory) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("hugchat_tui.monitor.rows.read_status", fail)
        assert "Input/output error" in reader.read().rows[0].problem
    (row,) = reader.read().rows
    assert row.problem == "" and row.recipe is not None
    recipe = written.run.recipe.read_bytes()
    written.ended("done")
    written.run.recipe.write_text("model = [")
    assert reader.read().rows[0].problem and reader.read().rows[0].problem
    written.run.recipe.write_bytes(recipe)
    assert reader.read().rows[0].problem == ""


async def test_a_run_that_appears_is_told_of_by_its_events_and_not_by_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alerts whose time is long before the start are news after the clock was set back."""
    async with started(tmp_path, monkeypatch) as (service, notices):
        run = Written(tmp_path, "put-here").run
        run.events.write_bytes(lines([record("alert", time=5.0, words="long ago")]))
        await service.refresh()
        assert notices.said == []
        with run.events.open("ab") as file:
            file.write(lines([record("alert", time=6.0, words="now")]))
        await service.refresh()
        assert notices.said == [("warning", "put-here: now")]


async def test_what_a_new_run_told_before_it_was_first_seen_is_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(tmp_path, monkeypatch) as (service, notices):
        Written(tmp_path, "fails").launched().ended("failed", 0, "No such model.")
        await service.refresh()
        assert [words for _, words in notices.said] == ["fails failed. No such model."]


async def test_a_first_look_that_fails_is_said_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUGCHAT_DATA_DIR", str(tmp_path))
    Written(tmp_path, "one").launched().steps(1, 5)
    notices = Notices()
    service = MonitorService(Services(Settings(), lambda text: None), notices)

    def fail(reader: RunReader) -> Reading:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(RunReader, "read", fail)
        service.start()
        await until(lambda: service.problem)
        await service.refresh()
        assert not service.ready and len(notices.said) == 1 and "Input/output error" in notices.said[0][1]
    service.look()
    await until(lambda: service.ready)
    assert [row.name for row in service.rows] == ["one"] and not service.problem
    await service.close()


async def test_the_monitor_is_shown_and_left_while_a_place_does_not_answer(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    Written(home.data, "one").launched().steps(1, 5)
    held = Held(RunReader.read)

    def read(reader: RunReader) -> Any:
        return held(reader)

    monkeypatch.setattr(RunReader, "read", read)
    monkeypatch.setattr(service_module, "_CLOSE_S", 0.0)
    async with chat(home, loaded=False) as it:
        at = Monitor(it.home, it.app, it.pilot)
        await at.until(held.entered.is_set)
        await at.until(lambda: it.app._monitor_screen is not None)
        await at.press("f9")
        assert at.in_monitor
        await at.press("f9")
        assert at.in_chat
        await asyncio.wait_for(at.runs.close(), 60)
        held.go_on.set()
