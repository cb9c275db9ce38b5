"""The checkpoints of this machine, driven by real keys over real folders."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from textual import events

from hugchat_tui.actions import BY_ID
from hugchat_tui.app import HugChatApp
from hugchat_tui.settings.schema import ModelSettings, Settings
from tests.chat.driving import Home
from tests.checkpoints.builders import make_adapter, make_gguf, make_model, model_files
from tests.checkpoints.library.repositories import add_revision
from tests.library.driving import Library, cache_of, library

CARD = "---\nlicense: mit\nbase_model: org/root\n---\n# Card\n\nSome **words** and \x1b]52;c;x\x07 more."


def published(tmp_path: Path, **files: bytes) -> dict[str, bytes]:
    return {**model_files(tmp_path), "README.md": CARD.encode(), **files}


async def test_the_library_is_laid_out_before_it_is_shown_and_no_screen_is_styled_anew_then(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with library(home, opened=False) as it:
        await it.until(lambda: it.app._library_screen is not None, "the library to be built")
        built = it.app._library_screen
        assert built is not None and it.in_chat
        await it.until(lambda: built.machine.table.size.width > 40, "its layout")
        anew: list[str] = []

        def shows(mode: str) -> bool:
            return it.app.current_mode == mode

        monkeypatch.setattr(it.app, "refresh_css", lambda animate=True: anew.append(it.app.current_mode))
        for shown in ("library", "chat", "library"):
            await it.press("f5")
            await it.until(partial(shows, shown), shown)
        assert not anew


async def test_f5_shows_what_is_here_and_f5_or_escape_goes_back_to_the_draft(home: Home) -> None:
    answers = Settings(model=ModelSettings(default=home.model("beta"), folders=(str(home.models),)))
    async with library(home, opened=False, settings=answers, loaded=True) as it:
        it.view.focus_prompt()
        await it.write("half a question")
        await it.press("f5")
        await it.scanned()
        assert {"alpha", "beta"} <= set(it.names())
        assert it.table.row is not None and it.table.row.name == "beta", "the cursor is on the one that answers"
        await it.press("f5")
        assert it.in_chat and it.view.prompt.text == "half a question"
        await it.press("f5", "escape")
        assert it.in_chat
        await it.press("x")
        assert it.view.prompt.text == "half a questionx", "the prompt has the focus again"


async def test_f5_works_before_anything_else_has_started_and_without_a_store(home: Home) -> None:
    home.database.write_text("not a database")
    app = HugChatApp(Settings(model=ModelSettings(default="alpha", folders=(str(home.models),))))
    async with app.run_test(size=(140, 40)) as pilot:
        it = Library(home, app, pilot)
        app.post_message(events.Key("f5", None))
        await it.until(lambda: it.in_library, "the library")
        await it.scanned()
        assert it.names() == ["alpha", "beta"]
        assert it.app.library is not None
        await it.until(lambda: it.service.ready, "the rest")
        await app.close_services()


async def test_what_is_typed_right_behind_f5_goes_to_the_library(home: Home) -> None:
    async with library(home, opened=False) as it:
        it.type_ahead("f5", "slash", *"bet")
        await it.until(lambda: it.in_library and it.names() == ["beta"], "the filter")
        assert it.view.prompt.text == ""


async def test_everything_that_takes_up_space_is_a_row_and_says_why_it_cannot_be_used(
    home: Home, tmp_path: Path
) -> None:
    add_revision(cache_of(home), "org/whole", "1", published(tmp_path), ref="main")
    partial = cache_of(home) / "models--org--half" / "blobs" / f"{'f' * 64}.123.incomplete"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * 9000)
    make_adapter(home.models / "lost-adapter", "nobody/there")
    (home.models / "cut" / "x").mkdir(parents=True)
    make_model(home.models / "cut")
    (home.models / "cut" / "model.safetensors").write_bytes(b"\xff" * 20)
    make_gguf(home.models / "small.gguf")
    make_model(home.models / "evil\x1b[31m[bold]")
    async with library(home) as it:
        text = it.text()
        assert "org/whole" in it.names() and "small.gguf" in it.names()
        assert "evil\u241b[31m[bold]" in text
        rows = {row.name: row for row in it.service.rows}
        assert (rows["org/half"].kind, rows["cut"].kind) == ("unfinished", "broken")
        for name in ("org/half", "cut", "lost-adapter"):
            line = next(line for line in text.splitlines() if f" {name} " in line)
            assert rows[name].problem[:12] in line
        await it.to("cut")
        assert rows["cut"].problem.split()[0] in it.details()
        await it.to("org/half")
        await it.press("enter")
        await it.until(lambda: "Fetch what is missing of org/half?" in it.text(), "the question")


async def test_details_tell_facts_files_template_and_card_with_control_characters_made_visible(
    home: Home, tmp_path: Path
) -> None:
    template = json.dumps({"chat_template": "{{ messages }} ```` \x1b[2J"}).encode()
    files = published(tmp_path, **{"tokenizer_config.json": template})
    add_revision(cache_of(home), "org/whole", "1", files, ref="main")
    async with library(home) as it:
        await it.to("org/whole")
        await it.until(lambda: "Some words" in it.details(), "the card")
        details = it.details()
        for words in ("mit", "4,096 tokens", "org/root", "model.safetensors", "{{ messages }} ```` \u241b[2J"):
            assert words in details, words
        assert "\u241b]52;c;x" in details
        assert "\x1b" not in details
        await it.press("tab", "end")
        assert it.machine.details.has_focus
        await it.press("escape")
        assert it.table.has_focus


async def test_a_narrow_screen_shows_the_table_or_the_details(home: Home) -> None:
    async with library(home, size=(80, 24)) as it:
        assert not it.machine.details.display and "alpha" in it.text()
        await it.press("tab")
        await it.until(lambda: it.machine.details.size.width == 80, "the details")
        assert "context" in it.text()
        await it.press("tab")
        assert it.table.has_focus and not it.machine.details.display


async def test_sorting_goes_through_the_columns_and_reverses(home: Home) -> None:
    make_model(home.models / "wide", dtype="F32")
    async with library(home) as it:
        assert it.names() == ["alpha", "beta", "wide"]
        await it.press("S")
        assert it.names() == ["wide", "beta", "alpha"]
        await it.press("s")
        assert it.table.column.id == "size" and it.names() == ["alpha", "beta", "wide"]
        for _ in range(4):
            await it.press("s")
        assert it.table.column.id == "dtype" and it.names()[-1] == "wide"
        assert "dtype▲" in it.text()


async def test_the_filter_finds_by_letters_and_by_conditions_and_escape_leaves_it_first(home: Home) -> None:
    make_adapter(home.models / "tuned", str(home.models / "alpha"))
    async with library(home) as it:
        await it.press("slash", *"bt")
        assert it.names() == ["beta"]
        await it.press(*["backspace"] * 2, *"kind:adapter")
        assert it.names() == ["tuned"]
        await it.press("enter")
        assert it.table.has_focus and "1 of 3" in it.text()
        await it.press("slash", "end", *" zzz")
        assert it.names() == [] and "Nothing matches." in it.text()
        await it.press("escape")
        assert it.in_library and len(it.names()) == 3
        await it.press("f", "f")
        assert it.names() == ["tuned"] and "only adapter" in it.text()
        await it.press("escape", "escape")
        assert it.in_chat


async def test_enter_lets_a_checkpoint_answer_and_c_asks_it_beside(home: Home) -> None:
    async with library(home, loaded=True) as it:
        await it.to("beta")
        await it.press("enter")
        await it.until(lambda: it.in_chat and it.session.model.reference == str(home.models / "beta"))
        await it.settled()
        assert await it.ask("who are you") == "I am beta."
        await it.press("f5")
        await it.to("alpha")
        await it.press("c")
        await it.until(lambda: it.screen.panes.is_split, "two panes")
        await it.settled()
        other = it.screen.panes.shown[1].session
        await it.until(lambda: bool(other.branch) and other.branch[-1].content == "I am alpha.", "its answer")


async def test_an_alias_and_a_note_are_the_persons_own_and_last(home: Home) -> None:
    async with library(home) as it:
        await it.to("beta")
        await it.press("r", *"favourite", "enter")
        await it.until(lambda: "favourite" in it.names(), "the alias")
        await it.to("favourite")
        await it.press("n", *"slow", "enter")
        await it.until(lambda: "slow" in it.details(), "the note")
        assert "beta" in it.details()
        await it.press("slash", *"slow", "enter")
        assert it.names() == ["favourite"]
        await it.press("r", "enter")
        await it.until(lambda: it.in_library)
        assert it.names() == ["favourite"], "nothing typed is no change"
    async with library(home) as it:
        assert "favourite" in it.names()


async def test_a_name_that_is_taken_is_refused_where_it_was_typed_and_stays_to_be_corrected(home: Home) -> None:
    """The dialog closed, and everything was to be typed again."""
    async with library(home) as it:
        await it.to("beta")
        await it.press("r", *"starter", "enter")
        await it.until(lambda: "starter would be taken for" in it.problem(), "the refusal")
        await it.press("backspace", "enter", "j", "k")
        await it.until(lambda: "starte" in it.names(), "the name")
        assert it.table.has_focus and it.names().count("starte") == 1, "what came behind enter was for the list"


async def test_a_folder_that_is_added_is_listed_and_kept_in_the_settings(home: Home, tmp_path: Path) -> None:
    make_model(tmp_path / "more" / "gamma")
    async with library(home) as it:
        await it.press("a")
        await it.press(*str(tmp_path / "nowhere"), "enter")
        await it.until(lambda: "There is no folder" in it.problem(), "the refusal")
        await it.press("ctrl+u", *str(tmp_path / "more"), "enter")
        await it.until(lambda: "gamma" in it.names(), "what lies in it")
        assert str(tmp_path / "more") in (home.config / "config.toml").read_text()
        found = await it.app.services.checkpoints()
        assert "gamma" in {checkpoint.name for checkpoint in found}, "the model picker looks there, too"


async def test_an_empty_library_says_what_to_do(home: Home) -> None:
    async with library(home, folders=False) as it:
        assert it.names() == []
        assert "There are no checkpoints on this machine yet." in it.text()
        assert "2 shows the Hub" in it.text() and "a adds a folder" in it.text()
        await it.press("v", "enter", "d")
        assert any("There is no checkpoint here." in notice for notice in it.notices())


async def test_a_scan_that_fails_is_told_where_the_rows_would_be_and_again_finds_them(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with library(home, opened=False) as it:
        with monkeypatch.context() as broken:
            broken.setattr("sys.executable", "/nowhere/python")
            await it.press("f5")
            await it.until(lambda: "could not be looked through" in it.text(), "the failure")
        await it.press("R")
        await it.until(lambda: "alpha" in it.names(), "the rows")
        await it.until(lambda: "could not be looked through" not in it.text(), "the failure to be forgotten")


async def test_a_command_typed_in_the_chat_shows_the_library_and_acts_on_what_answers(
    home: Home,
) -> None:
    async with library(home, loaded=True) as it:
        await it.press("escape")
        await it.send("/library-verify")
        await it.until(lambda: it.in_library, "the library")
        work = await it.worked("Verifying")
        assert work.about == str(home.models / "alpha")
        await it.app.run_listed_action(BY_ID["chat.new"])
        assert it.in_chat, "and a command of the chat goes back there"
