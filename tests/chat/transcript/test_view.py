"""The viewport: what it shows, and that it stays where the person looks."""

from __future__ import annotations

import pytest
from textual.events import MouseScrollUp
from textual.geometry import Offset, Region

from hugchat_tui.chat.transcript import Entry, Transcript
from hugchat_tui.chat.transcript import stack as stack_module
from tests.chat.transcript.helpers import conversation, running, screen_rows, settled

LONG = "\n\n".join(f"paragraph {number} " + "word " * 30 for number in range(40))


async def test_it_opens_at_the_end_and_renders_only_what_is_near() -> None:
    async with running(conversation(400)) as (_, transcript, _pilot):
        rows = screen_rows(transcript)
        assert "message 399 line 5" in rows[-2]
        rendered = sum(slot.rendering is not None for slot in transcript._stack.slots)
        assert rendered < 15


async def test_scrolling_up_moves_by_exactly_as_many_rows_whatever_the_estimates_were() -> None:
    """Entries above the view have estimated heights; correcting them must not move what is seen."""
    entries = conversation(60)
    for entry in entries[1::2]:
        entry.text = "| a | b |\n|---|---|\n" + "| x | y |\n" * 7 + "\n```\n" + "code\n" * 9 + "```\n" + "word " * 50
    async with running(entries) as (_, transcript, _pilot):
        before = screen_rows(transcript)
        for _ in range(40):
            transcript.action_scroll_rows(-7)
            after = screen_rows(transcript)
            assert after[7:] == before[:-7]
            before = after
        for _ in range(40):
            transcript.action_scroll_rows(7)
            after = screen_rows(transcript)
            assert after[:-7] == before[7:] or transcript.following
            before = after


async def test_work_ahead_above_the_view_moves_nothing() -> None:
    entries = conversation(80)
    entries[20].text = LONG
    async with running(entries) as (_, transcript, pilot):
        transcript.go_to(24)
        seen = screen_rows(transcript)
        height = transcript._stack.height
        await settled(pilot)
        assert transcript._stack.ready(22)
        assert screen_rows(transcript) == seen
        assert transcript._stack.height != height or transcript._stack.slots[20].rendering is None


async def test_streaming_is_followed_at_the_end_and_counted_when_scrolled_up() -> None:
    entries = [*conversation(10), Entry(10, "assistant", "model", "", streaming=True)]
    async with running(entries) as (_, transcript, pilot):
        for number in range(30):
            transcript.feed(10, f"line {number}\n\n")
        await settled(pilot)
        assert transcript.following
        assert "line 29" in "\n".join(screen_rows(transcript))
        transcript.action_scroll_rows(-3)
        seen = screen_rows(transcript)
        assert not transcript.following
        for number in range(30, 36):
            transcript.feed(10, f"line {number}\n\n")
        await settled(pilot)
        assert transcript.new_lines_below == 12
        now = screen_rows(transcript)
        assert now[:-1] == seen[:-1], "what is read stays where it is"
        assert "12 new lines below" in now[-1]
        transcript.action_scroll_rows(5)
        assert transcript.new_lines_below == 10
        await pilot.press("end")
        assert transcript.following
        assert transcript.new_lines_below == 0
        assert "line 35" in "\n".join(screen_rows(transcript))


async def test_a_click_on_the_pill_follows_again() -> None:
    entries = [*conversation(10), Entry(10, "assistant", "model", LONG, streaming=True)]
    async with running(entries) as (_, transcript, pilot):
        transcript.action_scroll_rows(-5)
        transcript.feed(10, "\n\nmore\n\nlines")
        await settled(pilot)
        assert "new lines below" in screen_rows(transcript)[-1]
        await pilot.click(Transcript, offset=Offset(transcript.size.width - 8, transcript.size.height - 1))
        assert transcript.following


async def test_scrolling_back_to_the_end_follows_again() -> None:
    entries = [*conversation(10), Entry(10, "assistant", "model", LONG, streaming=True)]
    async with running(entries) as (_, transcript, pilot):
        transcript.action_scroll_rows(-1)
        assert not transcript.following
        transcript.action_scroll_rows(1)
        assert transcript.following
        transcript.feed(10, "\n\nthe very end")
        await settled(pilot)
        assert "the very end" in "\n".join(screen_rows(transcript))


async def test_the_wheel_and_the_scroll_bar_move_the_view() -> None:
    async with running(conversation(200)) as (_, transcript, pilot):
        before = screen_rows(transcript)
        transcript._on_mouse_scroll_up(_wheel(transcript))
        assert not transcript.following
        moved = screen_rows(transcript)
        by = next(by for by in range(1, 20) if moved[by:] == before[:-by])
        assert by > 0
        transcript.scroll_to(y=0, animate=False)
        await settled(pilot)
        assert "message 0 line 0" in "\n".join(screen_rows(transcript))


def _wheel(transcript: Transcript) -> MouseScrollUp:
    return MouseScrollUp(transcript, 5, 5, 0, -1, 0, False, False, False, 5, 5)


async def test_resizing_keeps_the_line_at_the_top() -> None:
    entries = conversation(30)
    entries[11].text = LONG
    async with running(entries, (70, 20)) as (_, transcript, pilot):
        transcript.go_to(11)
        transcript.action_scroll_rows(41)
        first = screen_rows(transcript)[0]
        word = next(word for word in " ".join(screen_rows(transcript)[:4]).split("paragraph ")[1:2])
        for width in (44, 100, 70):
            await pilot.resize_terminal(width, 20)
            await settled(pilot)
            assert f"paragraph {word.split()[0]} " in "\n".join(screen_rows(transcript)[:6])
        assert screen_rows(transcript)[0] == first


