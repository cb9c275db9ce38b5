"""The store keeps conversations, their trees and every byte of their texts."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hugchat_tui.conversations.errors import NotFoundError, StoreClosedError, StoreError
from hugchat_tui.conversations.model import Conversation, ReplyDetails, Role
from hugchat_tui.conversations.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "conversations.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


def contents(store: Store, conversation: Conversation, leaf: int | None = None) -> list[str]:
    return [message.content for message in store.branch(conversation.id, leaf)]


def thread(store: Store, conversation: Conversation, *texts: str, parent: int | None = None) -> list[int]:
    """Add messages one below the other, questions and answers by turns; returns their ids."""
    ids: list[int] = []
    for text in texts:
        role: Role = "assistant" if len(ids) % 2 else "user"
        parent = store.add_message(conversation.id, parent, role, text).id
        ids.append(parent)
    return ids


def test_everything_about_a_conversation_survives_closing(store: Store, path: Path) -> None:
    conversation = store.create_conversation("Title", system_prompt="Be brief.", model="starter")
    store.rename(conversation.id, "Better title")
    store.set_model(conversation.id, "org/model")
    store.set_system_prompt(conversation.id, "Be long.")
    store.save_draft(conversation.id, "half a thou")
    question = store.add_message(conversation.id, None, "user", "Why?")
    details = ReplyDetails(
        model="org/model", sampling={"temperature": 0.5, "stop": ["\n\n"]}, seed=7, new_tokens=3, ended="length"
    )
    answer = store.add_message(conversation.id, question.id, "assistant", "Because", details)
    store.close()

    reopened = Store(path)
    stored = reopened.get_conversation(conversation.id)
    assert (stored.title, stored.model, stored.system_prompt, stored.draft, stored.leaf_id) == (
        ("Better title", "org/model", "Be long.", "half a thou", answer.id)
    )
    assert stored.message_count == 2
    assert reopened.branch(conversation.id) == [question, answer]
    assert reopened.branch(conversation.id)[1].reply == details
    reopened.close()


def test_conversations_are_private_to_their_owner(store: Store, path: Path) -> None:
    store.create_conversation("Title")
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_last_used_conversation_is_listed_first(store: Store) -> None:
    first, second, third = (store.create_conversation(name) for name in ("first", "second", "third"))
    store.add_message(first.id, None, "user", "hello")
    store.rename(second.id, "renaming is no use")
    assert [each.id for each in store.list_conversations()] == [first.id, third.id, second.id]
    assert [each.id for each in store.list_conversations(limit=1, offset=1)] == [third.id]


def test_regenerating_and_editing_make_siblings_and_destroy_nothing(store: Store) -> None:
    conversation = store.create_conversation()
    question, first = thread(store, conversation, "question", "first answer")
    second = store.add_message(conversation.id, question, "assistant", "second answer").id
    edited = store.add_message(conversation.id, None, "user", "edited question").id

    assert contents(store, conversation) == ["edited question"]
    assert contents(store, conversation, first) == ["question", "first answer"]
    assert [message.siblings for message in store.branch(conversation.id, second)] == [
        (question, edited),
        (first, second),
    ]
    assert store.siblings(first) == store.children(conversation.id, question) == [first, second]
    assert store.children(conversation.id, None) == [question, edited]


def test_switching_to_a_sibling_shows_its_most_recent_continuation(store: Store) -> None:
    conversation = store.create_conversation()
    question, first = thread(store, conversation, "question", "first answer")
    older = thread(store, conversation, "a", "b", "c", parent=first)
    newer = thread(store, conversation, "d", "e", parent=first)
    second = store.add_message(conversation.id, question, "assistant", "second answer").id

    assert store.deepest_leaf(first) == newer[-1]
    assert store.deepest_leaf(older[0]) == older[-1]
    assert store.deepest_leaf(question) == store.deepest_leaf(second) == second
    store.set_leaf(conversation.id, store.deepest_leaf(first))
    assert contents(store, conversation) == ["question", "first answer", "d", "e"]


def test_a_message_goes_only_below_one_of_its_own_conversation(store: Store) -> None:
    here, there = store.create_conversation(), store.create_conversation()
    message = store.add_message(there.id, None, "user", "there").id
    with pytest.raises(NotFoundError):
        store.add_message(here.id, message, "assistant", "lost")
    with pytest.raises(NotFoundError):
        store.set_leaf(here.id, message)
    with pytest.raises(NotFoundError):
        store.branch(here.id, message)
    with pytest.raises(NotFoundError):
        store.add_message(999, None, "user", "nowhere")
    assert store.get_conversation(here.id).message_count == 0


def test_deleting_a_message_hides_what_is_below_and_undo_brings_exactly_that_back(store: Store) -> None:
    conversation = store.create_conversation()
    question, first = thread(store, conversation, "question", "first")
    kept = store.add_message(conversation.id, question, "assistant", "second").id
    below = thread(store, conversation, "x", "y", parent=first)

    inner = store.delete_message(below[1])
    assert contents(store, conversation) == ["question", "first", "x"]
    outer = store.delete_message(first)
    assert contents(store, conversation) == ["question", "second"]
    assert store.siblings(kept) == [kept]
    with pytest.raises(NotFoundError):
        store.get_message(below[0])
    with pytest.raises(NotFoundError):
        store.add_message(conversation.id, first, "user", "below a deleted one")
    with pytest.raises(StoreError, match="Undo that deletion first"):
        store.undelete_messages(inner)

    store.undelete_messages(outer)
    assert contents(store, conversation) == ["question", "first", "x"]
    store.undelete_messages(inner)
    assert contents(store, conversation) == ["question", "first", "x", "y"]
    with pytest.raises(NotFoundError):
        store.undelete_messages(inner)


def test_deleting_the_only_first_message_leaves_an_empty_conversation(store: Store) -> None:
    conversation = store.create_conversation()
    question, _answer = thread(store, conversation, "question", "answer")
    deletion = store.delete_message(question)
    assert contents(store, conversation) == []
    assert store.get_conversation(conversation.id).leaf_id is None
    store.undelete_messages(deletion)
    assert contents(store, conversation) == ["question", "answer"]


def test_undoing_a_deletion_elsewhere_leaves_the_shown_branch_alone(store: Store) -> None:
    conversation = store.create_conversation()
    question, hidden = thread(store, conversation, "question", "hidden")
    first = store.add_message(conversation.id, question, "assistant", "shown first").id
    deletion = store.delete_message(hidden)
    then = store.add_message(conversation.id, first, "user", "shown then").id
    store.undelete_messages(deletion)
    assert store.get_conversation(conversation.id).leaf_id == then


def test_a_deleted_conversation_is_gone_until_undone_and_for_good_once_purged(store: Store) -> None:
    conversation = store.create_conversation("one")
    thread(store, conversation, "needle", "answer")
    store.delete_conversation(conversation.id)
    assert store.list_conversations() == []
    assert store.search("needle") == []
    assert store.prompt_history() == []
    with pytest.raises(NotFoundError):
        store.add_message(conversation.id, None, "user", "late")
    assert store.purge_deleted(older_than_s=3600) == 0
    assert store.undelete_conversation(conversation.id).message_count == 2

    store.delete_conversation(conversation.id)
    assert store.purge_deleted() == 2
    with pytest.raises(NotFoundError):
        store.undelete_conversation(conversation.id)


def test_a_thread_deeper_than_sqlite_cascades_can_be_shown_deleted_and_purged(store: Store) -> None:
    """SQLite stops cascading deletes at a depth of 1,000."""
    conversation = store.create_conversation()
    ids = thread(store, conversation, *(f"turn {number}" for number in range(1_200)))
    assert [message.id for message in store.branch(conversation.id)] == ids
    store.delete_message(ids[5])
    assert len(store.branch(conversation.id)) == 5
    assert store.purge_deleted() == 1_195
    store.delete_conversation(conversation.id)
    assert store.purge_deleted() == 5


def test_a_purge_leaves_nothing_of_the_text_in_the_index(store: Store, path: Path) -> None:
    conversation = store.create_conversation()
    thread(store, conversation, "keep this", "secretword 秘密")
    store.delete_message(store.deepest_leaf(store.children(conversation.id, None)[0]))
    store.purge_deleted()
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, message_index, row)")
        terms = {row[0] for row in connection.execute("SELECT term FROM terms")}
    assert terms == {"keep", "this"}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=())))
def test_text_comes_back_as_it_was_but_lone_surrogates_become_visible(store: Store, text: str) -> None:
    """NUL, bidi controls and escapes are text like any other; "\\ud800" cannot be stored as UTF-8."""
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    conversation = store.create_conversation(text, system_prompt=text)
    store.save_draft(conversation.id, text)
    details = ReplyDetails(model_path=text, error=text, sampling={text: [text]})
    reply = store.begin_reply(conversation.id, None, details, text)
    store.finish_reply(reply.id, text, details)
    stored = store.get_conversation(conversation.id)
    assert [stored.title, stored.system_prompt, stored.draft] == [expected] * 3
    message = store.get_message(reply.id)
    assert message.content == expected
    assert message.reply == ReplyDetails(model_path=expected, error=expected, sampling={expected: [expected]})


def test_a_speed_that_is_no_number_does_not_make_the_reply_unreadable(store: Store) -> None:
    conversation = store.create_conversation()
    details = ReplyDetails(tokens_per_second=math.inf, first_token_s=math.nan)
    reply = store.begin_reply(conversation.id, None, details)
    stored = store.get_message(reply.id).reply
    assert stored is not None
    assert (stored.tokens_per_second, stored.first_token_s) == (0.0, 0.0)


def test_prompt_history_is_each_question_once_newest_first(store: Store) -> None:
    conversation = store.create_conversation()
    thread(store, conversation, "one", "an answer", "two", "another answer", "one")
    hidden = store.add_message(conversation.id, None, "user", "hidden").id
    store.delete_message(hidden)
    assert store.prompt_history() == ["one", "two"]
    assert store.prompt_history(limit=1) == ["one"]


def test_a_change_that_fails_changes_nothing(store: Store) -> None:
    conversation = store.create_conversation("before")
    with pytest.raises(NotFoundError):
        store.add_message(conversation.id, 999, "user", "lost words")
    assert store.get_conversation(conversation.id) == conversation
    assert store.search("lost") == []


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreClosedError):
        store.list_conversations()
