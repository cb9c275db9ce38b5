"""Following a run's events on the disk: what is there, what comes, and what can happen to the files."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hugchat_tui.monitor import follower, reading
from hugchat_tui.monitor.follower import RunFollower
from sft.events import EventWriter
from sft.runs import RunDirectory
from tests.monitor.records import evaluation, lines, record, step


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "run").mkdir()
    return RunDirectory.at(tmp_path / "run")


class Following:
    """A started follower, and a way to wait for what it tells."""

    def __init__(self, run: RunDirectory) -> None:
        self.told = 0
        self.on_first: Callable[[], object] = lambda: None
        self._told = asyncio.Event()
        self.follower = RunFollower(run, self._on_change)

    def _on_change(self) -> None:
        if not self.told:
            self.on_first()
        self.told += 1
        self._told.set()

    async def until(self, condition: Callable[[RunFollower], bool]) -> None:
        while not condition(self.follower):
            self._told.clear()
            await self._told.wait()

    @property
    def losses(self) -> list[float]:
        return [float(value) for value in self.follower.history.curves["loss"].points.mean]


@asynccontextmanager
async def following(run: RunDirectory) -> AsyncIterator[Following]:
    found = Following(run)
    found.follower.start()
    try:
        yield found
    finally:
        await found.follower.close()


def loaded(follower: RunFollower) -> bool:
    return follower.loaded


async def test_what_is_there_is_read_and_what_comes_is_told(run: RunDirectory) -> None:
    run.events.write_bytes(lines([record("run", total_steps=5), step(1), evaluation(1, 2.5), step(2)]))
    async with following(run) as found:
        await found.until(loaded)
        assert found.losses == [2.0, 2.0]
        assert found.follower.history.best == (1, 2.5)
        with EventWriter(run.events) as writer:
            writer.write("step", step=3, loss=1.5)
        await found.until(lambda follower: len(follower.history.curves["loss"]) == 3)
        assert found.losses == [2.0, 2.0, 1.5]


async def test_a_run_that_has_told_nothing_yet_is_loaded_and_empty(run: RunDirectory) -> None:
    async with following(run) as found:
        await found.until(loaded)
        assert (found.losses, found.follower.problem) == ([], "")
        run.events.write_bytes(lines([step(1)]))
        await found.until(lambda follower: len(follower.history.curves["loss"]) == 1)


async def test_a_line_is_taken_when_its_end_is_there(run: RunDirectory) -> None:
    whole = lines([step(1), step(2)])
    run.events.write_bytes(whole[:-20])
    async with following(run) as found:
        await found.until(loaded)
        assert found.losses == [2.0]
        run.events.write_bytes(whole)
        await found.until(lambda follower: len(follower.history.curves["loss"]) == 2)
        assert found.follower.history.torn == 0


async def test_events_longer_than_many_chunks_are_all_read(run: RunDirectory) -> None:
    records = [
        each for number in range(1, 30_001) for each in (step(number), evaluation(number, 3.0))[: 1 + (number % 9 == 0)]
    ]
    run.events.write_bytes(lines(records))
    async with following(run) as found:
        await found.until(loaded)
        points = found.follower.history.curves["loss"].points
        assert points.step.tolist() == list(range(1, 30_001))
        assert found.follower.history.torn == 0


async def test_a_line_as_long_as_a_book_is_passed_over(run: RunDirectory) -> None:
    book = record("sample", step=1, index=0, prompt="Why?", answer="so " * 1_000_000)
    run.events.write_bytes(lines([step(1), book, step(2)]))
    async with following(run) as found:
        await found.until(loaded)
        assert found.losses == [2.0, 2.0]
        assert found.follower.history.torn == 1


async def test_a_long_answer_is_taken(run: RunDirectory) -> None:
    answer = "so " * 250_000
    run.events.write_bytes(lines([step(1), record("sample", step=1, index=0, prompt="Why?", answer=answer), step(2)]))
    async with following(run) as found:
        await found.until(loaded)
        assert found.follower.history.samples[0][0].answer == answer
        assert (len(found.losses), found.follower.history.torn) == (2, 0)


# What can happen to the files


async def test_events_that_became_shorter_are_begun_anew(run: RunDirectory) -> None:
    run.events.write_bytes(lines([step(1), step(2), step(3), record("alert", kind="slow", words="!")]))
    async with following(run) as found:
        await found.until(loaded)
        assert len(found.follower.history.alerts) == 1
        os.truncate(run.events, 0)
        run.events.write_bytes(lines([step(1, loss=9.0)]))
        await found.until(lambda follower: len(follower.history.curves["loss"]) == 1)
        assert found.losses == [9.0]
        assert not found.follower.history.alerts


async def test_another_file_in_their_place_is_noticed_though_it_is_longer(run: RunDirectory) -> None:
    run.events.write_bytes(lines([step(1), step(2)]))
    async with following(run) as found:
        await found.until(loaded)
        other = run.path / "other"
        other.write_bytes(lines([step(number, loss=9.0) for number in range(1, 6)]))
        other.replace(run.events)
        await found.until(lambda follower: len(follower.history.curves["loss"]) == 5)
        assert found.losses == [9.0] * 5


async def test_events_that_were_written_anew_into_the_same_file_are_noticed(run: RunDirectory) -> None:
    run.events.write_bytes(lines([step(1)]))
    async with following(run) as found:
        await found.until(loaded)
        run.events.write_bytes(lines([step(number, loss=9.123) for number in range(1, 6)]))
        await found.until(lambda follower: len(follower.history.curves["loss"]) == 5)
        assert found.losses == [9.123] * 5


async def test_a_deleted_directory_is_told_in_words_and_what_was_known_stays(run: RunDirectory) -> None:
    run.events.write_bytes(lines([step(1)]))
    async with following(run) as found:
        await found.until(loaded)
        shutil.rmtree(run.path)
        await found.until(lambda follower: bool(follower.problem))
        assert found.follower.problem == f"The run's directory is gone: {run.path}"
        assert found.losses == [2.0]
        run.path.mkdir()
        run.events.write_bytes(lines([step(1), step(2)]))
        await found.until(lambda follower: not follower.problem)
        assert found.losses == [2.0, 2.0]


async def test_events_that_cannot_be_read_are_told_in_words(run: RunDirectory) -> None:
    run.events.mkdir()
    async with following(run) as found:
        await found.until(lambda follower: bool(follower.problem))
        assert found.follower.problem == "Its events cannot be read: Is a directory."


async def test_a_run_is_followed_from_a_directory_that_cannot_be_written(run: RunDirectory) -> None:
    run.events.write_bytes(lines([step(1)]))
    run.events.chmod(0o444)
    run.path.chmod(0o555)
    try:
        async with following(run) as found:
            await found.until(loaded)
            assert (found.losses, found.follower.problem) == ([2.0], "")
    finally:
        run.path.chmod(0o755)


async def test_one_that_was_closed_tells_nothing_more(run: RunDirectory) -> None:
    run.events.write_bytes(lines([step(1)]))
    async with following(run) as found, following(run) as other:
        await found.until(loaded)
        await other.until(loaded)
        await found.follower.close()
        told = found.told
        with run.events.open("ab") as file:
            file.write(lines([step(2)]))
        await other.until(lambda follower: len(follower.history.curves["loss"]) == 2)
        assert (found.told, len(found.losses)) == (told, 1)


# Files that two processes read


@pytest.fixture
def large(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run whose events count as many."""
    monkeypatch.setattr(reading, "_LARGE", 1)
    records = [each for number in range(1, 9_001) for each in (step(number), evaluation(number, 3.0))[: 1 + number % 2]]
    run.events.write_bytes(lines([record("run", total_steps=9_000), *records, record("alert", kind="slow", words="!")]))
    return run


