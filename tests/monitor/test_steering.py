"""Real runs steered by keys: each survives the program, and the program survives each."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from sft.config import Recipe, with_values
from sft.control import ControlReader
from sft.runs import RunDirectory
from tests.chat.driving import Home
from tests.monitor.driving import Monitor, Written, monitor
from tests.sft.training import driving
from tests.sft.training.driving import Running, events, new_run, tiny_recipe


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's processes import torch, which takes long where others do so too."""
    monkeypatch.setattr("tests.chat.driving.PATIENCE_S", 180.0)


def long_recipe(home: Home, folder: Path, *, ranks: int = 1) -> Recipe:
    """Far more steps than a test waits for; nothing but what is asked for evaluates and saves."""
    recipe = tiny_recipe(folder, steps=100_000, ranks=ranks, every=0, accumulation=1)
    return with_values(recipe, {"training.schedule": "constant"})


async def answered(it: Monitor, words: str) -> None:
    await it.until(lambda: f"✓ {words}" in it.text(), words)


async def steer(it: Monitor, running: Running) -> None:
    """Save, pause, continue, another learning rate, stop and keep: each acknowledged, and done."""
    run = running.run
    await it.press("s")
    await answered(it, "save: a checkpoint is written after this step")
    await it.until(lambda: list(run.checkpoints.glob("step-*")), "the checkpoint")
    await it.press("p")
    await answered(it, "pause: paused")
    await it.until(lambda: "‖ paused" in it.text(), "the state")
    await it.press("p")
    await answered(it, "continue: it goes on")
    await it.press("l")
    await it.until(it.question)
    await it.type_into("5e-4")
    await it.press("enter")
    await answered(it, "learning rate 5e-4")
    asked_at = events(run, "ack")[-1]["step"]
    await it.until(lambda: events(run, "step")[-1]["step"] > asked_at + 1)
    assert events(run, "step")[-1]["learning_rate"] == 5e-4
    await it.press("c")
    await it.until(lambda: it.in_chat and it.session.model.reference.startswith(f"runs/{run.name}/step-"))
    await it.press("f9", "x")
    await it.until(lambda: "Stop this run?" in it.question())
    await it.press("k")
    await it.until(lambda: "■ stopped" in it.text(), "its end")
    assert running.wait() == 0 and run.final.is_dir() and running.process.poll() == 0


def steps_until_answers(run: RunDirectory) -> list[int]:
    """How many steps each command waited for its acknowledgement."""
    asked = {command.id: command.time for command in ControlReader(run.control).read()}
    steps = [record["time"] for record in events(run, "step")]
    return [sum(asked[ack["id"]] < time < ack["time"] for time in steps) for ack in events(run, "ack")]


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_a_run_is_steered_and_left_with_nothing_behind(home: Home, tmp_path: Path, ranks: int) -> None:
    run = new_run(long_recipe(home, tmp_path, ranks=ranks), home.data)
    running = driving.start(run, home.data)
    try:
        running.until("step")
        processes = running.ranks()
        async with monitor(home) as it:
            await it.followed()
            await steer(it, running)
        commands = [(record["command"], record["step"]) for record in events(run, "ack")]
        assert [command for command, _ in commands] == ["save", "pause", "continue", "set", "stop"]
        assert all(steps <= 2 for steps in steps_until_answers(run))
        assert not [process for process in processes if process.is_running()], "no rank is left behind"
        # What it learned is there for the chat, under the run's name.
        assert (run.final / "adapter_model.safetensors").is_file()
    finally:
        if running.process.poll() is None:
            running.kill_everything()


async def test_a_killed_run_is_told_and_resumed_by_key(home: Home, tmp_path: Path) -> None:
    recipe = with_values(long_recipe(home, tmp_path), {"checkpoints.every": 5})
    run = new_run(recipe, home.data)
    running = driving.start(run, home.data)
    running.until("checkpoint")
    try:
        async with monitor(home) as it:
            await it.followed()
            running.kill_everything()
            await it.until(lambda: "✕ crashed" in it.text(), "the state")
            assert any("ended without a word" in notice for notice in it.notices())
            await it.press("r")
            await it.until(lambda: "● running" in it.text() and len(events(run, "run")) == 2, "it to go on")
            assert events(run, "run")[-1]["resumed_from"] >= 5
            await it.press("x")
            await it.until(it.question)
            await it.press("w")
            await it.until(lambda: "■ stopped" in it.text(), "its end")
            await it.press("b")
            await it.until(lambda: "Another run goes on from there" in it.question(), "its steps")
            await it.press("1")
            await it.until(lambda: len(it.runs.rows) == 2, "the branch")
            branch = next(row for row in it.runs.rows if row.name != run.name)
            await it.until(lambda: len(events(branch.run, "step")) > 1, "it to train")
            assert events(branch.run, "run")[0]["resumed_from"] > 0
            row = it.runs.row(branch.name)
            assert row is not None and await it.runs.kill(row)
            await it.until(lambda: not [each for each in it.runs.rows if each.going], "its end")
    finally:
        if running.process.poll() is None:
            running.kill_everything()


async def test_what_is_advised_of_a_run_that_does_not_go_can_be_done(home: Home) -> None:
    Written(home.data, "finished").launched().steps(1, 100).ended("done")
    Written(home.data, "halted").launched().steps(1, 40).ended("stopped", 40)
    async with monitor(home) as it:
        said = {
            "finished": "finished is not going: it is done. b starts another run",
            "halted": "halted is not going: it is stopped. r resumes it.",
        }
        for name, words in said.items():
            await it.to_run(name)
            await it.press("p", "s")
            found = partial(lambda words: sum(words in notice for notice in it.notices()) == 2, words)
            await it.until(found, words)
        await it.to_run("finished")
        await it.press("r")
        await it.until(lambda: any("finished is done. b starts another run" in notice for notice in it.notices()))


async def test_who_stops_a_run_is_told_whether_there_is_a_checkpoint_to_resume(home: Home) -> None:
    written = Written(home.data, "fresh").launched()
    async with monitor(home) as it:
        await it.press("x")
        await it.until(lambda: "it starts from the beginning" in it.question(), "the dialog")
        await it.press("escape")
        written.steps(1, 40).checkpoint(40)
        await it.looked()
        await it.press("x")
        await it.until(lambda: "It can be resumed from its checkpoints." in it.question(), "the dialog")


async def test_the_run_outlives_the_program(home: Home, tmp_path: Path) -> None:
    run = new_run(long_recipe(home, tmp_path), home.data)
    running = driving.start(run, home.data)
    try:
        async with monitor(home) as it:
            await it.until(lambda: run.name in it.run_names())
        step = running.until("step")["step"]
        async with monitor(home) as it:
            await it.until(lambda: "● running" in it.text() and it.runs.rows[0].status.step > step)
    finally:
        running.kill_everything()
