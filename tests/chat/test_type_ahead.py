"""Over a slow line many keys arrive at once: each goes where it was meant to go."""

from __future__ import annotations

from textual.widgets import Input

from hugchat_tui.chat.search_screen import SearchScreen
from tests.chat.driving import Home, chat


async def test_the_models_name_behind_the_key_of_the_picker(home: Home) -> None:
    async with chat(home) as it:
        path = home.model("beta")
        it.type_ahead("d", "o", "ctrl+t", *path, "enter")
        await it.until(lambda: it.session.model.reference == path, "beta")
        assert it.view.prompt.text == "do"


async def test_the_query_behind_the_key_of_the_search(home: Home) -> None:
    async with chat(home) as it:
        it.type_ahead("ctrl+r", *"word")
        await it.until(lambda: isinstance(it.app.screen, SearchScreen), "the search")
        await it.until(lambda: it.app.screen.query_one(Input).value == "word", "the query")
        assert it.view.prompt.text == ""


async def test_words_to_find_go_to_the_find_bar(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say needle")
        it.type_ahead("ctrl+f", *"needle")
        await it.until(lambda: "of 2" in it.text(), "the matches")
        assert it.view.prompt.text == ""


async def test_a_dialog_that_does_not_open_costs_no_key(home: Home) -> None:
    async with chat(home) as it:
        it.screen.action_rename_conversation()  # there is nothing to rename
        it.type_ahead(*"say")
        await it.until(lambda: it.view.prompt.text == "say", "the keys")
        await it.ask(" fine")
        it.screen.action_rename_conversation()
        it.type_ahead(*"Another", "enter")
        await it.until(lambda: it.session.title == "Another", "the new title")
