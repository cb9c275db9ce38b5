"""A run and the app that started it: each survives the other's death, and the next look is right."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from sft.config import with_values
from sft.events import last_records
from sft.runs import RunDirectory
from tests.end_to_end.environment import HUGCHAT, home_with_starter
from tests.pty import PtyApp
from tests.sft.training.driving import new_run, tiny_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def last_step(run: RunDirectory) -> int:
    return max((record["step"] for record in last_records(run.events) if record["type"] == "step"), default=0)


def processes_of(run: RunDirectory) -> list[psutil.Process]:
    """The supervisor and all that it started."""
    return [each for each in psutil.process_iter() if str(run.path) in _command_line(each)]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def sees(app: PtyApp, pattern: str, timeout: float = 60) -> None:
    assert app.wait_text(pattern, timeout), f"{pattern} is not to be seen:\n{app.text()}"


def test_a_run_and_the_app_survive_each_others_kill(tmp_path: Path, starter: Path) -> None:
    env = home_with_starter(tmp_path, starter)
    recipe = with_values(tiny_recipe(tmp_path, steps=1_000_000, every=0), {"checkpoints.every": 20})
    run = new_run(recipe, tmp_path / "data", "outlives")
    try:
        with PtyApp([*HUGCHAT], size=(120, 36), env=env, cwd=str(tmp_path)) as app:
            sees(app, "Ask")
            app.press("f9")
            sees(app, "outlives")
            app.press("r")
            sees(app, r"step [1-9][0-9]* of", timeout=240)
            os.kill(app.pid, signal.SIGKILL)
            app.wait_end()
        step = last_step(run)
        with PtyApp([*HUGCHAT], size=(120, 36), env=env, cwd=str(tmp_path)) as app:
            sees(app, "Ask")
            app.press("f9")
            sees(app, "● running")
            assert last_step(run) > step, "it went on without the app"
            for process in processes_of(run):
                process.kill()
            sees(app, "✕ crashed")
            sees(app, "ended without a word")
            app.press("f9")
            sees(app, "Ask")
    finally:
        for process in processes_of(run):
            process.kill()
