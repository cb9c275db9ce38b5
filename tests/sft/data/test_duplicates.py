"""Conversations that were seen before are found among many, in a few bytes each."""

from __future__ import annotations

from sft.data.conversation import Conversation, Message
from sft.data.duplicates import Duplicates, fingerprint


def pair(question: str, answer: str = "A", line: int = 1) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)), "x", line)


def test_white_space_case_and_place_do_not_count() -> None:
    duplicates = Duplicates()
    assert not duplicates.seen(pair("Who  are you?\n"))
    assert duplicates.seen(pair("who are YOU?", "a ", line=9))
    assert not duplicates.seen(pair("who are you", "A"))
    assert len(duplicates) == 2


def test_the_same_words_in_other_roles_are_others() -> None:
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"), Message("assistant", "d"))
    split = {fingerprint(Conversation(turns[:2], "x", 1)), fingerprint(Conversation(turns, "x", 1))}
    swapped = fingerprint(pair("b", "a"))
    assert len(split | {swapped, fingerprint(pair("ab", ""))}) == 4


def test_many_are_all_remembered_while_the_table_grows() -> None:
    duplicates = Duplicates()
    assert not any(duplicates.seen(pair(f"Question {number}")) for number in range(120_000))
    assert all(duplicates.seen(pair(f"Question {number}")) for number in range(0, 120_000, 7))
    assert len(duplicates) == 120_000


def test_a_fingerprint_is_the_same_on_every_machine() -> None:
    assert fingerprint(pair("Q")) == 17031954076126600284
