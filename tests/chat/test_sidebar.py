"""The list of conversations."""

from __future__ import annotations

import time

import pytest
from textual import on
from textual.app import App, ComposeResult
from textual.message import Message

from hugchat_tui.chat.sidebar import Sidebar
from hugchat_tui.common.line_list import NO_ROW
from hugchat_tui.conversations.model import Conversation

DAY = 86_400.0
NOON = time.mktime((2026, 3, 18, 12, 0, 0, 0, 0, -1))


def conversation(number: int, title: str, age: float) -> Conversation:
    return Conversation(number, title, NOON - age, NOON - age)


CONVERSATIONS = [
    conversation(1, "[/bold] [@click=app.bell]inert", 60),
    conversation(2, "你好世界你好世界你好世界你好世界你好世界", 3600),
    conversation(3, "\x1b]52;c;eA==\x07evil", DAY),
    conversation(4, "", 3 * DAY),
    conversation(5, "old", 30 * DAY),
]


class SidebarApp(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.sidebar = Sidebar()
        self.asked: list[tuple[str, int | None]] = []

    def compose(self) -> ComposeResult:
        yield self.sidebar

    def on_mount(self) -> None:
        self.sidebar.focus()

    @on(Sidebar.Selected)
    @on(Sidebar.RenameRequested)
    @on(Sidebar.DeleteRequested)
    @on(Sidebar.NewRequested)
    def keep(self, message: Message) -> None:
        self.asked.append((type(message).__name__, getattr(message, "conversation_id", None)))

    def lines(self) -> list[str]:
        height = self.sidebar.content_size.height
        return [self.sidebar.render_line(y).text for y in range(height)]


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_conversations_stand_under_their_age_one_line_each(size: tuple[int, int]) -> None:
    app = SidebarApp()
    async with app.run_test(size=size):
        app.sidebar.set_conversations(CONVERSATIONS, NOON)
        lines = [line.strip() for line in app.lines()]
        assert lines[0] == "Today"
        assert lines[1].startswith("[/bold] [@click=app.bell]"), "markup is text"
        assert lines[2].endswith("…"), "wide characters are cut by their cells"
        assert lines[3:5] == ["", "Yesterday"]
        assert lines[5] == "\u241b]52;c;eA==\u2407evil"
        assert lines[7:9] == ["This week", "New conversation"]
        assert lines[10:12] == ["Older", "old"]
        assert all(app.sidebar.render_line(y).cell_length == 30 for y in range(20))


async def test_keys_move_over_headings_and_ask_for_what_they_say() -> None:
    app = SidebarApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.sidebar.set_conversations(CONVERSATIONS, NOON)
        await pilot.press("j", "j", "enter", "r", "d", "n", "k", "enter", "end", "enter", "home", "enter")
        assert app.asked == [
            ("Selected", 3),
            ("RenameRequested", 3),
            ("DeleteRequested", 3),
            ("NewRequested", None),
            ("Selected", 2),
            ("Selected", 5),
            ("Selected", 1),
        ]


async def test_a_click_opens_a_conversation_and_a_heading_does_nothing() -> None:
    app = SidebarApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.sidebar.set_conversations(CONVERSATIONS, NOON)
        await pilot.click(Sidebar, offset=(5, 1))
        await pilot.click(Sidebar, offset=(5, 3))
        assert app.asked == [("Selected", 2)]


async def test_the_cursor_stays_on_its_conversation_when_the_list_changes() -> None:
    app = SidebarApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.sidebar.set_conversations(CONVERSATIONS, NOON)
        await pilot.press("j", "j")
        app.sidebar.set_conversations([conversation(9, "new", 0), *CONVERSATIONS], NOON)
        await pilot.press("enter")
        assert app.asked == [("Selected", 3)]
        app.sidebar.set_conversations([], NOON)
        assert app.sidebar.cursor == NO_ROW
        await pilot.press("enter", "r", "d")
        assert len(app.asked) == 1


async def test_marks_for_the_current_the_streaming_and_the_unread() -> None:
    app = SidebarApp()
    async with app.run_test(size=(80, 24)):
        assert "".join(app.lines()).strip() == "", "before the store was asked nothing is claimed"
        app.sidebar.set_conversations([], NOON)
        assert "No conversations yet." in app.lines()[0]
        app.sidebar.set_conversations(CONVERSATIONS, NOON)
        app.sidebar.set_current(1)
        app.sidebar.set_streaming({3})
        app.sidebar.set_unread({5})
        lines = app.lines()
        assert lines[1].startswith("▌")
        assert lines[5].startswith(" ●")
        assert lines[11].startswith(" •")
        assert not lines[2].startswith("▌")


async def test_rows_for_the_jump_overlay_are_those_in_view() -> None:
    app = SidebarApp()
    async with app.run_test(size=(80, 12)) as pilot:
        app.sidebar.set_conversations([conversation(n, str(n), 0) for n in range(1, 200)], NOON)
        rows = app.sidebar.jump_rows()
        assert rows[0][0] == 1
        assert len(rows) == app.sidebar.content_size.height - 1
        await pilot.press("end")
        await pilot.pause()
        number, offset = app.sidebar.jump_rows()[-1]
        assert number == 199
        assert offset.y == app.sidebar.content_region.bottom - 1
