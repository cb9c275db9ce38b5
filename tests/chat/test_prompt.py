"""The prompt, driven by real key names."""

from __future__ import annotations

import asyncio

import pytest
from textual import events, on
from textual._xterm_parser import XTermParser
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Button

from hugchat_tui.chat.commands import Command
from hugchat_tui.chat.prompt import Prompt
from hugchat_tui.chat.prompt_box import CommandMenu, PromptBox

LARGE = "".join(f"line {number} of a long paste\r\n" for number in range(4000))
LARGE_SENT = LARGE.replace("\r\n", "\n")
COMMANDS = [
    Command("/new", "Start a new conversation"),
    Command("/model", "Choose the checkpoint", "NAME"),
    Command("/quit", "[/bold] Leave"),
]


class PromptApp(App[None]):
    CSS = "PromptBox { dock: bottom; }"

    def __init__(self) -> None:
        super().__init__()
        self.prompt = Prompt()
        self.sent: list[Prompt.Sent] = []
        self.drafts: list[tuple[int | None, str]] = []
        self.left = 0
        self.drafted = asyncio.Event()

    def compose(self) -> ComposeResult:
        yield Button("other", id="other")
        yield PromptBox(self.prompt)

    def on_mount(self) -> None:
        self.prompt.set_commands(COMMANDS)
        self.prompt.focus()

    @on(Prompt.Sent)
    @on(Prompt.DraftChanged)
    @on(Prompt.LeaveUp)
    def keep(self, message: Message) -> None:
        if isinstance(message, Prompt.Sent):
            self.sent.append(message)
        elif isinstance(message, Prompt.DraftChanged):
            self.drafts.append((message.owner, message.text))
            self.drafted.set()
        else:
            self.left += 1

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.sent]


async def paste(pilot: Pilot[None], text: str) -> None:
    pilot.app.post_message(events.Paste(text))
    await pilot.pause()


async def test_enter_sends_the_exact_text_and_empties_the_prompt() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await paste(pilot, "  你好 👨‍👩‍👧 [/bold]")
        await pilot.press("ctrl+j", "x", "enter")
        assert app.texts == ["  你好 👨‍👩‍👧 [/bold]\nx"]
        assert app.prompt.text == ""
        await pilot.press("space", "enter")
        assert len(app.texts) == 1, "blank text is not sent"
        assert app.prompt.text == " ", "and it stays"


@pytest.mark.parametrize(
    "sent",
    ["\n", "\x1b\r", "\x1b[13;2u", "\x1b[13;3u", "\x1b[27;2;13~", "\x1b[27;3;13~"],
    ids=["ctrl+j", "ESC CR", "kitty shift", "kitty alt", "xterm shift", "xterm alt"],
)
async def test_what_terminals_send_for_a_new_line_is_a_new_line(sent: str) -> None:
    """Textual reads ESC CR as enter: alt+enter sent half a message."""
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a")
        for event in XTermParser().feed(sent):
            app.post_message(event)
        await pilot.pause()
        await pilot.press("b")
        assert app.prompt.text == "a\nb"
        assert app.sent == []


async def test_a_keymap_can_swap_sending_and_new_lines() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.set_keymap({"prompt.send": "ctrl+j", "prompt.newline": "enter"})
        await pilot.press("a", "enter", "b", "ctrl+j")
        assert app.texts == ["a\nb"]


async def test_a_space_key_without_its_character_is_a_space() -> None:
    """With the Kitty protocol some terminals send the space bar as a bare key: words ran together."""
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a")
        app.post_message(events.Key("space", None))
        await pilot.pause()
        await pilot.press("b")
        assert app.prompt.text == "a b"


async def test_the_prompt_grows_with_its_text_up_to_ten_lines() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        heights = []
        for _ in range(13):
            heights.append(app.prompt.content_size.height)
            await pilot.press("ctrl+j")
        assert heights[:3] == [1, 2, 3]
        assert max(heights) == 10
        assert app.prompt.region.bottom == 24


async def test_wide_characters_wrap_by_their_cells() -> None:
    app = PromptApp()
    async with app.run_test(size=(40, 24)) as pilot:
        await paste(pilot, "世界" * 12 + "🍜" * 12)
        await pilot.pause()
        assert app.prompt.content_size.height == 3
        rows = [app.prompt.render_line(y) for y in range(3)]
        assert all(row.cell_length == app.prompt.content_size.width for row in rows)
        assert "".join(row.text.strip() for row in rows) == app.prompt.text


# History


