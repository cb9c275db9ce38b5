"""The runs as they are listed, from their directories alone."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hugchat_tui.monitor.rows import RunReader
from hugchat_tui.monitor.run_columns import RUN_COLUMNS, in_order, matches
from hugchat_tui.monitor.run_notes import load_notes, set_archived, set_going, set_note, set_tag
from hugchat_tui.monitor.run_totals import RunTotals
from hugchat_tui.monitor.service import MonitorService
from hugchat_tui.monitor.upkeep import branch, delete, newest_reference, remove_leftovers
from hugchat_tui.services import Services
from hugchat_tui.settings.schema import Settings
from sft.errors import SftError
from sft.events import EventWriter
from sft.runs import RunDirectory, list_runs
from tests.monitor.driving import Written


class Notices:
    """What the person is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.alarms = 0

    def __call__(self, text: str, severity: str = "information") -> None:
        self.said.append((severity, text))

    def ring(self) -> None:
        self.alarms += 1


@asynccontextmanager
async def started(data: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[MonitorService, Notices]]:
    monkeypatch.setenv("HUGCHAT_DATA_DIR", str(data))
    notices = Notices()
    service = MonitorService(Services(Settings(), lambda text: None), notices, notices.ring)
    service.start()
    try:
        await until(lambda: service.ready)
        yield service, notices
    finally:
        await service.close()


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def test_a_row_says_what_the_directory_says(tmp_path: Path) -> None:
    written = Written(tmp_path, "trial").launched().steps(1, 40).evaluated(20, 3.5).evaluated(40, 3.25)
    written.checkpoint(40)
    written.ended("stopped", 40)
    (row,) = RunReader(tmp_path).read().rows
    assert (row.name, row.status.state, row.status.step, row.status.total_steps) == ("trial", "stopped", 40, 100)
    assert (row.base, row.data, row.method, row.best) == ("starter", "rows.jsonl", "LoRA 4", (40, 3.25))
    assert row.size_bytes > 10_000 and row.worked_s >= 0 and not row.problem


def test_the_best_evaluation_is_found_however_long_ago_it_was(tmp_path: Path) -> None:
    """The status looks at the last events only."""
    written = Written(tmp_path, "long").launched().evaluated(5, 1.5).evaluated(6, float("nan")).steps(6, 2_000)
    written.evaluated(2_000, 2.5)
    (row,) = RunReader(tmp_path).read().rows
    assert row.best == (5, 1.5) and row.status.eval_loss == 2.5


def test_only_what_was_appended_is_read_again(tmp_path: Path) -> None:
    written = Written(tmp_path, "grows").launched().steps(1, 10)
    totals = RunTotals(written.run.events)
    assert totals.read(4) == [] and totals.whole
    with written.run.events.open("ab") as torn:
        torn.write(b'{"type": "eval", "time": 1, "step": 3, "lo')
    assert totals.read(4) == [] and totals.best is None
    written.events = EventWriter(written.run.events)  # of the start after the kill
    written.evaluated(10, 2.0)
    written.events.write("alert", kind="plateau", words="flat", step=10)
    told = totals.read(4)
    assert totals.best == (10, 2.0) and [record["type"] for record in told] == ["alert"]


def test_time_while_nobody_trained_does_not_count(tmp_path: Path) -> None:
    def line(kind: str, at: float, **fields: Any) -> str:
        return json.dumps({"type": kind, "time": at, **fields}) + "\n"

    events = tmp_path / "events.jsonl"
    first = line("phase", 100.0, name="starting") + line("step", 160.0, step=1)
    second = line("phase", 9000.0, name="starting") + line("step", 9030.0, step=2) + line("end", 9040.0, how="done")
    events.write_text(first + second)
    totals = RunTotals(events)
    totals.read(1)
    assert totals.worked_s == 60 + 40 and totals.begun_at == 100


def test_events_that_begin_anew_are_read_anew(tmp_path: Path) -> None:
    written = Written(tmp_path, "again").launched().steps(1, 50).evaluated(50, 1.0)
    totals = RunTotals(written.run.events)
    totals.read(4)
    written.run.events.write_text(json.dumps({"type": "eval", "time": 5.0, "step": 1, "loss": 2.0}) + "\n")
    totals.read(4)
    assert totals.best == (1, 2.0) and totals.begun_at == 5.0


def test_a_recipe_that_cannot_be_read_is_said_and_the_run_listed(tmp_path: Path) -> None:
    written = Written(tmp_path, "odd").launched().steps(1, 3)
    written.run.recipe.write_text("model = [\n")
    (row,) = RunReader(tmp_path).read().rows
    assert row.recipe is None and "TOML" in row.problem and row.status.step == 3


