"""The application around the chat screen: quitting, ^c, themes, keymap, palette, commands, a database that fails."""

from __future__ import annotations

import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.command import CommandPalette
from textual.widgets import Input, OptionList

from hugchat_tui.actions import ACTIONS
from hugchat_tui.app import HugChatApp
from hugchat_tui.common.dialogs import ChoiceDialog
from hugchat_tui.common.help import HelpScreen
from hugchat_tui.conversations.errors import DatabaseUnusableError
from hugchat_tui.conversations.store import Store
from hugchat_tui.settings.schema import AppearanceSettings, ModelSettings, Settings
from tests.chat.driving import Chat, Home, chat, usual

_REPLY = "SELECT content, json_extract(reply, '$.ended') FROM messages WHERE role = 'assistant'"


async def over(it: Chat) -> None:
    await it.until(lambda: it.app._exit, "the app to end")


async def choose_in_palette(it: Chat, words: str) -> None:
    """Choose the one thing that matches, in the palette that is opening."""
    await it.until(lambda: isinstance(it.app.screen, CommandPalette), "the palette")
    it.app.screen.query_one(Input).value = words
    found = it.app.screen.query_one(OptionList)
    await it.until(lambda: found.option_count == 1 and words in it.text().split(words, 1)[1], "the one that matches")
    await it.press("down", "enter")
    await it.until(lambda: not isinstance(it.app.screen, CommandPalette), "the palette to close")


async def test_interrupt_copies_then_stops_then_clears_then_quits(home: Home) -> None:
    async with chat(home) as it:
        await it.begin("gate", "word")
        it.view.transcript.focus()
        await it.press("g", "v", "ctrl+c")
        assert it.app.clipboard == "You"
        assert "Copied." in it.notices()
        assert it.session.busy, "copying stops nothing"

        it.view.focus_prompt()
        await it.write("my draft")
        await it.press("ctrl+c")
        await it.settled()
        assert it.view.prompt.text == "my draft", "stopping comes before clearing"
        assert it.session.branch[-1].content == "word "

        it.app._interrupted_at = 0.0  # as after two seconds
        await it.press("ctrl+c")
        assert it.view.prompt.text == ""
        await it.press("ctrl+z")
        assert it.view.prompt.text == "my draft"
        await it.press("ctrl+c")
        await over(it)
    with closing(sqlite3.connect(home.database)) as database:
        assert database.execute("SELECT draft FROM conversations").fetchone() == ("my draft",)


@pytest.mark.parametrize(("key", "ended"), [("w", "done"), ("s", "stopped")])
async def test_quitting_while_an_answer_is_written_asks_and_keeps_what_there_is(
    home: Home, key: str, ended: str
) -> None:
    async with chat(home) as it:
        await it.begin("gate", "word")
        for stay in ("c", "escape", "ctrl+q"):
            await it.press("ctrl+q")
            await it.until(lambda: isinstance(it.app.screen, ChoiceDialog), "the question")
            await it.press(stay)
            await it.until(lambda: not isinstance(it.app.screen, ChoiceDialog), "the chat")
        assert it.session.busy
        await it.press("ctrl+n")  # the question is about answers in hidden tabs as well
        await it.until(lambda: not it.session.branch)
        await it.press("ctrl+q")
        await it.until(lambda: isinstance(it.app.screen, ChoiceDialog), "the question")
        await it.press(key)
        if key == "w":
            await it.until(lambda: "The app closes when the answer is complete." in it.notices())
            home.open("gate")
        await over(it)
    with closing(sqlite3.connect(home.database)) as database:
        content, how = database.execute(_REPLY).fetchone()
    assert (content, how) == ("word and the end." if key == "w" else "word ", ended)


async def test_a_chosen_theme_is_kept_in_the_settings(home: Home) -> None:
    config = home.config / "config.toml"
    config.write_text("# mine\n[sampling]\ntemperature = 0.5\n")
    async with chat(home) as it:
        await it.send("/theme")
        await choose_in_palette(it, "hugchat-light")
        await it.until(lambda: it.app.theme == "hugchat-light", "the theme")
        await it.until(lambda: "hugchat-light" in config.read_text(), "the file")
    document = tomllib.loads(config.read_text())
    assert document == {"sampling": {"temperature": 0.5}, "appearance": {"theme": "hugchat-light"}}
    assert config.read_text().startswith("# mine")


async def test_a_theme_from_a_flag_is_not_written_to_the_settings(home: Home) -> None:
    flags = Settings(model=ModelSettings(home.model("alpha")), appearance=AppearanceSettings(theme="high-contrast"))
    async with chat(home, settings=flags) as it:
        assert it.app.theme == "high-contrast"
        await it.ask("say one")
    assert not (home.config / "config.toml").exists()