async def test_following_survives_resizing() -> None:
    async with running(conversation(40), (70, 20)) as (_, transcript, pilot):
        for size in ((40, 12), (120, 40), (70, 20)):
            await pilot.resize_terminal(*size)
            await settled(pilot)
            assert transcript.following
            assert "message 39 line 5" in "\n".join(screen_rows(transcript)[-3:])


async def test_an_entry_can_be_changed_while_it_is_shown() -> None:
    async with running([Entry(1, "assistant", "model", "Hel", streaming=True)]) as (_, transcript, pilot):
        transcript.feed(1, "lo")
        transcript.update_entry(1, footer="stopped · 2 tokens", detail="2/3", streaming=False)
        await settled(pilot)
        rows = screen_rows(transcript)
        assert rows[0].startswith("model") and rows[0].endswith("2/3")
        assert rows[1:3] == ["Hello", "stopped · 2 tokens"]
        transcript.update_entry(1, text="# Another", role="user", title="You")
        assert screen_rows(transcript)[:2] == ["You" + " " * 50 + "2/3", "# Another"]


async def test_what_is_fed_is_never_lost_also_when_it_ends_at_once() -> None:
    async with running([Entry(1, "assistant", "model", "", streaming=True)]) as (_, transcript, _pilot):
        pieces = [f"token{number} " for number in range(500)]
        for piece in pieces:
            transcript.feed(1, piece)
        assert transcript.entries[0].text == "".join(pieces)
        with pytest.raises(KeyError):
            transcript.feed(2, "no such entry")


async def test_truncating_shows_the_new_end() -> None:
    async with running(conversation(20)) as (_, transcript, pilot):
        transcript.feed(19, "late")
        transcript.truncate_after(5)
        await settled(pilot)
        assert [entry.key for entry in transcript.entries] == [0, 1, 2, 3, 4, 5]
        assert "message 5 line 5" in screen_rows(transcript)[-2]
        transcript.truncate_after(None)
        assert screen_rows(transcript) == [""] * 20
        transcript.append(Entry(1, "user", "You", "again"))
        await settled(pilot)
        assert screen_rows(transcript)[:2] == ["You", "again"]


async def test_the_same_key_twice_is_refused() -> None:
    async with running(conversation(2)) as (_, transcript, _pilot):
        with pytest.raises(ValueError, match="key 1"):
            transcript.append(Entry(1, "user", "You", "again"))


async def test_setting_entries_can_keep_the_place() -> None:
    entries = conversation(40)
    async with running(entries) as (_, transcript, pilot):
        transcript.go_to(10)
        seen = screen_rows(transcript)
        transcript.set_entries(entries[:30], at_end=False)
        await settled(pilot)
        assert screen_rows(transcript) == seen
        transcript.set_entries(entries[:30])
        await settled(pilot)
        assert "message 29 line 5" in screen_rows(transcript)[-2]


async def test_renderings_far_away_are_let_go_and_heights_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "_KEPT_ROWS", 100)
    async with running(conversation(100)) as (_, transcript, pilot):
        for _ in range(30):
            transcript.action_scroll_pages(-1)
        await settled(pilot)
        height = transcript._stack.height
        kept = [slot.height for slot in transcript._stack.slots if slot.rendering is not None]
        assert sum(kept) < 100 + 7 * transcript.size.height
        transcript.follow_end()
        await settled(pilot)
        assert transcript._stack.height == height


async def test_an_idle_transcript_has_no_timer() -> None:
    async with running(conversation(50)) as (_, transcript, _pilot):
        assert not transcript._working.is_set
        assert not transcript._flushing.is_set
        assert [timer for timer in transcript._timers if timer._active.is_set()] == []


async def test_a_theme_change_recolours_and_stays() -> None:
    async with running(conversation(40)) as (app, transcript, pilot):
        transcript.go_to(20)
        seen, painted = screen_rows(transcript), transcript.render_lines(transcript.size.region)
        app.theme = "textual-light"
        await settled(pilot)
        assert screen_rows(transcript) == seen
        again = transcript.render_lines(transcript.size.region)
        assert [list(strip) for strip in again] != [list(strip) for strip in painted]
        background = app.theme_variables["background"].lower()
        assert all(
            segment.style is not None
            and segment.style.bgcolor is not None
            and segment.style.bgcolor.name.lower() == background
            for segment in again[1]
        )


async def test_a_match_that_new_text_completes_is_drawn_on_the_row_above_too(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        Entry(1, "user", "You", "hi"),
        Entry(2, "assistant", "model", "one two three four five six", streaming=True),
    ]
    async with running(entries, size=(30, 12)) as (_, transcript, pilot):
        rows = [transcript.render_line(y).text for y in range(12)]
        first = next(y for y, row in enumerate(rows) if row.rstrip().endswith("five"))
        assert "six" in rows[first + 1]
        transcript.find("five sixteen")
        await settled(pilot)
        drawn: list[int] = []
        refresh = transcript.refresh

        def note(*regions: Region, **options: bool) -> Transcript:
            drawn.extend(y for region in regions for y in region.line_range)
            return refresh(*regions, **options)

        monkeypatch.setattr(transcript, "refresh", note)
        transcript.feed(2, "teen")
        transcript.flush()
        assert first in drawn
