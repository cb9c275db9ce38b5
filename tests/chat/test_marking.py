"""Replies are marked and corrected by a key, and become a data set and a run."""

from __future__ import annotations

import json
from pathlib import Path

from textual.widgets import Input

from hugchat_tui.actions import BY_ID
from hugchat_tui.common.dialogs import ChoiceDialog, ConfirmDialog, TextDialog
from hugchat_tui.monitor.form import RunFormScreen
from tests.chat.driving import Chat, Home, chat
from tests.checkpoints.builders import make_adapter


def rows_of(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


async def two_turns(it: Chat) -> None:
    """The cursor is on the last reply afterwards."""
    await it.ask("say one")
    await it.ask("say two")
    it.view.transcript.focus()
    await it.press("G")


def head_of(it: Chat, key: int) -> str:
    """The line above a message's text."""
    rows = [row[2:] for row in it.transcript().splitlines()]
    text = next(entry.text for entry in it.view.transcript.entries if entry.key == key)
    return rows[rows.index(text) - 1]


async def test_a_key_marks_the_reply_under_the_cursor_and_again_takes_the_mark_away(home: Home) -> None:
    async with chat(home) as it:
        await two_turns(it)
        await it.press("plus")
        await it.settled()
        assert "alpha  ✓ good" in head_of(it, 4)
        assert "good" not in head_of(it, 2)
        await it.press("minus", "k", "k", "plus")
        await it.settled()
        assert "alpha  ✗ bad" in head_of(it, 4)
        assert "alpha  ✓ good" in head_of(it, 2)
        store = it.app.services.store
        assert [message.mark for message in await store.branch(1)] == [None, "good", None, "bad"]
        it.type_ahead("plus", "plus", "plus")
        await it.settled()
        assert "good" not in head_of(it, 2)
        assert (await store.get_message(2)).mark is None
        assert [message.id for message in it.session.branch] == [1, 2, 3, 4]


async def test_only_a_reply_that_is_all_there_is_marked(home: Home) -> None:
    async with chat(home) as it:
        await two_turns(it)
        await it.press("k")
        for key in ("plus", "minus", "w"):
            await it.press(key)
        assert sum("Only replies can be marked" in notice for notice in it.notices()) == 3
        await it.begin("never", "words")
        it.view.transcript.focus()
        await it.press("G", "plus", "w")
        assert it.view.editing is None
        assert sum("is being written" in notice for notice in it.notices()) == 2
        await it.press("k", "k", "plus")  # another one may be marked meanwhile
        await it.until(lambda: "alpha  ✓ good" in head_of(it, 4), "the mark")
        await it.press("w")
        assert it.view.editing is None
        await it.press("escape")
        await it.settled()
        assert [message.mark for message in it.session.branch] == [None, None, None, "good", None, None]


async def test_a_better_answer_takes_the_place_of_the_reply_and_the_draft_comes_back(home: Home) -> None:
    async with chat(home) as it:
        await two_turns(it)
        await it.write("my draft")
        it.view.transcript.focus()
        await it.press("g", "j", "w")
        assert it.app.focused is it.view.prompt
        assert it.view.prompt.text == "one"
        assert "the better answer" in it.text()
        await it.press("escape")
        assert it.view.prompt.text == "my draft" and "the better answer" not in it.text()

        it.view.transcript.focus()
        await it.press("w", *" indeed", "enter")
        await it.settled()
        assert it.view.prompt.text == "my draft"
        assert [message.content for message in it.session.branch] == ["say one", "one indeed"]
        assert "Your answer  ✓ good" in head_of(it, 5) and "‹2/2›" in head_of(it, 5)
        assert it.view.transcript.selected_key == 5
        assert it.view.transcript.has_focus, "the next one can be marked"
        await it.press("[")
        await it.settled()
        assert "alpha  ✗ bad" in head_of(it, 2)
        assert [message.id for message in it.session.branch] == [1, 2, 3, 4]

        it.view.prompt.restore("")
        await it.send("/correct")
        await it.until(lambda: it.view.prompt.text == "two", "the answer")
        await it.press(*" too", "enter")
        await it.settled()
        assert [message.content for message in it.session.branch[2:]] == ["say two", "two too"]
        assert it.app.focused is it.view.prompt, "where the person was"
        it.view.prompt.restore("")
        await it.press("up", "up")
        assert it.view.prompt.text == "say one", "an answer is no question to ask again"


async def test_an_answer_that_needs_no_correction_is_good(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        it.view.transcript.focus()
        await it.press("w", "enter")
        await it.settled()
        assert [message.id for message in it.session.branch] == [1, 2]
        assert "alpha  ✓ good" in head_of(it, 2)


async def test_a_better_answer_may_look_like_a_command_and_is_what_the_model_hears_from_then_on(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        it.view.transcript.focus()
        await it.press("w")
        it.view.prompt.restore("/etc")
        await it.press("enter")
        await it.settled()
        heard = json.loads(await it.ask("history"))
        assert heard[:2] == [["user", "say one"], ["assistant", "/etc"]]


async def test_a_better_answer_is_kept_for_its_reply_whatever_is_shown_meanwhile(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        for written, answer in (("/etc", "/etc"), ("", "one")):
            it.view.transcript.focus()
            await it.press("g", "j")
            while it.view.transcript.selected_key != 2:
                await it.press("[")
                await it.settled()
            await it.press("w")
            if written:
                it.view.prompt.restore(written)
            it.view.transcript.focus()
            await it.press("r")
            await it.settled()
            assert it.session.message(2) is None, "another answer is shown"
            it.view.focus_prompt()
            await it.press("enter")
            await it.settled()
            assert it.view.editing is None
            assert [message.content for message in it.session.branch] == ["say one", answer]
            assert it.session.branch[-1].mark == "good"
        assert it.session.branch[-1].id == 2


async def test_an_answer_that_cannot_be_stored_stays_in_the_prompt(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        it.view.transcript.focus()
        await it.press("w", *" more")
        await it.app.services.store.delete_message(2)
        await it.press("enter")
        await it.settled()
        assert it.view.prompt.text == "one more"
        assert any("no message 2" in notice for notice in it.notices())
        await it.press("escape")


async def test_marked_replies_are_exported_to_a_file_of_ones_own(home: Home, tmp_path: Path) -> None:
    async with chat(home) as it:
        await it.send("/export-marked")
        await it.until(lambda: any("No reply is marked good." in notice for notice in it.notices()), "the advice")
        await two_turns(it)
        await it.press("plus")
        await it.settled()
        await it.send("/export-marked")
        await it.until(lambda: isinstance(it.app.screen, TextDialog), "the dialog")
        assert "1 good answer." in it.text()
        field = it.app.screen.query_one(Input)
        assert field.value == str(home.data / "datasets" / "say-one.jsonl")
        (tmp_path / "file").touch()
        field.value = str(tmp_path / "file" / "in the way.jsonl")
        await it.press("enter")
        await it.until(lambda: "could not be written" in it.text(), "the refusal")
        field.value = str(tmp_path / "mine.jsonl")
        await it.press("enter")
        await it.until(lambda: any("Wrote 1 good answer to" in notice for notice in it.notices()), "the file")
        (row,) = rows_of(str(tmp_path / "mine.jsonl"))
        assert [turn["content"] for turn in json.loads(row)["messages"]] == ["say one", "one", "say two", "two"]


async def test_a_run_on_marked_replies_of_an_adapter_begins_with_its_base_loaded_or_not(home: Home) -> None:
    reference = str(make_adapter(home.models / "first", home.model("alpha")))
    async with chat(home) as it:
        await it.press("ctrl+t")
        await it.pick(reference)
        await it.settled()
        await it.ask("say one")
        it.view.transcript.focus()
        await it.press("plus")
        await it.settled()
        for resident in it.app.services.pool.resident():
            await it.app.services.pool.unload(resident.key)
        assert it.session.model.reference == reference and it.app.services.resident(reference) is None
        await it.app.run_listed_action(BY_ID["chat.train_marked"])
        await it.until(lambda: isinstance(it.app.screen, RunFormScreen), "the form")
        form = it.app.screen
        assert isinstance(form, RunFormScreen)
        assert form.draft.text("model.base") == home.model("alpha")


async def test_a_run_on_marked_replies_begins_with_the_data_and_the_checkpoint(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        it.view.transcript.focus()
        await it.press("plus")
        await it.settled()
        await it.press("ctrl+n")
        await it.ask("say two")
        it.view.transcript.focus()
        await it.press("minus", "w", *" and three", "enter")
        await it.settled()
        for key, name in (("t", "say-two.jsonl"), ("a", "conversations.jsonl")):
            await it.app.run_listed_action(BY_ID["chat.train_marked"])
            await it.until(lambda: isinstance(it.app.screen, ChoiceDialog), "the choice")
            assert "This conversation: 1 good answer, 1 rejected" in it.text()
            assert "All conversations: 2 good answers, 1 rejected" in it.text()
            await it.press(key)
            await it.until(lambda: isinstance(it.app.screen, RunFormScreen), "the form")
            form = it.app.screen
            assert isinstance(form, RunFormScreen)
            path = str(home.data / "datasets" / name)
            assert form.draft.text("model.base") == home.model("alpha")
            assert form.draft.text("data.sources[0].path") == path
            rows = [json.loads(row) for row in rows_of(path)]
            assert [row["messages"][-1]["content"] for row in rows] == ["one", "two and three"][-len(rows) :]
            assert rows[-1]["rejected"] == [{"role": "assistant", "content": "two"}]
            await it.press("escape")
            await it.until(lambda: isinstance(it.app.screen, ConfirmDialog), "the question")
            await it.press("l")  # leave
            await it.until(lambda: it.app.screen is it.screen, "the chat")