async def test_the_keymap_changes_keys_and_its_mistakes_are_named(home: Home) -> None:
    keymap = {"chat.new": "ctrl+e", "chat.stop": "f10", "chat.nwe": "f12", "chat.find": "ctrl+r"}
    settings = Settings(model=ModelSettings(home.model("alpha")), keymap=keymap)
    async with chat(home, settings=settings) as it:
        await it.until(lambda: len(it.notices()) == 2, "the mistakes")
        assert "[keymap] chat.nwe is not a binding; did you mean chat.new?" in it.notices()
        assert "[keymap] ctrl+r stands for chat.find and chat.search; only one of them has it now." in it.notices()
        await it.begin("gate", "word")
        assert "f10 Stop" in it.text()
        await it.press("f10")
        await it.settled()
        assert it.session.branch[-1].content == "word "
        it.view.transcript.focus()
        await it.press("ctrl+e")
        await it.until(lambda: not it.session.branch)


async def test_mistakes_in_the_settings_are_shown(home: Home) -> None:
    app = HugChatApp(usual(home), ['config.toml line 3: [chat] tempreature is not a setting; "[/bold]".'])
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        it = Chat(home, app, pilot)
        await it.until(lambda: app.chat is not None and "tempreature" in it.text(), "the mistake")
        assert '"[/bold]"' in it.text()
        await app.services.close()


async def test_the_palette_lists_every_action_and_runs_them(home: Home) -> None:
    async with chat(home) as it:
        listed = {command.title for command in it.app.get_system_commands(it.app.screen)}
        assert listed == {action.title for action in ACTIONS if action.id != "app.palette"}
        await it.ask("say one")
        await it.press("ctrl+p")
        await choose_in_palette(it, "Regenerate")
        await it.until(lambda: it.session.branch[-1].id == 3, "another answer")
        await it.settled()


@pytest.mark.parametrize("state", ["empty", "writing", "split"])
async def test_every_action_can_be_taken_at_any_time(home: Home, state: str) -> None:
    """From the palette or as a slash command; what opens is left by escape, and the app goes on."""
    async with chat(home) as it:
        if state == "split":
            await it.ask("say one")
            await it.send("/pane-split-right")
            await it.until(lambda: it.screen.panes.is_split)
        if state == "writing":
            await it.begin("gate", "word")
        for action in ACTIONS:
            if action.id not in {"app.quit", "app.interrupt"}:
                await it.app.run_listed_action(action)
                await it.pilot.pause()
                while len(it.app.screen_stack) > 1:
                    await it.press("escape")
        home.open("gate")
        await it.app.switch_mode("chat")
        await it.settled()
        it.view.focus_prompt()
        it.view.prompt.restore("")
        assert await it.ask("say still here") == "still here"


