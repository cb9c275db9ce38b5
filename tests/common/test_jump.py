"""The jump overlay."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Offset
from textual.widgets import Button

from hugchat_tui.common.jump import (
    Jump,
    JumpCommand,
    JumpOverlay,
    JumpToThing,
    JumpToWidget,
    NumberedThing,
    letters_for,
)


class Part(Button):
    jump_label = "p"


class JumpApp(App[None]):
    CSS = "#gone { display: none; }"

    def __init__(self, things: list[NumberedThing]) -> None:
        super().__init__()
        self.things = things
        self.results: list[Jump | None] = []

    def compose(self) -> ComposeResult:
        yield Part("one", id="one")
        yield Part("two", id="two")
        yield Part("hidden", id="gone")
        yield Button("not jumpable")

    def open(self) -> None:
        self.push_screen(JumpOverlay(self.screen, self.things), self.results.append)


THINGS = [NumberedThing(40, "seen", Offset(3, 5)), NumberedThing(41, "[/bold]\x1b unseen")]


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("1", JumpToThing(40)),
        ("2", JumpToThing(41)),
        ("3", None),
        ("h", JumpCommand("sidebar")),
        ("z", JumpCommand("zoom")),
        ("x", JumpCommand("close")),
        ("escape", None),
        ("ctrl+o", None),
    ],
)
async def test_a_key_ends_the_overlay_with_where_to_go(key: str, target: Jump | None) -> None:
    app = JumpApp(THINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        app.open()
        await pilot.pause()
        await pilot.press(key)
        await pilot.pause()
        assert app.results == [target]


async def test_widgets_get_a_letter_each_drawn_where_they_stand() -> None:
    app = JumpApp(THINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        app.open()
        await pilot.pause()
        labels = {str(label.render()): label.region.offset for label in app.screen.query(".jump-label")}
        one, two = app.screen_stack[0].query_one("#one"), app.screen_stack[0].query_one("#two")
        assert labels == {"p": one.region.offset, "a": two.region.offset, "1": Offset(3, 5)}
        keys = str(app.screen.query_one("#jump-keys").render())
        assert "2 [/bold]\u241b unseen" in keys
        await pilot.press("a")
        await pilot.pause()
        assert app.results == [JumpToWidget(two)]


def test_letters_are_unique_and_never_a_command() -> None:
    letters = letters_for(["p", "t", "p", "z", "t", "a"])
    assert letters[:2] == ["p", "t"]
    assert letters[5] == "a", "nobody is given a letter that somebody else asked for"
    assert len(set(letters)) == 6
    assert not set(letters) & set("hzx")