async def test_history_keeps_the_draft_and_what_was_edited_on_the_way() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.prompt.set_history(["oldest", "two\nlines"])
        await pilot.press("d", "r", "up")
        assert app.prompt.text == "two\nlines"
        assert app.prompt.draft == "dr", "what is stored is the draft, not the entry that is looked at"
        await pilot.press("up", "up")
        assert app.prompt.text == "oldest"
        await pilot.press("exclamation_mark", "down")
        assert app.prompt.text == "two\nlines"
        await pilot.press("up", "up")
        assert app.prompt.text == "oldest!", "an edited entry keeps its edit until something is sent"
        await pilot.press("down", "down", "down")
        assert app.prompt.text == "dr"
        assert app.left == 0


async def test_up_beyond_the_oldest_entry_leaves_with_the_draft_in_place() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.prompt.set_history(["only"])
        await pilot.press("d", "up", "up")
        assert app.left == 1
        assert app.prompt.text == "d"
        app.prompt.set_history([])
        app.prompt.restore("")
        await pilot.press("up")
        assert app.left == 2, "with an empty draft and no history as well"


async def test_up_moves_between_the_rows_of_a_wrapped_line_first() -> None:
    app = PromptApp()
    async with app.run_test(size=(40, 24)) as pilot:
        app.prompt.set_history(["older"])
        await paste(pilot, "word " * 20)
        await pilot.press("up", "up")
        assert app.prompt.text == "word " * 20
        await pilot.press("up")
        assert app.prompt.text == "older"


# Pastes


async def test_a_large_paste_is_a_chip_and_is_sent_whole() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "space")
        await paste(pilot, LARGE)
        assert app.prompt.text == f"a [pasted #1: {len(LARGE_SENT):,} characters, 4,001 lines]"
        await pilot.press("space", "b", "enter")
        assert app.texts == [f"a {LARGE_SENT} b"]


async def test_a_small_paste_is_cleaned_and_its_line_ends_are_normalised() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await paste(pilot, "a\r\nb\rc\x1b]52;c;eA==\x07\u202e")
        assert app.prompt.text.startswith("a\nb\nc\u241b]52;c;eA==")
        assert not {"\x1b", "\x07", "\r", "\u202e"} & set(app.prompt.text)


async def test_a_chip_is_deleted_as_one_and_undo_brings_all_of_it_back() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a")
        await paste(pilot, LARGE)
        await pilot.press("backspace")
        assert app.prompt.text == "a"
        await pilot.press("ctrl+z", "enter")
        assert app.texts == ["a" + LARGE_SENT]


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        (("left", "x"), "ax[pasted"),
        (("ctrl+left", "x"), "ax[pasted"),
        (("left", "delete"), "a"),
        (("ctrl+w",), "a"),
        (("shift+left", "x"), "ax"),
    ],
)
async def test_no_key_can_break_a_chip(keys: tuple[str, ...], left: str) -> None:
    """A chip that lost a character would be sent as its label, and the paste would be gone."""
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a")
        await paste(pilot, LARGE)
        await pilot.press(*keys)
        assert app.prompt.text.startswith(left)
        assert ("[pasted" in app.prompt.text) == (LARGE_SENT in app.prompt.full_text)


async def test_a_click_into_a_chip_cannot_break_it() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await paste(pilot, LARGE)
        await pilot.click(Prompt, offset=(12, 1))
        await pilot.press("x")
        assert LARGE_SENT in app.prompt.full_text


async def test_copying_a_chip_copies_its_text() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await paste(pilot, LARGE)
        await pilot.press("alt+a", "ctrl+c")
        assert app.clipboard == LARGE_SENT
        await pilot.press("ctrl+x")
        assert app.prompt.text == ""
        await pilot.press("ctrl+v", "enter")
        assert app.texts == [LARGE_SENT]


async def test_a_label_that_was_typed_by_hand_is_just_text() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await paste(pilot, LARGE)
        await paste(pilot, "[pasted #7: 3 characters, 1 line]")
        await pilot.press("enter")
        assert app.texts == [LARGE_SENT + "[pasted #7: 3 characters, 1 line]"]


# Drafts


async def test_a_draft_with_a_chip_survives_being_stored() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "space")
        await paste(pilot, LARGE)
        draft, shown = app.prompt.draft, app.prompt.text
        assert isinstance(draft, str)
        app.prompt.restore("")
        app.prompt.restore(draft)
        assert app.prompt.text == shown
        assert app.prompt.draft == draft
        await pilot.press("enter")
        assert app.texts == ["a " + LARGE_SENT]
        app.prompt.restore(app.sent[0].draft)
        assert app.prompt.text == shown, "what the screen refused comes back as it was"


