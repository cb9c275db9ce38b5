"""Whatever is in a file, each row comes out as a conversation or as what is wrong with it, with its place."""

from __future__ import annotations

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.data.conversation import BadRow, Conversation
from sft.data.formats import FORMATS
from sft.data.reading import read_file
from sft.errors import SftError
from tests.sft.data.rows import ALPACA, places

NAMES = [
    *(
        "instruction",
        "input",
        "output",
        "text",
        "prefix",
        "messages",
        "conversations",
        "prompt",
        "completion",
        "response",
    ),
    *(
        "question",
        "answer",
        "answer_idx",
        "options",
        "opa",
        "opb",
        "opc",
        "opd",
        "cop",
        "exp",
        "context",
        "long_answer",
    ),
    *("QUESTION", "CONTEXTS", "LONG_ANSWER", "final_decision", "source", "system", "instances"),
]
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "[Human]: Q \n [HugChat]: A \n\n",
            "Human: Q \n HugChat:",
            "Output: A \n Input: Q",
            "<human>: Q\n<bot>: A",
            "<bot>:<bot>:\nRosey:",
            "Human:Q\nAssistant:",
            "<p>Q <code>x</code>",
            "A",
            "yes",
            "3",
        ]
    ),
)
MESSAGES = st.dictionaries(
    st.sampled_from(["role", "from", "content", "value", "weight"]),
    st.one_of(st.sampled_from(["user", "assistant", "human", "gpt", "system", "tool"]), TEXTS, st.integers()),
    max_size=4,
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(MESSAGES, max_size=5),
        st.dictionaries(st.one_of(st.sampled_from([*NAMES, "value", "contexts", "key"]), st.text(max_size=3)), inner),
    ),
    max_leaves=8,
)
RECORDS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(RECORDS, VALUES), max_size=6), st.sampled_from(sorted(FORMATS)))
def test_any_values_are_rows_or_bad_rows(values: list[object], format: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "x.jsonl")
        path.write_text("".join(json.dumps(value) + "\n" for value in (ALPACA, *values)))
        rows = list(read_file(path, format))
        assert [row.line for row in rows] == list(range(1, len(values) + 2))
        for row in rows:
            check(row)
        listed = Path(folder, "x.json")
        listed.write_text("[\n" + ",\n".join(json.dumps(value) for value in (ALPACA, *values)) + "\n]")
        again = list(read_file(listed, format))
        assert [(row.line - 1, type(row)) for row in again] == [(row.line, type(row)) for row in rows]


def check(row: object) -> None:
    """What everyone who reads rows relies on."""
    if isinstance(row, BadRow):
        assert row.reason and len(row.reason) < 50
        row.detail.encode()
        return
    assert isinstance(row, Conversation)
    roles = [message.role for message in row.messages]
    if row.text:
        assert roles == ["assistant"]
    else:
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2) and turns
    for message in row.messages:
        assert message.content.strip()
        message.content.encode()


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from(["x.json", "x.jsonl", "x.csv", "x.tsv", "x.txt", "x.json.gz", "x.parquet", "x.zip", "x.tar", "x"]),
    st.sampled_from(["auto", "alpaca", "text"]),
)
def test_any_bytes_are_rows_or_a_clear_error(data: bytes, name: str, format: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        try:
            rows = list(read_file(path, format))
        except SftError as error:
            assert name in error.message and error.hint
            return
        assert all(row.line >= 1 for row in rows)
        for row in rows:
            check(row)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"\\", b",", b":", b"a", b"\n", b" ", b'"x"']), max_size=40)
)
def test_any_brackets_and_quotes_end(pieces: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "x.json")
        path.write_bytes(b'[{"text": "a"},' + b"".join(pieces))
        assert all(1 <= row.line <= 1 + pieces.count(b"\n") for row in read_file(path, "text"))


def malformed(number: int, choose: random.Random) -> bytes:
    """One of the ways in which rows are broken, with the row's number in it."""
    good = json.dumps({"instruction": f"Question {number}?", "output": "Answer."})
    return choose.choice(
        [
            good[: choose.randrange(1, len(good))].encode(),
            good.replace("{", "", 1).encode(),
            good.replace('"', "'").encode(),
            good.encode()[:20] + b"\xff\xfe" + good.encode()[20:],
            good.encode() + b" trailing",
            json.dumps([good]).encode(),
            str(number).encode(),
            b"null",
            b'""',
            json.dumps({"instruction": f"Question {number}?"}).encode(),
            json.dumps({"instruction": f"Question {number}?", "output": choose.choice(["", " ", "\n\t"])}).encode(),
            json.dumps({"instruction": "", "output": "Answer."}).encode(),
            json.dumps({"instruction": number, "output": "Answer."}).encode(),
            json.dumps({"instruction": f"Question {number}?", "output": ["Answer."]}).encode(),
            json.dumps({"instruction": f"Question {number}?", "output": {"a": 1}}).encode(),
            b'{"instruction": "\\ud800", "output": "x"}',
            b"{}",
            b"\x00" * 10,
            b"[" * 100_000,
        ]
    )


@pytest.mark.parametrize("seed", range(3))
def test_200_malformed_rows_are_each_reported_with_their_place(tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    bad_lines = set(choose.sample(range(2, 601), 200))
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        for number in range(1, 601):
            row = malformed(number, choose) if number in bad_lines else json.dumps(ALPACA).encode()
            file.write(row + b"\n")
    found = places(read_file(path))
    assert [line for line, _ in found] == list(range(1, 601))
    assert {line for line, reason in found if reason} == bad_lines
