"""Search finds what is there, in any script, newest first, and takes any text for a query."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hugchat_tui.conversations.model import ReplyDetails
from hugchat_tui.conversations.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "conversations.db")
    yield store
    store.close()


def add(store: Store, *texts: str) -> list[int]:
    conversation = store.create_conversation("Found here")
    return [store.add_message(conversation.id, None, "user", text).id for text in texts]


def found(store: Store, query: str) -> list[int]:
    return [hit.message_id for hit in store.search(query, limit=1000)]


def marked(store: Store, query: str) -> list[str]:
    """The marked parts of the first hit's snippet."""
    hit = store.search(query)[0]
    return [hit.snippet[start:end] for start, end in hit.spans]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("paris", "The capital is Paris."),
        ("CAPITAL the", "The capital is Paris."),
        ("cap", "The capital is Paris."),
        ("the cap", "The capital is Paris."),
        ("cafe", "Ein Café, bitte"),
        ("café", "un cafe\u0301 noir"),
        ("abc", "full width ＡＢＣ"),
        ("don't", "I don't know"),
        ("snake_case", "call snake_case here"),
        ("C++", "learn C++ now"),
        ("天", "今天天气很好"),
        ("天气", "今天天气很好"),
        ("气很好", "今天天气很好"),
        ("Python语言", "我喜欢Python语言"),
        ("python", "我喜欢Python语言"),
        ("天气 paris", "巴黎天气 in Paris"),
        ("プロ", "プログラム"),
        ("교", "학교에서"),
        ("ภาษ", "ภาษาไทย"),
        ("𠮷野", "𠮷野家"),
        ("after", "before\0after"),
        ("2024", "in 2024-05-01"),
    ],
)
def test_a_query_finds_and_marks(store: Store, query: str, text: str) -> None:
    add(store, "nothing to see", text, "无关")
    assert found(store, query) == [2]
    assert marked(store, query)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("aris", "Paris"),  # the middle of a word, in a script with spaces
        ("pari ", "Paris"),  # a space ends the word: no longer a beginning
        ("paris london", "Paris"),  # all words
        ("气天", "今天天气"),  # another order
        ("今气", "今天天气"),  # not side by side
        ("not-there", "there is not"),
    ],
)
def test_a_query_does_not_find(store: Store, query: str, text: str) -> None:
    add(store, text)
    assert found(store, query) == []


def test_the_newest_come_first_page_by_page(store: Store) -> None:
    ids = add(store, *(f"common word number {number}" for number in range(25)))
    pages = [store.search("common", limit=10, offset=offset) for offset in (0, 10, 20)]
    assert [hit.message_id for page in pages for hit in page] == ids[::-1]
    hit = pages[0][0]
    assert (hit.conversation_title, hit.role, hit.snippet) == ("Found here", "user", "common word number 24")


def test_the_index_hands_out_matches_in_order_without_sorting_them(store: Store, tmp_path: Path) -> None:
    """Sorting would read all matches of a common word before the first could be shown."""
    from hugchat_tui.conversations import search

    for conversation in (None, 1):
        sql, arguments = search._statement('"the"', conversation)
        with sqlite3.connect(tmp_path / "conversations.db") as connection:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {sql} ORDER BY i.rowid DESC", arguments).fetchall()
        assert not any("TEMP B-TREE" in row[3] for row in plan), plan


def test_a_search_can_be_kept_to_one_conversation(store: Store) -> None:
    (first,) = add(store, "needle in one")
    (second,) = add(store, "needle in another")
    inner = store.get_message(first).conversation_id
    assert [hit.message_id for hit in store.search("needle", conversation_id=inner)] == [first]
    assert found(store, "needle") == [second, first]
    assert store.search("needle", conversation_id=999) == []


def test_a_snippet_is_one_line_around_the_match_with_the_words_marked(store: Store) -> None:
    add(store, "before " * 100 + "the\n\n\tNeedle,   needles " + "after " * 100)
    hit = store.search("needle")[0]
    assert re.fullmatch(r"…(before )+the Needle, needles (after ?)+…", hit.snippet)
    assert len(hit.snippet) < 200
    assert marked(store, "needle") == ["Needle", "needles"]
    add(store, "很长的文字" * 100 + "针" + "很长的文字" * 100)
    assert marked(store, "针") == ["针"]


