"""What of a conversation the model hears."""

from __future__ import annotations

from hugchat_tui.chat.history import has_unanswered, what_is_heard
from hugchat_tui.conversations.model import Ended, Message, ReplyDetails, Role


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
