"""What of a conversation the model hears."""

from __future__ import annotations

from hugchat_tui.chat.history import has_unanswered, what_is_heard
from hugchat_tui.conversations.model import Ended, Message, ReplyDetails, Role
from tests.chat.driving import Home, chat


def branch(*spoken: tuple[Role, str, Ended | None]) -> list[Message]:
    return [
        Message(number, 1, number - 1 or None, role, text, 0.0, None if role == "user" else ReplyDetails(ended=ended))
        for number, (role, text, ended) in enumerate(spoken, 1)
    ]


def heard(*spoken: tuple[Role, str, Ended | None], system: str = "", start: str = "") -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in what_is_heard(branch(*spoken), system, start)]


def test_whole_turns_then_the_question_below_the_system_prompt() -> None:
    spoken: tuple[tuple[Role, str, Ended | None], ...] = (
        ("user", "one", None),
        ("assistant", "1", "done"),
        ("user", "two", None),
    )
    turns = [("user", "one"), ("assistant", "1"), ("user", "two")]
    assert heard(*spoken) == turns
    assert heard(*spoken, system="Be kind.") == [("system", "Be kind."), *turns]
    assert heard(*spoken, system=" \n") == turns
    assert heard(*spoken, start="2 and") == [*turns, ("assistant", "2 and")]


def test_a_question_without_an_answer_is_left_out_and_a_partial_one_is_not() -> None:
    """A question that was too long stayed in the history and made every later one too long as well."""
    assert heard(("user", "too long", None), ("assistant", "", "error"), ("user", "short", None)) == [("user", "short")]
    assert heard(("user", "stopped", None), ("assistant", "", "stopped"), ("user", "next", None)) == [("user", "next")]
    assert heard(("user", "one", None), ("assistant", "par", "stopped"), ("user", "next", None)) == [
        ("user", "one"),
        ("assistant", "par"),
        ("user", "next"),
    ]
    assert heard(("user", "one", None), ("assistant", "", "done"), ("user", "next", None)) == [
        ("user", "one"),
        ("assistant", ""),
        ("user", "next"),
    ]


def test_whether_a_question_is_left_out_can_be_told() -> None:
    answered: tuple[Role, str, Ended | None] = ("assistant", "1", "done")
    assert not has_unanswered(branch())
    assert not has_unanswered(branch(("user", "one", None), answered))
    assert has_unanswered(branch(("user", "one", None), ("assistant", "", "error")))
    assert has_unanswered(branch(("user", "one", None), answered, ("user", "two", None)))


async def test_up_finds_what_was_just_sent_here_and_in_another_tab(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        await it.ask("say two")
        await it.press("up", "up")
        assert it.view.prompt.text == "say one"
        await it.press("down", "down")
        first = it.view
        await it.press("ctrl+n")
        await it.until(lambda: it.view is not first)
        await it.press("up")
        assert it.view.prompt.text == "say two"


async def test_the_context_that_is_shown_is_the_branchs(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        used = it.session.status.context_used
        assert used > 0 and it.session.conversation is not None
        again = it.screen.view_for(it.session.conversation).session
        await again.open()
        assert again.status.context_used == used
        await it.session.delete_message(it.session.branch[-1].id)
        assert it.session.status.context_used == 0


async def test_a_mistyped_command_is_not_asked_and_rename_takes_the_title(home: Home) -> None:
    async with chat(home) as it:
        await it.send("/foobar")
        await it.until(lambda: any("There is no command /foobar" in notice for notice in it.notices()), "the notice")
        assert it.view.prompt.text == "/foobar" and it.session.branch == []
        it.view.prompt.restore("")
        await it.ask("say fine")
        await it.send("/rename A better title")
        await it.until(lambda: it.session.title == "A better title")
        assert len(it.session.branch) == 2


async def test_a_path_typed_fast_is_asked_and_no_command_of_what_stood_there_before(home: Home) -> None:
    """Enter took the command that the letters typed until then had highlighted: the library opened with a note."""
    async with chat(home) as it:
        it.view.focus_prompt()
        it.type_ahead("y", "x", "ctrl+u", *"/no")
        it.type_ahead(*"te/dir/x", "enter")
        await it.until(lambda: bool(it.session.branch), "the question")
        assert it.session.branch[0].content == "/note/dir/x"
        await it.settled()
        it.type_ahead(*"/ne", "enter")
        await it.until(lambda: it.session.branch == [], "the command that these letters mean, as when typed slowly")
