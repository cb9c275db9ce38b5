"""Selecting, copying and moving by mouse and by keyboard."""

from __future__ import annotations

from textual.pilot import Pilot

from hugchat_tui.chat.transcript import Entry, Transcript
from hugchat_tui.chat.transcript.selection import word_at
from tests.chat.transcript.helpers import (
    TranscriptApp,
    barred_rows,
    conversation,
    running,
    screen_rows,
    settled,
)

REPLY = """A paragraph that is long enough to wrap around more than once in this narrow view.

1. first **item**
   - nested

| a | b |
|---|---|
| cell | other cell |

```python
def f():
\treturn 1
```
"""


async def drag(pilot: Pilot[None], start: tuple[int, int], end: tuple[int, int]) -> None:
    await pilot.mouse_down(Transcript, offset=start)
    await pilot.hover(Transcript, offset=end)
    await pilot.mouse_up(Transcript, offset=end)
    await pilot.pause()


def find_cell(transcript: Transcript, text: str) -> tuple[int, int]:
    """Where a text begins on the screen."""
    for y, row in enumerate(screen_rows(transcript)):
        if text in row:
            return 2 + row.index(text), y
    raise AssertionError(f"{text!r} is not in\n" + "\n".join(screen_rows(transcript)))


def copied(app: TranscriptApp) -> list[tuple[str, str]]:
    return [(event.what, event.text) for event in app.posted if isinstance(event, Transcript.Copied)]


async def test_dragging_selects_text_with_soft_wraps_joined() -> None:
    async with running([Entry(1, "assistant", "model", REPLY)], (42, 30)) as (app, transcript, pilot):
        start, end = find_cell(transcript, "long enough"), find_cell(transcript, "nested")
        await drag(pilot, start, (end[0] + 5, end[1]))
        assert app.screen.get_selected_text() == (
            "long enough to wrap around more than once in this narrow view.\n\n1. first item\n   ◦ nested"
        )
        assert any(segment.style and "reverse" not in str(segment.style) for segment in transcript.render_line(1))


async def test_a_selection_keeps_its_text_when_the_width_changes() -> None:
    async with running([Entry(1, "assistant", "model", REPLY)], (42, 30)) as (app, transcript, pilot):
        start, end = find_cell(transcript, "long enough"), find_cell(transcript, "narrow view")
        await drag(pilot, start, (end[0] + 5, end[1]))
        text = app.screen.get_selected_text()
        await pilot.resize_terminal(70, 30)
        await settled(pilot)
        assert text == "long enough to wrap around more than once in this narrow"
        assert app.screen.get_selected_text() == text


async def test_tables_are_selected_cell_by_cell_and_code_as_it_stands() -> None:
    async with running([Entry(1, "assistant", "model", REPLY)], (42, 30)) as (app, transcript, pilot):
        start = find_cell(transcript, "cell")
        end = find_cell(transcript, "return 1")
        await drag(pilot, start, (end[0] + 7, end[1]))
        assert app.screen.get_selected_text() == "cell | other cell\n\ndef f():\n    return 1"


async def test_a_selection_over_entries_that_were_never_rendered_has_their_text() -> None:
    async with running(conversation(60, lines=3)) as (app, transcript, pilot):
        await drag(pilot, (2, 5), (20, 8))
        begun = transcript.text_selection
        assert begun is not None and begun.start is not None
        transcript.action_scroll_to_top()
        assert sum(slot.rendering is None for slot in transcript._stack.slots) > 20
        app.screen.selections = {transcript: begun._replace(start=None)}
        text = app.screen.get_selected_text() or ""
        assert all(f"message {key} line 1" in text for key in range(56))


async def test_clicks_take_a_word_a_line_and_a_message() -> None:
    async with running([*conversation(2), Entry(2, "assistant", "model", REPLY)], (42, 40)) as (app, transcript, pilot):
        at = find_cell(transcript, "enough")
        await pilot.double_click(Transcript, offset=at)
        assert app.screen.get_selected_text() == "enough"
        await pilot.triple_click(Transcript, offset=at)
        assert (app.screen.get_selected_text() or "").startswith("A paragraph that is long")
        await pilot.click(Transcript, offset=find_cell(transcript, "message 1 line 3"))
        assert transcript.selected_key == 1
        assert app.screen.get_selected_text() is None


def test_words_have_marks_inside_but_not_around() -> None:
    assert word_at("say (don't) now", 6) == (5, 10)
    assert word_at("a b", 1) == (1, 2)
    assert word_at("end", 3) == (3, 3)


async def test_a_click_on_a_link_posts_it_and_a_drag_over_it_does_not() -> None:
    async with running([Entry(1, "assistant", "m", "see [docs](https://x.y/z) now")]) as (app, transcript, pilot):
        await pilot.click(Transcript, offset=find_cell(transcript, "docs"))
        urls = [event.url for event in app.posted if isinstance(event, Transcript.LinkActivated)]
        assert urls == ["https://x.y/z"]
        await drag(pilot, find_cell(transcript, "see"), find_cell(transcript, "cs ("))
        assert len([event for event in app.posted if isinstance(event, Transcript.LinkActivated)]) == 1


