"""The message under the cursor: versions of answers and questions are added, none is destroyed."""

from __future__ import annotations

from tests.chat.driving import Chat, Home, chat


async def all_messages(it: Chat) -> list[tuple[int, int | None, str, str]]:
    """Every message of the first conversation: id, parent, role, text."""
    store = it.app.services.store
    found: list[tuple[int, int | None, str, str]] = []
    parents: list[int | None] = [None]
    while parents:
        parent = parents.pop(0)
        for child in await store.children(1, parent):
            message = await store.get_message(child)
            found.append((message.id, message.parent_id, message.role, message.content))
            parents.append(child)
    return found


async def two_turns(it: Chat) -> None:
    await it.ask("say one")
    await it.ask("say two")


async def test_regenerating_keeps_the_earlier_answer_and_what_followed_it(home: Home) -> None:
    async with chat(home) as it:
        await two_turns(it)
        it.view.transcript.focus()
        await it.press("g", "j")  # the first answer
        usual, wide = ["Edit", "Regenerate", "Continue", "Other model"], ["Good", "Bad", "Correct"]
        assert it.footer() == [*usual, *wide, "Commands", "Help"]
        assert it.view.transcript.selected_key == 2
        await it.press("r")
        await it.settled()
        assert [message.id for message in it.session.branch] == [1, 5]
        assert it.view.transcript.selected_key == 5, "the cursor stays on the answer"
        assert "‹2/2›" in it.transcript() and "two" not in it.transcript()
        assert await all_messages(it) == [
            (1, None, "user", "say one"),
            (2, 1, "assistant", "one"),
            (5, 1, "assistant", "one"),
            (3, 2, "user", "say two"),
            (4, 3, "assistant", "two"),
        ]

        await it.press("[")
        await it.settled()
        assert [message.id for message in it.session.branch] == [1, 2, 3, 4]
        assert it.view.transcript.selected_key == 2
        assert "‹1/2›" in it.transcript() and "two" in it.transcript()
        await it.press("[")
        await it.settled()
        assert [message.id for message in it.session.branch] == [1, 2, 3, 4], "there is none before the first"
        await it.press("]")
        await it.settled()
        assert [message.id for message in it.session.branch] == [1, 5]


async def test_the_cursor_begins_at_what_was_said_last(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        it.view.transcript.focus()
        await it.press("g")
        it.view.focus_prompt()
        await it.ask("say two")
        it.view.transcript.focus()
        await it.settled()
        assert it.view.transcript.selected_key == it.session.branch[-1].id


async def test_continuing_a_stopped_reply_makes_a_sibling_that_begins_with_it(home: Home) -> None:
    async with chat(home) as it:
        await it.begin("never", "begun")
        await it.press("escape")
        await it.settled()
        it.view.transcript.focus()
        await it.press("full_stop")
        await it.settled()
        assert it.session.branch[-1].content == "begun  and on"
        assert [message[3] for message in await all_messages(it)] == ["until never begun", "begun ", "begun  and on"]
        assert "‹2/2›" in it.transcript()


async def test_an_edited_question_is_asked_as_a_branch_and_the_draft_comes_back(home: Home) -> None:
    async with chat(home) as it:
        await two_turns(it)
        await it.write("my draft")
        it.view.transcript.focus()
        await it.press("g", "e")
        assert it.app.focused is it.view.prompt
        assert it.view.prompt.text == "say one"
        assert "editing" in it.text()
        await it.press("escape")
        assert it.view.prompt.text == "my draft"
        assert "editing" not in it.text()
        assert len(it.session.branch) == 4

        it.view.transcript.focus()
        await it.press("e", *" more", "enter")
        await it.settled()
        assert it.view.prompt.text == "my draft"
        assert [message.content for message in it.session.branch] == ["say one more", "one more"]
        assert it.session.branch[0].siblings == (1, 5)
        assert (3, 2, "user", "say two") in await all_messages(it)


async def test_another_model_answers_once_and_the_conversations_own_stays(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("who are you")
        it.view.transcript.focus()
        await it.press("m")
        await it.pick(home.model("beta"))
        await it.settled()
        assert [message.content for message in it.session.branch] == ["who are you", "I am beta."]
        assert "▌ beta" in it.transcript()
        assert "alpha" in it.text().splitlines()[-2]
        assert await it.ask("who are you") == "I am alpha."


async def test_deleting_hides_what_followed_and_undo_brings_it_back(home: Home) -> None:
    async with chat(home) as it:
        await two_turns(it)
        it.view.transcript.focus()
        await it.press("g", "j", "j", "d")
        await it.settled()
        assert [message.id for message in it.session.branch] == [1, 2]
        assert it.view.transcript.selected_key == 2
        await it.press("k", "d")
        await it.settled()
        assert it.session.branch == []
        assert "Ask alpha anything" in it.text()
        assert it.app.focused is it.view.prompt
        for shown in ([1, 2], [1, 2, 3, 4]):
            await it.send("/undo-delete")
            await it.settled()
            assert [message.id for message in it.session.branch] == shown
        await it.send("/undo-delete")
        await it.until(lambda: "Nothing was deleted since the app started." in it.notices())


async def test_while_an_answer_is_written_the_tree_is_left_alone(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        await it.begin("never", "words")
        it.view.transcript.focus()
        for key in ("r", "full_stop", "e", "d", "["):
            await it.press(key)
        assert [message.id for message in it.session.branch] == [1, 2, 3, 4]
        assert it.view.editing is None
        assert sum("Stop it with esc first" in notice for notice in it.notices()) == 5
        await it.press("escape")
        await it.settled()


async def test_from_the_prompt_a_command_means_the_last_message_not_a_cursor_nobody_sees(home: Home) -> None:
    async with chat(home) as it:
        await two_turns(it)
        it.view.transcript.focus()
        await it.press("g")
        await it.press("escape")
        await it.send("/regenerate")
        await it.settled()
        assert [message.id for message in it.session.branch] == [1, 2, 3, 5]


async def test_a_message_and_its_code_are_copied_whole(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say Look:\n\n```python\nprint(1)\n\n\nprint(2)\n```\n")
        it.view.transcript.focus()
        await it.press("y")
        await it.until(lambda: it.app.clipboard.startswith("Look:\n\n```python"), "the message")
        await it.press("c", "1")
        await it.until(lambda: it.app.clipboard == "print(1)\n\n\nprint(2)", "the code")
        assert "Copied the code block." in it.notices()