def test_a_run_that_lies_elsewhere_is_listed_until_its_folder_is_gone(tmp_path: Path) -> None:
    written = Written(tmp_path / "data", "far", output=tmp_path / "mounted" / "far")
    reader = RunReader(tmp_path / "data")
    assert [row.name for row in reader.read().rows] == ["far"]
    shutil.rmtree(written.run.path)
    assert reader.read().rows == []


def test_no_files_are_read_again_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Written(tmp_path, "still").launched().steps(1, 3).ended("done", 3)
    reader = RunReader(tmp_path)
    before = reader.read().rows
    monkeypatch.setattr("hugchat_tui.monitor.rows.read_status", lambda run: pytest.fail("read again"))
    assert reader.read().rows == before


# What the person says of runs


def test_tags_notes_and_archived_are_kept(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    set_tag(tmp_path, run, " good ")
    set_note(tmp_path, run, "too long a prompt\n")
    set_archived(tmp_path, run, True)
    set_going(tmp_path, [str(run)])
    said = load_notes(tmp_path).of(run)
    assert (said.tag, said.note, said.archived) == ("good", "too long a prompt", True)
    set_tag(tmp_path, run, "")
    assert load_notes(tmp_path).of(run).tag == "" and load_notes(tmp_path).going == (str(run),)
    with pytest.raises(SftError, match="one word"):
        set_tag(tmp_path, run, "two words")


def test_a_damaged_file_of_notes_is_put_aside_and_a_newer_one_left(tmp_path: Path) -> None:
    (tmp_path / "runs.json").write_text("{")
    set_tag(tmp_path, tmp_path / "one", "x")
    assert (tmp_path / "runs.json.damaged").read_text() == "{"
    (tmp_path / "runs.json").write_text('{"version": 99}')
    with pytest.raises(OSError, match="newer"):
        set_tag(tmp_path, tmp_path / "one", "y")
    assert load_notes(tmp_path).runs == {}


def test_the_filter_looks_at_everything_or_at_one_thing(tmp_path: Path) -> None:
    Written(tmp_path, "alpha", base="gpt2").launched().ended("failed")
    Written(tmp_path, "beta")
    set_tag(tmp_path, tmp_path / "runs" / "beta", "gpt2")
    rows = {row.name: row for row in RunReader(tmp_path).read().rows}
    assert all(matches(row, "GPT2 rows") for row in rows.values())
    assert [name for name, row in rows.items() if matches(row, "base:gpt2")] == ["alpha"]
    assert [name for name, row in rows.items() if matches(row, "tag:gpt2")] == ["beta"]
    assert [name for name, row in rows.items() if matches(row, "state:failed lora")] == ["alpha"]


def test_what_is_unknown_stands_last_in_every_order(tmp_path: Path) -> None:
    Written(tmp_path, "none").launched()
    Written(tmp_path, "low").launched().evaluated(1, 1.0)
    Written(tmp_path, "high").launched().evaluated(1, 2.0)
    rows = RunReader(tmp_path).read().rows
    best = next(column for column in RUN_COLUMNS if column.id == "best")
    assert [row.name for row in in_order(rows, best, reverse=False)] == ["low", "high", "none"]
    assert [row.name for row in in_order(rows, best, reverse=True)] == ["high", "low", "none"]


# What is done to run directories


def test_what_to_chat_with(tmp_path: Path) -> None:
    written = Written(tmp_path, "talk").launched().steps(1, 20)
    with pytest.raises(SftError, match="no whole checkpoint"):
        newest_reference(written.run, going=True)
    written.checkpoint(10)
    torn = written.checkpoint(20)
    (torn / "adapter_model.safetensors").write_bytes(b"w")
    assert newest_reference(written.run, going=True) == "runs/talk/step-10"
    written.run.final.mkdir()
    assert newest_reference(written.run, going=True) == "runs/talk/step-10", "an earlier end's result is older"
    assert newest_reference(written.run, going=False) == "runs/talk"


def test_a_branch_begins_with_the_step_and_leaves_the_run_alone(tmp_path: Path) -> None:
    written = Written(tmp_path, "trunk")
    written.checkpoint(30)
    (row,) = RunReader(tmp_path).read().rows
    assert row.recipe is not None
    names = [branch(written.run, row.recipe, 30, tmp_path).name for _ in range(2)]
    assert names == ["trunk-from-30", "trunk-from-30-2"]
    made = RunDirectory.at(tmp_path / "runs" / names[0])
    weights = "checkpoints/step-30/adapter_model.safetensors"
    assert (made.path / weights).samefile(written.run.path / weights), "linked, not copied"
    assert newest_reference(made, going=True) == "runs/trunk-from-30/step-30"
    (written.run.path / weights).write_bytes(b"torn")
    with pytest.raises(SftError, match="cannot be used"):
        branch(written.run, row.recipe, 30, tmp_path)
    assert len(list_runs(tmp_path)) == 3


def test_a_going_run_is_not_deleted_and_a_link_goes_with_its_run(tmp_path: Path) -> None:
    data = tmp_path / "data"
    written = Written(data, "far", output=tmp_path / "elsewhere").launched()
    with pytest.raises(SftError, match="going"):
        delete(written.run, data)
    written.launched_no_more()
    set_tag(data, written.run.path, "x")
    delete(written.run, data)
    assert not written.run.path.exists() and not os.path.lexists(data / "runs" / "far")
    assert list(tmp_path.iterdir()) == [data] and load_notes(data).runs == {}


def test_a_deletion_that_was_killed_is_finished_at_the_next_start(tmp_path: Path) -> None:
    left = tmp_path / "runs" / ".removed-old-1"
    left.mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert not left.exists()


# The service


async def test_ends_alerts_and_crashes_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, crashes = Written(tmp_path, "done").launched().steps(1, 5), Written(tmp_path, "gone").launched().steps(1, 7)
    Written(tmp_path, "old").launched().steps(1, 3).ended("failed", 3, "long ago")
    async with started(tmp_path, monkeypatch) as (service, notices):
        assert notices.said == [], "what was over before is old news"
        done.events.write("alert", kind="plateau", words="It is flat.", step=5)
        done.ended("done", 100)
        crashes.launched_no_more()
        await service.refresh()
        await service.refresh()
        assert notices.said == [
            ("warning", "done: It is flat."),
            ("information", "done is done at step 100. f9, then c chats with it."),
            ("error", "gone ended without a word, at step 7. f9, then r resumes it."),
        ]
        assert notices.alarms == 3


async def test_runs_that_went_when_the_app_quit_are_told_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    went, stays = Written(tmp_path, "went").launched().steps(1, 5), Written(tmp_path, "stays").launched()
    Written(tmp_path, "old").launched().ended("failed")
    async with started(tmp_path, monkeypatch):
        pass
    went.ended("failed", 5, "The disk is full.")
    async with started(tmp_path, monkeypatch) as (_, notices):
        assert notices.said == [("error", "went failed while the app was closed. f9, then r resumes it.")]
    async with started(tmp_path, monkeypatch) as (_, notices):
        assert notices.said == []
    assert load_notes(tmp_path).going == (str(stays.run.path),)


async def test_a_directory_that_goes_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Written(tmp_path, "going").launched()
    async with started(tmp_path, monkeypatch) as (service, notices):
        shutil.rmtree(written.run.path)
        await service.refresh()
        assert service.rows == [] and "deleted or unmounted" in notices.said[0][1]


async def test_a_command_is_shown_until_it_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Written(tmp_path, "asked").launched().steps(1, 5)
    async with started(tmp_path, monkeypatch) as (service, notices):
        (row,) = service.rows
        await service.send(row, "save", "save")
        assert [each.answer for each in service.asked.of(row.run)] == [""]
        written.answer("a checkpoint is written after this step")
        await until(lambda: service.asked.of(row.run)[0].answer)
        assert service.asked.of(row.run)[0].answer == "a checkpoint is written after this step"
        assert notices.said == []


async def test_a_run_that_ends_first_never_answers_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written(tmp_path, "ends").launched().steps(1, 5)
    async with started(tmp_path, monkeypatch) as (service, notices):
        await service.send(service.rows[0], "save", "save")
        written.ended("done")
        await until(lambda: not service.asked.every)
        assert ("warning", "ends ended before it answered: save.") in notices.said


async def test_a_pause_that_is_not_answered_yet_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """p twice in a row asked for two pauses."""
    Written(tmp_path, "slow").launched().steps(1, 5)
    async with started(tmp_path, monkeypatch) as (service, _):
        (row,) = service.rows
        assert not service.asked.will_be_paused(row)
        await service.send(row, "pause", "pause")
        assert service.asked.will_be_paused(row)


async def test_runs_that_are_not_shown_any_more_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Written(tmp_path, "one").steps(1, 4), Written(tmp_path, "two").steps(1, 2)
    async with started(tmp_path, monkeypatch) as (service, _):
        service.follow([one.run, two.run])
        first = service.follower(one.run)
        assert first is not None
        await until(lambda: first.loaded)
        assert first.history.step is not None and first.history.step["step"] == 4
        service.follow([one.run])
        assert service.follower(one.run) is first and service.follower(two.run) is None


async def test_a_read_only_place_is_told_and_nothing_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Written(tmp_path, "mounted").launched().steps(1, 5)

    def refuse(*args: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("hugchat_tui.monitor.run_notes.write_atomically", refuse)
    async with started(tmp_path, monkeypatch) as (service, notices):
        assert [row.status.step for row in service.rows] == [5]
        await service.refresh()
        assert [severity for severity, _ in notices.said] == ["warning"], "told once"