async def test_j_and_k_move_between_messages_and_g_to_the_ends() -> None:
    async with running(conversation(30)) as (_, transcript, pilot):
        assert transcript.selected_key == 29
        await pilot.press("k", "k", "k")
        assert transcript.selected_key == 26
        assert screen_rows(transcript)[0] == "You"
        assert barred_rows(transcript)[:12] == list(range(12)), "the bar is as long as the message"
        await pilot.press("g")
        assert (transcript.selected_key, transcript.following) == (0, False)
        assert screen_rows(transcript)[1] == "message 0 line 0"
        await pilot.press("G")
        assert (transcript.selected_key, transcript.following) == (29, True)


async def test_y_copies_the_source_of_the_message_that_has_the_cursor() -> None:
    entries = [Entry(1, "user", "You", "hi"), Entry(2, "assistant", "m", "**bold**\n\n- x\x1b[31m")]
    async with running(entries) as (app, _, pilot):
        await pilot.press("y")
        await pilot.pause()
        assert copied(app) == [("message", "**bold**\n\n- x␛[31m")], "what is pasted may not be obeyed either"


async def test_v_selects_rows_and_y_copies_them() -> None:
    entries = [Entry(1, "user", "You", "hi"), Entry(2, "assistant", "model", REPLY)]
    async with running(entries, (42, 30)) as (app, transcript, pilot):
        await pilot.press("v", "j", "down")
        selection = transcript.text_selection
        assert selection is not None
        await pilot.press("y")
        await pilot.pause()
        assert copied(app) == [
            ("selection", "model\nA paragraph that is long enough to wrap around more than once in this")
        ]
        assert transcript.text_selection is None
        await pilot.press("j")
        assert transcript.selected_key == 2, "afterwards j moves between messages again"


async def test_rows_can_be_selected_beyond_the_view_and_upwards() -> None:
    async with running(conversation(30)) as (app, transcript, pilot):
        await pilot.press("k", "v", "pageup", "pageup", "y")
        await pilot.pause()
        text = copied(app)[0][1]
        assert text.endswith("message 27 line 5\n\nYou")
        assert "message 26 line 0" in text
        await pilot.press("v", "j", "escape")
        assert transcript.text_selection is None


async def test_c_numbers_code_blocks_and_a_digit_copies_one_whole() -> None:
    source = "```python\na = 1\n\tb = 2\n```\n\n1. item\n   ```sh\n   ls -l\n   ```\n\n```\nunclosed\nfence"
    async with running([Entry(1, "assistant", "model", source)], (50, 24)) as (app, transcript, pilot):
        await pilot.press("2")
        assert copied(app) == []
        await pilot.press("c")
        labels = [row for row in screen_rows(transcript) if row.split()[:1] in (["python"], ["sh"], ["code"])]
        assert [label.split() for label in labels] == [["python", "1"], ["sh", "2"], ["code", "3"]]
        await pilot.press("1", "c", "2", "c", "3")
        await pilot.pause()
        assert copied(app) == [
            ("code block", "a = 1\n\tb = 2"),
            ("code block", "ls -l"),
            ("code block", "unclosed\nfence"),
        ]
        await pilot.press("c", "escape", "1")
        await pilot.pause()
        assert len(copied(app)) == 3
        assert "python" in screen_rows(transcript)[1] and "1" not in screen_rows(transcript)[1]


async def test_find_goes_to_matches_in_entries_that_were_never_rendered() -> None:
    entries = conversation(200)
    entries[20].text = "plain needle in a question"
    entries[21].text = "an **emphasised nee**dle, and a Needle again"
    entries[150].text = "the last needle"
    async with running(entries) as (_, transcript, _pilot):
        transcript.action_scroll_to_top()
        assert transcript.find("needle") == 4
        assert "plain needle" in "\n".join(screen_rows(transcript))
        finder = transcript._finder
        assert finder is not None
        seen = []
        for _ in range(4):
            seen.append((finder.ordinal, finder.match and finder.match.entry))
            assert transcript.find_next()
        assert seen == [(1, 20), (2, 21), (3, 21), (4, 150)]
        assert finder.ordinal == 1, "round the end"
        assert transcript.find_previous()
        assert "the last needle" in "\n".join(screen_rows(transcript))
        assert transcript.find("no such words") == 0
        assert not transcript.find_next()
        assert transcript.find("NEEDLE   again") == 1
        transcript.clear_find()
        assert not transcript.find_next()


async def test_matches_are_marked_also_across_a_soft_wrap() -> None:
    async with running([Entry(1, "assistant", "m", "word " * 12 + "needle " + "word " * 5)], (64, 10)) as (
        _,
        transcript,
        _pilot,
    ):
        plain = [list(strip) for strip in transcript.render_lines(transcript.size.region)]
        assert transcript.find("word needle") == 1
        marked = [list(strip) for strip in transcript.render_lines(transcript.size.region)]
        assert [y for y in range(len(plain)) if plain[y] != marked[y]] in ([1], [2], [1, 2])


async def test_dropping_entries_leaves_selection_and_numbers() -> None:
    async with running([*conversation(6), Entry(6, "assistant", "m", "```\ncode\n```")]) as (app, transcript, pilot):
        await pilot.press("v", "k", "c")
        transcript.find("message 5")
        transcript.truncate_after(2)
        await settled(pilot)
        assert transcript.text_selection is None
        await pilot.press("1", "v", "j", "y")
        assert transcript.find_next() is False
        assert [what for what, _ in copied(app)] == ["selection"]
