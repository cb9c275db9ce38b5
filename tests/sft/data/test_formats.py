"""Every format as its publishers write it, recognised by looking."""

from __future__ import annotations

from pathlib import Path

import pytest

from sft.data.conversation import Conversation
from sft.data.formats import FORMATS, recognise
from sft.data.reading import read_file
from sft.data.turns import EARLY_ANSWER, JOINED, OPEN_QUESTION
from sft.errors import SftError
from tests.sft.data.rows import ALPACA, read_one, reason, said, write_lines

PAIR = [("user", "Q"), ("assistant", "A")]


@pytest.mark.parametrize(
    ("name", "record", "messages"),
    [
        ("alpaca", {"instruction": "Q", "input": "", "output": "A"}, PAIR),
        ("alpaca", {"instruction": "Q", "output": "A", "text": "Below is an instruction ..."}, PAIR),
        ("alpaca", {"instruction": "Q", "input": None, "output": "A"}, PAIR),
        (
            "alpaca",
            {"instruction": "Add.", "input": "1, 2", "output": "3"},
            [("user", "Add.\n\n1, 2"), ("assistant", "3")],
        ),
        ("alpaca", {"instruction": "Q", "input": "<noinput>", "output": "A"}, PAIR),
        ("alpaca", {"instruction": "Q", "context": "C", "response": "A"}, [("user", "Q\n\nC"), ("assistant", "A")]),
        ("alpaca", {"system": "S", "instruction": "Q", "output": "A"}, [("system", "S"), *PAIR]),
        ("messages", {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}, PAIR),
        (
            "messages",
            {"conversations": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
            PAIR,
        ),
        (
            "messages",
            {
                "messages": [
                    {"role": "developer", "content": "S"},
                    {"role": "user", "content": [{"type": "text", "text": "Q"}]},
                    {"role": "assistant", "content": "A", "tool_calls": None},
                ]
            },
            [("system", "S"), *PAIR],
        ),
        (
            "sharegpt",
            {"id": "x", "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
            PAIR,
        ),
        (
            "sharegpt",
            {"system": "S", "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
            [("system", "S"), *PAIR],
        ),
        ("prompt", {"prompt": "Q", "completion": "A"}, PAIR),
        ("prompt", {"prompt": {"value": "Q", "meta": {}}, "completion": "A"}, PAIR),
        ("prompt", {"question": "Q", "answer": "A"}, PAIR),
        ("prompt", {"input": "Q", "target": "A"}, PAIR),
        (
            "prompt",
            {"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}]},
            PAIR,
        ),
        ("hugchat", {"text": "[Human]: Q \n [HugChat]: A \n\n"}, PAIR),
        ("hugchat", {"text": "[Human]: Q \n [HugChat]: A \n\n", "prefix": "S"}, [("system", "S"), *PAIR]),
        ("oig", {"text": "<human>: Q\n<bot>: A", "metadata": {"source": "x"}}, PAIR),
    ],
)
def test_a_format_is_recognised_and_converted(
    tmp_path: Path, name: str, record: dict[str, object], messages: list[tuple[str, str]]
) -> None:
    assert recognise([record]) == name
    assert said(read_one(tmp_path, record)) == messages
    assert said(read_one(tmp_path, record, name)) == messages


def test_a_text_is_no_conversation(tmp_path: Path) -> None:
    row = read_one(tmp_path, {"text": " Once upon a time.\n"})
    assert isinstance(row, Conversation)
    assert row.text
    assert said(row) == [("assistant", " Once upon a time.\n")]


def test_contents_are_kept_as_they_are(tmp_path: Path) -> None:
    row = read_one(tmp_path, {"instruction": "  Indent:\n\n", "output": "\n    x = 1\n"})
    assert said(row) == [("user", "  Indent:\n\n"), ("assistant", "\n    x = 1\n")]


def test_an_answer_of_no_weight_is_not_trained(tmp_path: Path) -> None:
    turns = [("user", "Q", 1), ("assistant", "A", 0), ("user", "R", 1), ("assistant", "B", 1)]
    row = read_one(tmp_path, {"messages": [{"role": r, "content": c, "weight": w} for r, c, w in turns]})
    assert isinstance(row, Conversation)
    assert [message.trained for message in row.messages] == [True, False, True, True]


def test_joined_messages_are_trained_when_both_are(tmp_path: Path) -> None:
    said_twice = [("human", "Q", 1), ("gpt", "A", 1), ("gpt", "B", 0)]
    row = read_one(tmp_path, {"conversations": [{"from": r, "value": c, "weight": w} for r, c, w in said_twice]})
    assert isinstance(row, Conversation)
    assert [message.trained for message in row.messages] == [True, False]


def turns(*roles: str) -> dict[str, object]:
    return {"messages": [{"role": role, "content": f"{role} {number}"} for number, role in enumerate(roles)]}


def shared(*roles: str) -> dict[str, object]:
    return {"conversations": [{"from": role, "value": f"{role} {number}"} for number, role in enumerate(roles)]}


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (turns("user", "user", "assistant"), "roles out of order"),
        (turns("assistant", "user", "assistant"), "roles out of order"),
        (turns("user", "assistant", "system", "user", "assistant"), "roles out of order"),
        (turns("user", "tool", "assistant"), "unknown role"),
        (turns("user"), "no answer"),
        (turns("system", "user"), "no answer"),
        ({"messages": []}, "no answer"),
        ({"messages": [1]}, "wrong type"),
        ({"messages": "Q"}, "broken JSON"),
        ({"messages": 5}, "wrong type"),
        ({"messages": [{"role": "user"}]}, "missing field"),
        ({"messages": [{"role": 1, "content": "Q"}]}, "wrong type"),
        ({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": " "}]}, "empty answer"),
        ({"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "A"}]}, "empty question"),
        ({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "tool_calls": [{}]}]}, "tool call"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "not only text"),
        ({"prompt": "Q"}, "missing field"),
        ({}, "missing field"),
    ],
)
def test_messages_that_are_none(tmp_path: Path, record: dict[str, object], why: str) -> None:
    assert reason(read_one(tmp_path, record, "messages")) == why


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"instruction": "Q", "output": ""}, "empty answer"),
        ({"instruction": "Q", "output": "<nooutput>"}, "empty answer"),
        ({"instruction": " \n", "output": "A"}, "empty question"),
        ({"instruction": "Q"}, "missing field"),
        ({"instruction": "Q", "output": None}, "missing field"),
        ({"instruction": "Q", "output": 5}, "wrong type"),
        ({"instruction": ["Q"], "output": "A"}, "wrong type"),
        ({"instruction": "Q", "output": {"text": "A"}}, "wrong type"),
        ({"output": "A"}, "missing field"),
    ],
)
def test_alpaca_rows_that_are_none(tmp_path: Path, record: dict[str, object], why: str) -> None:
    assert reason(read_one(tmp_path, record, "alpaca")) == why