async def test_tabs_and_footer_answer_to_the_mouse(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        await it.pilot.click(it.screen.key_bar, offset=(it.text().splitlines()[-1].index("^n") + 1, 0))
        await it.until(lambda: len(it.screen.panes.tabs) == 2, "a new conversation")
        await it.pilot.click(it.screen.tab_bar, offset=(3, 0))
        await it.until(lambda: it.session.title == "say one", "the first tab")


@pytest.mark.parametrize("theme", ["hugchat-light", "high-contrast", "ansi"])
async def test_the_screen_fits_every_size_in_every_theme(home: Home, theme: str) -> None:
    settings = Settings(model=ModelSettings(home.model("alpha")), appearance=AppearanceSettings(theme=theme))
    async with chat(home, size=(160, 48), settings=settings) as it:
        await it.ask("say one")
        for columns, rows in ((80, 24), (250, 70), (100, 30), (99, 30)):
            await it.pilot.resize_terminal(columns, rows)
            await it.until(lambda: it.screen.size == (columns, rows))  # noqa: B023 - awaited here
            await it.pilot.pause()
            lines = it.text().splitlines()
            assert len(lines) == rows and {cell_len(line) for line in lines} == {columns}
            assert "Send" in lines[-1] and "f1 Help" in lines[-1]
            assert "● alpha" in lines[-2] and "3/1,000" in lines[-2]
            assert bool(it.screen.sidebar.size.width) == (columns >= 100)


async def test_help_names_the_keys_of_what_has_the_focus(home: Home) -> None:
    async with chat(home, size=(120, 40)) as it:
        await it.press("f1")
        await it.until(lambda: isinstance(it.app.screen, HelpScreen) and "Keys · Prompt" in it.text(), "the keys")
        await it.press(*"checkpoint")
        await it.until(lambda: "Choose the checkpoint that answers here" in it.text(), "a key of the screen")
        await it.press("escape")
        await it.ask("say one")
        it.view.transcript.focus()
        await it.press("f1")
        await it.until(lambda: "Answer again, keeping this answer" in it.text(), "its keys")


async def test_clear_begins_anew_and_keeps_the_old_conversation(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        await it.send("<clear>")
        await it.until(lambda: not it.session.branch)
        assert len(it.screen.panes.tabs) == 1
        assert [each.title for each in await it.app.services.store.list_conversations()] == ["say one"]
        assert await it.ask("history") == '[["user", "history"]]'


async def test_the_draft_is_edited_in_an_editor_or_the_reason_is_said(home: Home) -> None:
    async with chat(home) as it:
        await it.write("draft")
        await it.press("ctrl+g")
        await it.until(it.notices, "a reason")
        assert it.view.prompt.text == "draft"


# A database that fails


async def test_a_database_from_a_newer_version_is_said_and_what_is_typed_stays(home: Home) -> None:
    Store(home.database).close()
    with closing(sqlite3.connect(home.database)) as database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        database.execute(f"PRAGMA user_version = {version + 1}")
    async with chat(home, loaded=False) as it:
        await it.until(lambda: "written by a newer HugChat" in " ".join(it.text().split()), "the reason")
        await it.send("my question")
        await it.until(lambda: it.view.prompt.text == "my question", "the question to come back")
        for key in ("ctrl+r", "ctrl+n", "f7", "ctrl+t", "escape"):
            await it.press(key)
        assert "written by a newer HugChat" in " ".join(it.text().split())

        # Put right meanwhile: the next question is asked, and everything is there.
        with closing(sqlite3.connect(home.database)) as database:
            database.execute(f"PRAGMA user_version = {version}")
        it.view.focus_prompt()
        it.view.prompt.restore("say fine")
        await it.press("enter")
        await it.settled()
        await it.until(lambda: it.session.branch and it.session.branch[-1].content == "fine", "the answer")
        assert "say fine" in [entry.text for entry in it.screen.sidebar._entries]


async def test_quitting_asks_when_what_was_typed_cannot_be_stored(home: Home) -> None:
    home.database.write_bytes(b"no database at all" * 100)
    async with chat(home, loaded=False) as it:
        await it.until(lambda: "tries again" in " ".join(it.text().split()), "the reason")
        await it.write("my question")
        await it.press("ctrl+q")
        await it.until(lambda: "What you typed could not be stored" in it.text(), "the question")
        await it.press("c")
        await it.until(lambda: len(it.app.screen_stack) == 1)
        assert it.view.prompt.text == "my question"
        await it.press("ctrl+q")
        await it.until(lambda: len(it.app.screen_stack) > 1)
        await it.press("q")
        await over(it)


async def test_a_disk_that_fills_up_costs_no_text_and_no_app(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise DatabaseUnusableError("The conversations could not be written: disk full.", "Make room.")

    async with chat(home) as it:
        await it.ask("say one")
        with monkeypatch.context() as broken:
            for name in ("add_message", "begin_reply", "save_draft", "rename", "set_leaf", "delete_message"):
                broken.setattr(it.app.services.store, name, full)
            await it.send("say two")
            await it.until(lambda: it.view.prompt.text == "say two", "the question to come back")
            assert any("disk full. Make room." in notice for notice in it.notices())
            it.view.transcript.focus()
            await it.press("r")
            await it.settled()
            assert [message.content for message in it.session.branch] == ["say one", "one"]
            await it.press("d")
            await it.settled()
            await it.press("g", "e", *"!", "enter")
            await it.until(lambda: it.view.prompt.text == "say one!", "the edited question to come back")
            assert it.view.editing == 1
            await it.press("escape")
            assert it.view.prompt.text == "say two"
        it.view.prompt.restore("")
        await it.begin("gate", "word")
        with monkeypatch.context() as broken:
            broken.setattr(it.app.services.store, "update_reply", full)
            broken.setattr(it.app.services.store, "finish_reply", full)
            home.open("gate")
            await it.settled()
        assert "word and the end." in it.transcript()
        assert any("This answer is only on the screen" in notice for notice in it.notices())
        assert await it.ask("say three") == "three"


async def test_code_in_a_language_nobody_expected_does_not_break_a_timer(home: Home) -> None:
    """Its lexer is imported by a thread, in which no app is known: a timer begun there failed, and so did the end."""
    store = Store(home.database)
    store.add_message(store.create_conversation("code").id, None, "assistant", "```elixir\nIO.puts 1\n```")
    store.close()
    async with chat(home) as it:
        await it.press("ctrl+o")
        await it.until(lambda: len(it.app.screen_stack) > 1)
        await it.press("1")
        await it.until(lambda: it.session.branch)
        await it.until(lambda: not it.view.transcript.busy, "the colours")


def test_starting_the_log_makes_its_folder(tmp_path: Path) -> None:
    import logging

    from hugchat_tui.common.tasks import _tell  # noqa: F401 - the logger that tasks use
    from hugchat_tui.logs import start_logging

    before = logging.getLogger().handlers[:]
    try:
        start_logging(tmp_path / "logs")
        logging.getLogger("hugchat_tui").error("a traceback")
        assert "a traceback" in (tmp_path / "logs" / "hugchat.log").read_text()
    finally:
        logging.getLogger().handlers[:] = before
