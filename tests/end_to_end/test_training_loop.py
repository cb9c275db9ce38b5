"""The whole loop by keys alone: correct replies, train on them, watch, chat with it meanwhile, keep it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sft.events import Record, tail
from tests.end_to_end.environment import HUGCHAT, home_with_starter
from tests.pty import PtyApp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TAUGHT = {
    "Who keeps the lighthouse?": "Marta keeps the lighthouse.",
    "Who mends the nets?": "Old Henrik mends the nets.",
    "What is sold on Fridays?": "Smoked herring is sold on Fridays.",
}
SETTINGS = {"HUGCHAT_SAMPLING_TEMPERATURE": "0", "HUGCHAT_SAMPLING_MAX_NEW_TOKENS": "16"}


class Person:
    """Presses keys and looks at the screen; the database is only looked at to know when a reply is whole."""

    def __init__(self, app: PtyApp, home: Path) -> None:
        self.app = app
        self._database = home / "data" / "conversations.db"
        self._asked = 0

    def sees(self, pattern: str, timeout: float = 60) -> None:
        assert self.app.wait_text(pattern, timeout), f"{pattern} is not to be seen:\n{self.app.text()}"

    def ask(self, question: str) -> None:
        self._asked += 1
        self.app.send(question.encode())
        self.sees(re.escape(question))
        self.app.press("enter")
        assert self.app.wait(lambda _: self._replies() >= self._asked, timeout=240), self.app.text()

    def correct(self, answer: str) -> None:
        self.app.press("shift+tab")
        self.sees("e Edit")
        self.app.press("w")
        self.sees("the better answer")
        self.app.press("ctrl+u")  # away with the one that is there
        self.sees("Ask anything")
        self.app.send(answer.encode())
        self.sees(re.escape(answer))
        self.app.press("enter")
        self._asked += 1
        self.sees("✓ good")
        assert self.app.wait(lambda _: self._replies() >= self._asked), self.app.text()
        self.sees("w Correct")  # the reply has the focus again
        self.app.press("escape")
        self.sees("⏎ Send")

    def _replies(self) -> int:
        try:
            with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as database:
                found = database.execute(
                    "SELECT count(*) FROM messages WHERE role = 'assistant' AND writer IS NULL"
                ).fetchone()
        except sqlite3.OperationalError:  # it is not there, or being made
            return 0
        return int(found[0])


def test_replies_are_corrected_trained_on_and_the_result_answers_as_taught(tmp_path: Path, starter: Path) -> None:
    env = {**home_with_starter(tmp_path, starter), **SETTINGS}
    with PtyApp([*HUGCHAT], size=(160, 48), env=env, cwd=str(tmp_path)) as app:
        person = Person(app, tmp_path)
        person.sees("Ask starter anything|Ask anything")
        for question, answer in TAUGHT.items():
            app.press("ctrl+n")  # each in a conversation of its own, as it will be asked
            person.ask(question)
            person.correct(answer)

        app.send(b"/train-marked")
        person.sees("Start a training run on the replies marked good")
        app.press("enter")
        person.sees("All conversations")
        app.press("a")
        person.sees("New training run")
        person.sees(r"documents?", timeout=120)
        app.press(*["down"] * 8)
        person.sees(r"training\.max_steps")
        app.press("backspace", "6", "0", *["down"] * 3)
        app.press("ctrl+u")
        app.send(b"taught")
        person.sees("name +taught")
        app.press(*["down"] * 5)
        person.sees("enter unfolds|\\[training\\]")
        app.press("enter", "down", "down")
        person.sees(r"training\.accumulation")
        app.press("backspace", "1", "ctrl+r")

        person.sees("step [1-9][0-9]* of 60", timeout=300)
        person.sees("loss +[0-9]")  # the chart's title
        run = tmp_path / "data" / "runs" / "taught"
        app.press("s")
        assert app.wait(lambda _: bool(_told(run, "checkpoint")), timeout=240), app.text()
        app.press("c")
        person.sees("step-[0-9]+", timeout=120)
        person.ask("Who keeps the lighthouse?")

        app.press("f9")
        person.sees("step [0-9]+ of 60")
        assert app.wait(lambda _: _last_step(run) >= 30, timeout=600), app.text()
        app.press("x")
        person.sees("[Ss]top and keep")
        app.press("enter")
        assert app.wait(lambda _: bool(_told(run, "end")), timeout=240), app.text()
        person.sees("stopped")
        end = _told(run, "end")[-1]
        assert end["how"] == "stopped" and _last_step(run) < 60

        app.press("f5")
        person.sees("Checkpoints|checkpoints", timeout=60)
        person.sees(r"runs/taught\s")
        app.press("/")
        app.send(b"runs/taught")
        person.sees(r"[23] of [0-9]")  # the result, and steps on the way
        app.press("enter")
        person.sees("⏎ Chat")
        app.press("enter")
        person.sees(r"● runs/taught ·", timeout=120)
        app.press("ctrl+n")
        person.ask("Who mends the nets?")
        person.sees("Old Henrik mends the nets", timeout=30)


def _told(run: Path, kind: str) -> list[Record]:
    return [record for record in tail(run / "events.jsonl", 0, 1 << 26).records if record["type"] == kind]


def _last_step(run: Path) -> int:
    return max((record["step"] for record in _told(run, "step")), default=0)