@pytest.mark.parametrize(
    ("record", "contents", "note"),
    [
        (turns("user", "assistant", "user"), ["user 0", "assistant 1"], OPEN_QUESTION),
        (shared("human", "gpt", "human", "human"), ["human 0", "gpt 1"], f"{JOINED}, {OPEN_QUESTION}"),
        (shared("gpt", "human", "gpt"), ["human 1", "gpt 2"], EARLY_ANSWER),
        (shared("human", "human", "gpt"), ["human 0\n\nhuman 1", "gpt 2"], JOINED),
        (shared("human", "gpt", "gpt"), ["human 0", "gpt 1\n\ngpt 2"], JOINED),
        (
            {
                "messages": [
                    *({"role": r, "content": "x"} for r in ("user", "assistant", "user")),
                    {"role": "assistant", "content": ""},
                ]
            },
            ["x", "x"],
            OPEN_QUESTION,
        ),
    ],
)
def test_what_is_changed_to_keep_a_row_is_noted(
    tmp_path: Path, record: dict[str, object], contents: list[str], note: str
) -> None:
    row = read_one(tmp_path, record)
    assert isinstance(row, Conversation)
    assert [message.content for message in row.messages] == contents
    assert row.note == note


def test_the_format_of_most_rows_is_that_of_the_file(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "mixed.jsonl", [{"text": "x"}, *[ALPACA] * 3])
    first, *rest = read_file(path)
    assert reason(first) == "missing field"
    assert all(said(row)[1] == ("assistant", "Blue.") for row in rest)


def test_an_unknown_format_says_what_was_seen_and_what_is_known(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "odd.jsonl", [{"frage": "Q", "antwort": "A"}])
    with pytest.raises(SftError, match=r"odd\.jsonl.*frage, antwort") as caught:
        list(read_file(path))
    assert all(name in caught.value.hint for name in FORMATS)
    with pytest.raises(SftError, match="no format alpacca"):
        list(read_file(path, "alpacca"))
