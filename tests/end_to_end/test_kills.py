"""What is left when a process is killed in the middle of a reply."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import psutil

from tests.end_to_end.environment import HUGCHAT, environment, home_with_starter
from tests.pty import PtyApp

LONG = b"Write a very long story about a lighthouse keeper and the sea."


def _streaming_app(home: Path, starter: Path) -> PtyApp:
    env = home_with_starter(home, starter)
    app = PtyApp([*HUGCHAT], size=(100, 30), env=env, cwd=str(home))
    assert app.wait_text(r"● starter", timeout=120), app.text()
    app.send(LONG)
    assert app.wait_text("lighthouse keeper"), app.text()
    app.press("enter")
    assert app.wait_text(r"writing", timeout=120), app.text()
    assert app.wait(lambda _: any(len(content.split()) > 5 for content, _ in _replies(home)), timeout=120), app.text()
    return app


def _replies(home: Path) -> list[tuple[str, str | None]]:
    with closing(sqlite3.connect(home / "data" / "conversations.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return database.execute(
            "SELECT content, reply ->> 'ended' FROM messages WHERE role = 'assistant' ORDER BY id"
        ).fetchall()


def _worker_with_the_model(app: PtyApp) -> psutil.Process:
    """The largest child: the one that holds the weights, not the spare."""
    return max(psutil.Process(app.pid).children(recursive=True), key=lambda child: child.memory_info().rss)


def test_a_killed_worker_leaves_its_words_and_the_next_question_is_answered(tmp_path: Path, starter: Path) -> None:
    with _streaming_app(tmp_path, starter) as app:
        _worker_with_the_model(app).send_signal(signal.SIGKILL)
        assert app.wait_text(r"probably out of memory", timeout=30), app.text()
        content, ended = _replies(tmp_path)[-1]
        assert ended == "error"
        assert len(content.split()) > 5
        app.send(b"Name a colour.")
        app.press("enter")

        def answered(_: PtyApp) -> bool:
            """Words of the new worker are stored; how long it goes on is the model's affair."""
            content, ended = _replies(tmp_path)[-1]
            return len(_replies(tmp_path)) == 2 and content != "" and ended != "error"

        assert app.wait(answered, timeout=120), app.text()


def test_a_killed_app_leaves_its_words_and_no_process(tmp_path: Path, starter: Path) -> None:
    app = _streaming_app(tmp_path, starter)
    children = psutil.Process(app.pid).children(recursive=True)
    assert children
    os.kill(app.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    app.close()
    content, ended = _replies(tmp_path)[-1]
    assert ended is None
    assert len(content.split()) > 5

    with PtyApp([*HUGCHAT], size=(120, 30), env=environment(tmp_path), cwd=str(tmp_path)) as again:
        assert again.wait_text(r"Write a very long story", timeout=60), again.text()
        assert again.wait(lambda _: _replies(tmp_path)[-1][1] == "stopped", timeout=30)
        assert _replies(tmp_path)[-1][0] == content