async def test_a_huge_text_from_an_editor_becomes_a_chip() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)):
        app.prompt.restore(LARGE_SENT)
        assert app.prompt.text.startswith("[pasted #1")
        assert app.prompt.full_text == LARGE_SENT


async def test_the_draft_is_announced_once_while_typing_goes_on() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.prompt.switch(7, "")
        await pilot.press("h", "i")
        await asyncio.wait_for(app.drafted.wait(), 10)
        assert app.drafts == [(7, "hi")]


async def test_switching_announces_the_old_draft_under_its_own_owner() -> None:
    """Announced later, the draft would have been saved in the conversation that was switched to."""
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.prompt.switch(1, "")
        await pilot.press("o", "n", "e")
        app.prompt.switch(2, "two")
        await pilot.pause()
        app.prompt.flush_draft()
        await pilot.pause()
        assert app.drafts == [(1, "one")], "what was only just stored is not announced again"
        assert app.prompt.text == "two"
        app.drafted.clear()
        await pilot.press("exclamation_mark")
        await asyncio.wait_for(app.drafted.wait(), 10)
        assert app.drafts == [(1, "one"), (2, "two!")]


async def test_losing_the_focus_announces_the_draft_at_once() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("x", "tab")
        await pilot.pause()
        assert app.drafts == [(None, "x")]


async def test_a_cleared_draft_comes_back_by_undo() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await paste(pilot, "one\ntwo\n" + "three " * 60)
        text = app.prompt.text
        app.prompt.clear_draft()
        await pilot.pause()
        assert app.prompt.text == ""
        await pilot.press("ctrl+z")
        assert app.prompt.text == text
        assert app.prompt.take() == text
        assert app.prompt.text == ""


async def test_redo_may_take_the_scroll_bar_away() -> None:
    """Textual #6687: the cursor stood on a line that was no more, and the whole app ended with a traceback."""
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await paste(pilot, "line\n" * 30)
        await pilot.pause()
        app.prompt.clear_draft()
        await pilot.press("ctrl+z")
        await pilot.pause()
        assert app.prompt.text == "line\n" * 30
        await pilot.press("ctrl+y")
        await pilot.pause()
        assert app.prompt.text == ""
        await pilot.press("x", "enter")
        assert app.texts == ["x"]


# Commands


async def test_a_slash_lists_commands_and_tab_completes() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash")
        await pilot.pause()
        menu = app.query_one(CommandMenu)
        assert menu.display
        assert menu.region.bottom == app.prompt.region.y, "the list stands right above the prompt"
        await pilot.press("m", "o", "tab")
        assert app.prompt.text == "/model "
        await pilot.pause()
        assert not menu.display
        await pilot.press("x", "enter")
        assert app.texts == ["/model x"]


async def test_enter_runs_the_highlighted_command_and_down_moves_to_another() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", "down", "down", "enter")
        assert app.texts == ["/quit"]


async def test_escape_closes_the_list_and_only_then_reaches_the_screen() -> None:
    app = PromptApp()
    escapes = []
    app.bind("escape", "note_escape")
    app.action_note_escape = lambda: escapes.append(1)  # type: ignore[attr-defined]
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", "escape")
        await pilot.pause()
        assert not app.query_one(CommandMenu).display
        assert escapes == []
        await pilot.press("n", "escape")
        assert not app.query_one(CommandMenu).display, "it stays closed for this draft"
        assert escapes == [1]
        await pilot.press("enter")
        assert app.texts == ["/n"]


async def test_a_path_is_not_taken_for_a_command() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await paste(pilot, "/usr/bin/env")
        await pilot.press("enter")
        assert app.texts == ["/usr/bin/env"]


async def test_tab_without_a_list_moves_the_focus() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("x", "tab")
        assert app.focused is app.query_one("#other")
        assert app.prompt.text == "x"


async def test_keys_typed_ahead_act_in_the_order_they_were_typed() -> None:
    """A burst over a slow line: "^u, text" emptied the prompt, and "question, enter, more" sent both as one."""
    app = PromptApp()
    async with app.run_test() as pilot:
        app.prompt.restore("old")
        burst = [("ctrl+u", None), *((letter, letter) for letter in "first"), ("enter", "\r")]
        for key, character in [*burst, *((letter, letter) for letter in "next")]:
            app.post_message(events.Key(key, character))
        await pilot.pause()
        assert [message.text for message in app.sent] == ["first"]
        assert app.prompt.text == "next"
