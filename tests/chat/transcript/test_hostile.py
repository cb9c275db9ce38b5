"""Hostile text in a real terminal: every byte that reaches it is looked at."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from hugchat_tui.chat.transcript import Entry
from tests.chat.transcript.helpers import rendered, running, screen_rows, settled, texts
from tests.pty import PtyApp

APP = Path(__file__).with_name("hostile_app.py")


def test_nothing_that_a_terminal_would_obey_gets_through() -> None:
    with PtyApp([sys.executable, str(APP)], size=(100, 40), cwd=APP.parents[3]) as app:
        assert app.wait_text("is shown", timeout=60) is not None, app.text()
        seen = app.text()
        for _ in range(6):
            before = app.text()
            app.press("pageup")
            assert app.wait(lambda app, before=before: app.text() != before, timeout=20) is not None
            seen += app.text()
        app.press("g")
        assert app.wait_text(r"You|␛\]52;c;cHduZWQ", timeout=60) is not None, app.text()
        seen += app.text()
        app.press("G")
        assert app.wait_text("is shown", timeout=60) is not None, app.text()
        # Textual itself sets the shape of the mouse pointer.
        raw = bytes(app.raw).replace(b"\x1b]22;default\x1b\\", b"").replace(b"\x1b]22;default\x07", b"")
    for sequence in (b"\x1b]", b"\x1bP", b"\xc2\x9b", b"\xc2\x9d", b"\xc2\x90", b"\x1b[38;5;19", b"\x07", b"\x1bc"):
        own = [raw[match.start() : match.start() + 12] for match in re.finditer(re.escape(sequence), raw)]
        assert own == [], f"the terminal got {own}"
    for character in "\u202e\u2066\u2069\u2028\ufeff":
        assert character.encode() not in raw
    assert "␛]52;c;cHduZWQ=␇" in seen, "what was sent is seen"
    assert "[@click=app.bell]click me[/] [/bold]" in seen, "markup is text"


def test_a_line_of_a_million_characters_is_all_there() -> None:
    rows = rendered("x" * 1_000_000, 80, "user").rows
    assert sum(len(row.text) for row in rows if row.text.startswith("x")) == 1_000_000
    rows = rendered("y" * 1_000_000, 80).rows
    assert sum(len(row.text) for row in rows if row.text.startswith("y")) == 1_000_000


def test_markup_too_dense_to_read_is_shown_as_written() -> None:
    for piece in ("[", "![", "*a ", "_a_", "`", "](", "<", "\\(", "$"):
        source = "a " + piece * 20_000
        assert "".join(texts(rendered(source, 200))).replace(" ", "") == source.replace(" ", "")


async def test_markup_in_messages_is_no_action() -> None:
    text = "[@click=app.bell]x[/] [/bold]"
    async with running([Entry(1, "assistant", text, text, text, text)]) as (app, transcript, pilot):
        rang: list[int] = []
        app.bell = lambda: rang.append(1)  # type: ignore[method-assign]
        assert "\n".join(screen_rows(transcript)).count(text) == 4
        for y in range(4):
            await pilot.click("Transcript", offset=(4, y))
        await settled(pilot)
        assert rang == []
