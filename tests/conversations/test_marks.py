"""What the person thinks of replies is kept, and what a reply should have been stands beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hugchat_tui.conversations.errors import NotFoundError
from hugchat_tui.conversations.model import ReplyDetails
from hugchat_tui.conversations.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "conversations.db")
    yield store
    store.close()


def ask(store: Store, conversation: int, parent: int | None, *texts: str) -> list[int]:
    """A question and replies to it; their ids."""
    question = store.add_message(conversation, parent, "user", texts[0]).id
    details = ReplyDetails(model="m", ended="done")
    return [
        question,
        *(store.add_message(conversation, question, "assistant", text, details).id for text in texts[1:]),
    ]


def test_a_mark_is_kept_changed_and_taken_away(store: Store) -> None:
    conversation = store.create_conversation().id
    question, reply = ask(store, conversation, None, "q", "a")
    assert store.get_message(reply).mark is None
    for mark in ("good", "bad", None, "good"):
        store.mark_reply(reply, mark)
        assert store.get_message(reply).mark == mark
    store.finish_reply(reply, "a longer one", ReplyDetails(ended="done"))
    store.close()
    reopened = Store(store.path)
    assert [message.mark for message in reopened.branch(conversation)] == [None, "good"]
    with pytest.raises(NotFoundError, match="no reply"):
        reopened.mark_reply(question, "good")
    reopened.delete_message(reply)
    with pytest.raises(NotFoundError, match="no reply"):
        reopened.mark_reply(reply, "bad")
    reopened.close()


def test_a_correction_is_a_sibling_that_is_shown_and_searchable(store: Store) -> None:
    conversation = store.create_conversation().id
    question, reply = ask(store, conversation, None, "q", "wrong")
    below, _ = ask(store, conversation, reply, "and then", "more")
    better = store.correct_reply(reply, "the right words")
    assert (better.content, better.mark, better.reply, better.parent_id) == ("the right words", "good", None, question)
    assert better.siblings == (reply, better.id)
    assert store.get_message(reply).mark == "bad"
    assert [message.id for message in store.branch(conversation)] == [question, better.id]
    assert store.get_message(below).content == "and then", "what followed stays where it was"
    assert [hit.message_id for hit in store.search("right words")] == [better.id]


def test_the_persons_own_words_are_no_example_of_what_to_avoid(store: Store) -> None:
    conversation = store.create_conversation().id
    _, reply = ask(store, conversation, None, "q", "wrong")
    first = store.correct_reply(reply, "with a tpyo")
    second = store.correct_reply(first.id, "without a typo")
    assert [store.get_message(each).mark for each in (reply, first.id, second.id)] == ["bad", None, "good"]
    with pytest.raises(NotFoundError):
        store.correct_reply(1, "a question is not corrected")
    assert len(store.siblings(reply)) == 3, "nothing of it was stored"


def test_branches_that_another_goes_on_from_are_left_out(store: Store) -> None:
    conversation = store.create_conversation("one").id
    _, a, b = ask(store, conversation, None, "1", "a", "b")
    _, c, d = ask(store, conversation, a, "2", "c", "d")
    for reply in (a, b, d):
        store.mark_reply(reply, "good")
    store.mark_reply(c, "bad")
    (found,) = store.marked()
    assert [[message.content for message in branch] for branch in found.good] == [["1", "b"], ["1", "a", "2", "d"]]
    assert [message.content for message in found.bad] == ["c"]
    assert found.conversation.title == "one"

    other = store.create_conversation("two").id
    assert len(store.marked()) == 1, "nothing is marked in it"
    _, e = ask(store, other, None, "3", "e")
    store.mark_reply(e, "bad")
    assert [each.conversation.id for each in store.marked()] == [conversation, other]
    assert [each.conversation.id for each in store.marked(other)] == [other]
    store.delete_message(d)
    assert [[message.content for message in branch] for branch in store.marked(conversation)[0].good] == [
        ["1", "a"],
        ["1", "b"],
    ]
    store.delete_conversation(conversation)
    assert [each.conversation.id for each in store.marked()] == [other]
