"""The status line as a pure function of a status, a width and a time."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from hugchat_tui.chat.session_events import Status
from hugchat_tui.chat.status_line import StatusLine, status_text

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"


def working(**changes: object) -> Status:
    status = Status(
        phase="generating",
        model=NAME,
        device="cuda:0",
        dtype="bfloat16",
        tokens_per_second=38.2,
        first_token_s=0.42,
        context_used=1234,
        context_length=8192,
    )
    for name, value in changes.items():
        setattr(status, name, value)
    return status


def line(status: Status, width: int, now: float = 100.0) -> str:
    return status_text(status, width, now).plain


def test_a_wide_line_says_everything() -> None:
    text = line(working(), 160)
    for fact in (NAME, "cuda:0", "bfloat16", "writing", "38 tokens/s", "first token 0.42 s", "context 1,234/8,192"):
        assert fact in text
    assert "━━━━━━━━" in text


def test_a_line_of_eighty_cells_keeps_what_matters() -> None:
    text = line(working(), 80)
    for fact in ("SmolLM2-135M-Instruct", "38 tok", "1,234/8,192", "cuda:0"):
        assert fact in text
    assert "first token" not in text
    assert "…" not in text


@pytest.mark.parametrize("width", range(170))
def test_the_line_fills_its_width_and_cuts_no_word(width: int) -> None:
    whole = set(line(working(), 200).split()) | {"tok/s", "SmolLM2-135M-Instruct", "15", "%"}
    text = status_text(working(), width, 100.0)
    assert text.cell_length == max(2, width)
    if width >= 27:
        assert set(text.plain.split()) <= whole


def test_facts_go_in_the_order_of_their_worth() -> None:
    facts = {
        "writing": "writing",
        "first token": "first token",
        "organisation": "HuggingFaceTB/",
        "dtype": "bfloat16",
        "device": "cuda:0",
        "speed": "38",
        "context": "1,234/8,192",
        "model": "SmolLM2",
    }
    last_seen = {name: min(w for w in range(170) if fact in line(working(), w)) for name, fact in facts.items()}
    assert sorted(facts, key=lambda name: -last_seen[name]) == list(facts)


def test_every_phase_says_what_is_going_on() -> None:
    assert "no model" in line(Status(), 80)
    loading = Status("loading", NAME, stage="reading weights", done=42, total=100, since=88.0)
    assert "reading weights 42 % · 12 s" in line(loading, 120)
    assert "reading the prompt 50 %" in line(Status("prefilling", NAME, done=512, total=1024, since=99.9), 120)
    assert "waiting" in line(Status("waiting", NAME, since=99.9), 80)
    failed = Status("failed", NAME, stage="The worker was killed, probably out of memory.")
    assert "probably out of memory." in line(failed, 120)
    assert "failed" in line(failed, 60)


def test_a_full_context_is_shown_in_another_colour() -> None:
    styles = [
        {span.style for span in status_text(working(context_used=used), 160, 0).spans} for used in (1, 8000, 9000)
    ]
    assert styles[0] != styles[1] != styles[2]


def test_text_from_outside_is_inert() -> None:
    text = line(working(model="a/[/bold]\x1b]52;c;x\x07", device="[@click=app.bell]x"), 160)
    assert "[/bold]" in text
    assert "[@click=app.bell]x" in text
    assert "\x1b" not in text


class StatusApp(App[None]):
    def compose(self) -> ComposeResult:
        yield StatusLine()


async def test_the_line_ticks_only_while_something_is_waited_for() -> None:
    """Idle must cost nothing: no timer may run behind a line that does not change."""
    app = StatusApp()
    async with app.run_test(size=(80, 24)) as pilot:
        status_line = app.query_one(StatusLine)
        idle = len(status_line._timers)
        status_line.show(Status("loading", NAME))
        status_line.show(Status("loading", NAME, done=1, total=2))
        assert len(status_line._timers) == idle + 1
        status_line.show(working(phase="idle"))
        await pilot.pause()
        assert len(status_line._timers) == idle
        assert "SmolLM2" in str(status_line.render())
