"""What is wrong with rows, counted by reason, with places."""

from __future__ import annotations

from sft.data.conversation import BadRow, Conversation, Message
from sft.data.problems import PLACES, UNREAD, Problems


def good(line: int, note: str = "") -> Conversation:
    return Conversation((Message("user", "Q"), Message("assistant", "A")), "x.jsonl", line, note=note)


def test_reasons_are_counted_with_their_first_places() -> None:
    problems = Problems()
    for line in range(1, 11):
        problems.add(good(line, "cut" if line > 8 else ""))
    for line in range(11, 19):
        problems.add(BadRow("x.jsonl", line, "empty answer"))
    problems.add(BadRow("x.jsonl", 19, "broken JSON", "at byte 5"))
    problems.note("duplicate", "x.jsonl", 3)
    assert (problems.rows, problems.bad_rows, problems.share) == (19, 9, 9 / 19)
    assert {reason: tally.count for reason, tally in problems.bad.items()} == {"empty answer": 8, "broken JSON": 1}
    assert [place.line for place in problems.bad["empty answer"].places] == list(range(11, 11 + PLACES))
    assert {reason: tally.count for reason, tally in problems.noted.items()} == {"cut": 2, "duplicate": 1}
    assert list(problems.words()) == [
        "9 of 19 rows cannot be used (47.37%):",
        "  empty answer: 8",
        *(f"    x.jsonl, line {line}" for line in range(11, 16)),
        "  broken JSON: 1",
        "    x.jsonl, line 19: at byte 5",
        "2 rows: cut (the first: x.jsonl, line 9)",
        "1 rows: duplicate (the first: x.jsonl, line 3)",
    ]


def test_it_refuses_over_a_share_and_when_a_file_was_not_read_to_its_end() -> None:
    problems = Problems()
    assert not problems.refuses(0.0)
    for line in range(99):
        problems.add(good(line))
    problems.add(BadRow("x.jsonl", 100, "empty answer"))
    assert not problems.refuses(0.01)
    assert problems.refuses(0.009)
    problems.add(BadRow("y.json", 1, UNREAD))
    assert problems.refuses(1.0)