def test_an_accented_match_is_marked_where_it_stands(store: Store) -> None:
    add(store, "学校 " * 50 + "déjà vu, Déjà-vu")
    assert marked(store, "deja") == ["déjà", "Déjà"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(query=st.text(st.one_of(st.characters(exclude_categories=()), st.sampled_from('"*()^+-:{}ANDORT \0\ud800'))))
def test_any_text_is_a_query(store: Store, query: str) -> None:
    add(store, query)
    for hit in store.search(query):
        assert all(0 <= start < end <= len(hit.snippet) for start, end in hit.spans)


def test_a_pasted_page_is_a_query(store: Store) -> None:
    page = " ".join(f"word{number}" for number in range(5_000))
    (message,) = add(store, page)
    assert found(store, page) == [message]


def test_a_query_without_letters_finds_nothing(store: Store) -> None:
    add(store, '"', "*", "😀")
    assert [found(store, query) for query in ("", " ", '"', "*", "😀", "\0")] == [[]] * 6


def test_a_reply_is_found_when_it_is_finished_not_while_it_grows(store: Store) -> None:
    conversation = store.create_conversation()
    reply = store.begin_reply(conversation.id, None, ReplyDetails())
    store.update_reply(reply.id, "growing", ReplyDetails())
    assert found(store, "growing") == []
    store.finish_reply(reply.id, "growing old", ReplyDetails(ended="done"))
    assert found(store, "growing old") == [reply.id]
    store.finish_reply(reply.id, "something else", ReplyDetails(ended="done"))
    assert found(store, "growing") == []
    assert found(store, "something") == [reply.id]


def test_a_deleted_message_is_not_found_until_it_is_back(store: Store) -> None:
    (message,) = add(store, "needle")
    deletion = store.delete_message(message)
    assert found(store, "needle") == []
    store.undelete_messages(deletion)
    assert found(store, "needle") == [message]


WORDS = st.lists(st.sampled_from(["ape", "apple", "bee", "be", "天", "气", "天气"]), max_size=4).map(" ".join)


def matches(query: str, text: str) -> bool:
    """What the index must agree with, said plainly, for words of the alphabet above."""

    def tokens(of: str) -> list[str]:
        return re.findall(r"[a-z]+|[天气]", of)

    words = query.split()
    for place, word in enumerate(words):
        wanted, there = tokens(word), tokens(text)
        ends = [there[start : start + len(wanted)] for start in range(len(there))]
        begins = place == len(words) - 1 and word[-1].isascii()
        if not any(part == wanted or (begins and part and part[0].startswith(word)) for part in ends):
            return False
    return bool(words)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_index_stays_right_whatever_is_done_to_the_messages(data: st.DataObject) -> None:
    """Random work on a few messages; after each step the search agrees with reading everything."""
    folder = tempfile.TemporaryDirectory()
    store = Store(Path(folder.name, "conversations.db"))
    conversation = store.create_conversation().id
    texts: dict[int, str] = {}  # of the messages that should be found
    writing: set[int] = set()
    undo: list[tuple[int, dict[int, str]]] = []
    seen: set[str] = set()
    for _ in range(data.draw(st.integers(1, 12))):
        step = data.draw(st.sampled_from(["add", "begin", "update", "finish", "delete", "undo", "purge", "recover"]))
        text = data.draw(WORDS)
        seen.add(text)
        finished = sorted(texts)
        if step == "add":
            texts[store.add_message(conversation, None, "user", text).id] = text
        elif step == "begin":
            writing.add(store.begin_reply(conversation, None, ReplyDetails(), text).id)
        elif step == "update" and writing | texts.keys():
            message = data.draw(st.sampled_from(sorted(writing | texts.keys())))
            store.update_reply(message, text, ReplyDetails())
            texts.pop(message, None)
            writing.add(message)
        elif step == "finish" and writing | texts.keys():
            message = data.draw(st.sampled_from(sorted(writing | texts.keys())))
            store.finish_reply(message, text, ReplyDetails(ended="done"))
            writing.discard(message)
            texts[message] = text
        elif step == "delete" and finished:
            message = data.draw(st.sampled_from(finished))
            undo.append((store.delete_message(message), {message: texts.pop(message)}))
        elif step == "undo" and undo:
            deletion, brought_back = undo.pop()
            store.undelete_messages(deletion)
            texts |= brought_back
        elif step == "purge":
            store.purge_deleted()
            undo.clear()
        elif step == "recover":
            assert store.recover() == []
        query = data.draw(st.one_of(WORDS, st.sampled_from(sorted(seen))))
        expected = [each for each in sorted(texts, reverse=True) if matches(query, texts[each])]
        assert found(store, query) == expected, query
    store.close()
    folder.cleanup()
