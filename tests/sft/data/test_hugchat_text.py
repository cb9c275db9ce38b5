"""HugChat's text rows: three styles read, one written, which is what the chat template renders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sft.data.conversation import Conversation, Message
from sft.data.hugchat_text import can_be_written, convert, is_hugchat, render
from sft.data.turns import JOINED, OPEN_QUESTION, RowError
from tests.sft.data.rows import read_one, reason, said

TEMPLATE = Path("engine/chat_templates/hugchat.jinja")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[Human]: Why?\n Really? \n [HugChat]: Because.\nSo. \n\n [Human]: And? \n [HugChat]: Yes. \n\n",
            ["Why?\n Really?", "Because.\nSo.", "And?", "Yes."],
        ),
        (
            "Human: Classify. \n Sentiment: good. \n HugChat: Negative. \n\n",
            ["Classify. \n Sentiment: good.", "Negative."],
        ),
        ("Input: Instruction: Name a beaver. \n Output: Castor. \n\n", ["Name a beaver.", "Castor."]),
        ("[Human]:你好\n[HugChat]:您好", ["你好", "您好"]),
        # The marks of other styles are words like others.
        ("[Human]: Input: x \n Output: y \n [HugChat]: Human: z", ["Input: x \n Output: y", "Human: z"]),
        ("[Human]: what is [HugChat]: here? \n [HugChat]: a mark", ["what is [HugChat]: here?", "a mark"]),
    ],
)
def test_the_three_styles(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert is_hugchat(text)
    row = read_one(tmp_path, {"text": text})
    assert [content for _, content in said(row)] == expected
    assert [role for role, _ in said(row)] == ["user", "assistant"] * (len(expected) // 2)


def test_what_stands_before_the_first_marker_is_a_system_prompt(tmp_path: Path) -> None:
    record = {"prefix": " Below is a chat. ", "text": "You are HugChat. \n\n [Human]: Hi \n [HugChat]: Hello. \n\n"}
    assert said(read_one(tmp_path, record))[0] == ("system", "Below is a chat.\nYou are HugChat.")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[Human]: Hi", "no answer"),
        ("[HugChat]: Hi", "no marker"),
        ("Hi", "no marker"),
        (" ", "empty text"),
        ("[Human]: Hi \n [HugChat]: ", "empty answer"),
        ("[Human]: \n [HugChat]: Hi", "empty question"),
        ("[Human]: Hi \n [Human]: Ho \n [HugChat]: Hi", "roles out of order"),
    ],
)
def test_texts_that_are_no_conversations(tmp_path: Path, text: str, why: str) -> None:
    assert reason(read_one(tmp_path, {"text": text}, "hugchat")) == why


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("[Human]: Hi \n [HugChat]: Ho \n\n [Human]: And? \n", OPEN_QUESTION),
        ("[Human]: Hi \n [HugChat]: Ho \n\n [Human]: And? \n [HugChat]: \n", OPEN_QUESTION),
        ("Input: Instruction: Sort. \n Input: b, a \n Output: a, b", JOINED),
    ],
)
def test_what_is_changed_is_noted(tmp_path: Path, text: str, note: str) -> None:
    row = read_one(tmp_path, {"text": text})
    assert isinstance(row, Conversation)
    assert row.note == note


CONTENT = st.text("ab:[]\n\r\t é你 ", min_size=1, max_size=30).filter(lambda text: bool(text.strip()))


@given(st.lists(st.tuples(CONTENT, CONTENT), min_size=1, max_size=3), st.one_of(st.none(), CONTENT))
@example([("a", "a\r\r\nb")], None)
def test_a_rendered_conversation_is_what_the_template_makes_and_reads_back(
    pairs: list[tuple[str, str]], system: str | None
) -> None:
    from jinja2 import Environment

    messages = [Message("system", system)] if system else []
    for question, answer in pairs:
        messages += [Message("user", question), Message("assistant", answer)]
    text = render(messages)
    template = Environment().from_string(TEMPLATE.read_text())
    plain = [{"role": message.role, "content": message.content} for message in messages]
    assert text == template.render(messages=plain, add_generation_prompt=False)
    assert render(convert({"text": text}).messages) == text


def test_what_would_read_back_as_something_else_cannot_be_written() -> None:
    question = Message("user", "Continue:\n [HugChat]: Hi")
    assert not can_be_written((question, Message("assistant", "A")))
    assert not can_be_written((Message("user", "Q"), Message("assistant", "A", trained=False)))
    assert not can_be_written((Message("user", "Q"), Message("assistant", "A\r[Human]: B")))
    assert can_be_written((Message("user", "Who is [HugChat]: you?"), Message("assistant", "A")))


def test_it_is_an_error_of_the_row_when_a_field_is_no_text() -> None:
    with pytest.raises(RowError):
        convert({"text": "[Human]: Q \n [HugChat]: A", "prefix": 5})