async def test_a_large_file_is_read_whole_by_two_processes(large: RunDirectory) -> None:
    async with following(large) as found:
        await found.until(loaded)
        history = found.follower.history
        assert history.curves["loss"].points.step.tolist() == list(range(1, 9_001))
        assert history.curves["eval_loss"].points.step.tolist() == list(range(1, 9_001, 2))
        assert (history.torn, len(history.alerts)) == (0, 1)
        with EventWriter(large.events) as writer:
            writer.write("step", step=9_001, loss=1.5)
        await found.until(lambda follower: len(follower.history.curves["loss"]) == 9_001)


async def test_a_large_file_is_read_by_one_process_where_the_other_fails(
    large: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    async with following(large) as found:
        await found.until(loaded)
        assert found.follower.history.curves["loss"].points.step.tolist() == list(range(1, 9_001))


async def test_a_large_file_that_shrinks_meanwhile_is_read_as_it_is_then(
    large: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other process reads is gone then: it is ended."""
    ended = asyncio.Event()

    async def for_ever(events: Path, begin: int, end: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(follower, "read_elsewhere", for_ever)
    monkeypatch.setattr(follower, "_CHUNKS", 1)
    found = Following(large)
    found.on_first = lambda: large.events.write_bytes(lines([step(1, loss=9.0)]))
    found.follower.start()
    await found.until(lambda follower: follower.loaded and len(follower.history.curves["loss"]) == 1)
    assert found.losses == [9.0]
    assert not found.follower.history.alerts
    await ended.wait()
    await found.follower.close()


async def test_closing_does_not_wait_for_the_other_process(large: RunDirectory) -> None:
    async with following(large) as found:
        await asyncio.sleep(0)
    assert not found.follower.loaded


def test_a_part_ends_where_the_other_begins_also_after_a_long_line(run: RunDirectory) -> None:
    """What both read counted twice."""
    long = record("sample", step=1, index=0, prompt="Why?", answer="so " * 190_000)
    part, rest = lines([long]), lines([step(2), step(3)])
    run.events.write_bytes(part + rest)
    descriptor = os.open(run.events, os.O_RDONLY)
    try:
        batches, offset, more = reading.read_batches(run.events, descriptor, 0, len(part), 8)
    finally:
        os.close(descriptor)
    assert (len(batches), offset, more) == (1, len(part), False)


async def test_a_large_file_is_read_where_nothing_can_be_put_aside(
    large: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    async with following(large) as found:
        await found.until(loaded)
        assert found.follower.history.curves["loss"].points.step.tolist() == list(range(1, 9_001))


async def test_a_failure_that_nobody_expected_is_told_in_words(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise ValueError("odd")

    monkeypatch.setattr(follower, "_read", fail)
    async with following(run) as found:
        await found.until(lambda follower: bool(follower.problem))
        assert found.follower.problem == "Its events cannot be read any more: odd."
    assert "ValueError: odd" in caplog.text
