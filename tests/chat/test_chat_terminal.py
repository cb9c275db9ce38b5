"""What only a real terminal shows: the editor, signals, and the bytes that are written."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.chat.driving import SCRIPTS, Home
from tests.pty import PtyApp

EVIL = "a\x1b]52;c;ZXZpbA==\x07\x9b31m\x1b[2J[/bold]\u202eb [x](https://example.org/\x1b]8;;) ```\x1b]0;title\x07```"


def hugchat(home: Home, **more: str) -> PtyApp:
    """The program on a home of its own; its other folders are in the environment."""
    env = {"HUGCHAT_MODEL_DEFAULT": home.model("alpha"), **more}
    app = PtyApp([sys.executable, str(SCRIPTS / "scripted_app.py")], size=(100, 24), env=env, cwd=home.data)
    assert app.wait_text("● alpha", timeout=30), app.text()
    return app


def paste(app: PtyApp, text: str) -> None:
    app.send(b"\x1b[200~" + text.encode() + b"\x1b[201~")


def answered(words: str) -> Callable[[PtyApp], bool]:
    """Whether the words stand in the answer, not only in the question and in the sidebar."""
    return lambda app: app.text().count(words) == 3


def draft(home: Home) -> str | None:
    with closing(sqlite3.connect(home.database)) as database:
        row = database.execute("SELECT draft FROM conversations").fetchone()
        return None if row is None else str(row[0])


def test_no_byte_of_a_reply_is_obeyed_by_the_terminal(home: Home) -> None:
    with hugchat(home) as app:
        paste(app, f"decode {json.dumps(EVIL)}")
        app.press("enter")
        assert app.wait_text("1 token · "), app.text()
        assert "␛]52;c;ZXZpbA==␇" in app.text(), app.text()
        for sequence in (b"\x1b]52", b"\x1b]0;title", b"\xc2\x9b", b"\x1b[2J[", "\u202e".encode()):
            assert sequence not in app.raw


def test_the_draft_goes_through_the_persons_editor(home: Home, tmp_path: Path) -> None:
    editor = tmp_path / "my editor.sh"
    editor.write_text('#!/bin/sh\nprintf "IN THE EDITOR\\n"\nprintf " and more\\n" >> "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    with hugchat(home, VISUAL="", EDITOR=f"'{editor}'") as app:
        app.send(b"my draft")
        assert app.wait_text("my draft"), app.text()
        app.press("ctrl+g")
        assert app.wait_text("and more"), app.text()
        assert b"IN THE EDITOR" in app.raw
        assert app.wait_text("● alpha"), "the app draws itself again"
        app.press("enter")
        assert app.wait_text("You said: my draft"), app.text()

    with hugchat(home, VISUAL="", EDITOR="false") as app:
        app.send(b"kept")
        assert app.wait_text("kept")
        app.press("ctrl+g")
        assert app.wait_text("ended with 1"), app.text()
        assert "kept" in app.text()


def begin(app: PtyApp, words: str) -> None:
    """Ask; these words come, and the reply does not end."""
    paste(app, f"until never {words}")
    app.press("enter")
    assert app.wait(answered(words)), app.text()


def test_a_killed_app_keeps_the_draft_and_the_partial_reply(home: Home) -> None:
    with hugchat(home) as app:
        begin(app, "partial")
        app.send(b"my draft")
        assert app.wait(lambda _: draft(home) == "my draft"), draft(home)
        children = psutil.Process(app.pid).children(recursive=True)
        os.kill(app.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
    with hugchat(home) as again:
        assert again.wait_text("until never")
        again.press("ctrl+o")
        assert again.wait_text("conversation"), again.text()
        again.press("1")
        assert again.wait_text("stopped · "), again.text()
        assert again.wait_text("stopped"), again.text()
        assert again.wait_text("my draft"), again.text()


def test_a_program_that_is_told_to_end_keeps_everything_and_leaves_the_terminal_as_it_was(home: Home) -> None:
    with hugchat(home) as app:
        begin(app, "some words")
        app.send(b"typed last")
        assert app.wait_text("typed last"), app.text()
        children = psutil.Process(app.pid).children(recursive=True)
        os.kill(app.pid, signal.SIGTERM)
        assert app.wait_end() == 128 + signal.SIGTERM
        assert app.raw.rfind(b"\x1b[?1049l") > app.raw.rfind(b"\x1b[?1049h")
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
    assert draft(home) == "typed last"
    with closing(sqlite3.connect(home.database)) as database:
        reply = database.execute("SELECT content, json_extract(reply, '$.ended') FROM messages WHERE id = 2").fetchone()
    assert reply == ("some words ", "stopped")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_terminal_that_goes_away_takes_the_program_with_it_and_nothing_is_lost(home: Home, streaming: bool) -> None:
    with hugchat(home) as app:
        if streaming:
            begin(app, "some words")
        app.send(b"typed last")
        assert app.wait_text("typed last"), app.text()
        children = psutil.Process(app.pid).children(recursive=True)
        assert app.hang_up(30) == 128 + signal.SIGHUP
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
    assert draft(home) == "typed last"


def test_interrupting_twice_quits_with_nothing_left_behind(home: Home) -> None:
    with hugchat(home) as app:
        children = psutil.Process(app.pid).children(recursive=True)
        assert children
        app.press("ctrl+c")
        assert app.wait_text("again to quit"), app.text()
        app.press("ctrl+c")
        assert app.wait_end() == 0
        assert app.raw.rfind(b"\x1b[?1049l") > app.raw.rfind(b"\x1b[?1049h"), "the terminal is as it was"
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
