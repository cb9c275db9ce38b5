"""The dialogs, by keyboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual import events
from textual.app import App
from textual.content import Content
from textual.screen import ModalScreen

from hugchat_tui.common.dialogs import ChoiceDialog, ConfirmDialog, TextDialog

CHOICES = [("w", "Wait for it, then quit"), ("s", "[/bold] Stop it"), ("j", "Stay")]


class DialogApp(App[None]):
    def __init__(self, make: Callable[[], ModalScreen[Any]]) -> None:
        super().__init__()
        self.make = make
        self.results: list[object] = []

    def on_mount(self) -> None:
        self.dialog = self.make()
        self.push_screen(self.dialog, self.results.append)


def delete_dialog() -> ConfirmDialog:
    return ConfirmDialog("Delete [/bold]", Content("[/b] goes."), confirm="Delete", cancel="Keep", danger=True)


def system_dialog() -> TextDialog:
    return TextDialog("System prompt", "one", multiline=True)


def needs_a_word(text: str) -> str | None:
    return None if text.strip() else "A title needs a word."


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (("enter",), False),
        (("left", "enter"), True),
        (("tab", "enter"), True),
        (("d",), True),
        (("k",), False),
        (("escape",), False),
    ],
)
async def test_a_dangerous_question_starts_at_the_safe_answer(keys: tuple[str, ...], answer: bool) -> None:
    app = DialogApp(delete_dialog)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        assert app.results == [answer]


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (160, 48)])
async def test_a_dialog_fits_the_screen_and_shows_markup_as_text(size: tuple[int, int]) -> None:
    app = DialogApp(delete_dialog)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        box = app.dialog.query_one("Vertical")
        assert app.dialog.region.contains_region(box.region)
        assert "[/bold]" in str(app.dialog.query_one("Vertical")._border_title)
        assert "[/b] goes." in str(app.dialog.query_one(".dialog-body").render())


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (("s",), "s"),
        (("j",), "j"),
        (("down", "enter"), "s"),
        (("enter",), "w"),
        (("q", "escape"), None),
    ],
)
async def test_a_choice_is_made_by_its_letter_or_by_moving(keys: tuple[str, ...], answer: str | None) -> None:
    app = DialogApp(lambda: ChoiceDialog("An answer is being written", CHOICES))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        assert app.results == [answer]


async def test_a_line_of_text_is_edited_and_checked() -> None:
    app = DialogApp(lambda: TextDialog("Rename", "old [/b]", check=needs_a_word))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("backspace", "enter")
        assert app.results == []
        assert "A title needs a word." in str(app.dialog.query_one(".dialog-problem").render())
        app.post_message(events.Paste("new\r\n[/b] \x1btitle"))
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert app.results == ["new [/b] \u241btitle"]


async def test_several_lines_of_text_as_in_the_prompt() -> None:
    app = DialogApp(system_dialog)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+j", "t", "w", "o")
        app.post_message(events.Paste("\r\nthree\x1b"))
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert app.results == ["one\ntwo\nthree\u241b"]


async def test_changed_lines_are_dropped_only_by_a_second_escape() -> None:
    app = DialogApp(system_dialog)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("x", "escape")
        await pilot.pause()
        assert app.results == []
        await pilot.press("y", "escape")
        await pilot.pause()
        assert app.results == [], "typing on takes the first escape back"
        await pilot.press("escape")
        await pilot.pause()
        assert app.results == [None]


async def test_unchanged_lines_are_left_by_one_escape() -> None:
    app = DialogApp(system_dialog)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("escape")
        await pilot.pause()
        assert app.results == [None]
