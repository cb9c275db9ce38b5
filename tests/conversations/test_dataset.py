"""Marked replies as a data set: what is trained, what is context, what was rejected; `sft` reads it so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hugchat_tui.conversations.dataset import Dataset, dataset, file_name, free_path, write
from hugchat_tui.conversations.model import Mark, ReplyDetails
from hugchat_tui.conversations.store import Store
from sft.data.conversation import Conversation
from sft.data.preview import Piece, preview
from sft.data.reading import read_file
from tests.sft.data.chat_formats import chat_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "conversations.db")
    yield store
    store.close()


class Talk:
    """A conversation that is written down turn by turn."""

    def __init__(self, store: Store, system_prompt: str = "") -> None:
        self.store = store
        self.id = store.create_conversation("Capitals", system_prompt=system_prompt).id

    def ask(self, parent: int | None, text: str) -> int:
        return self.store.add_message(self.id, parent, "user", text).id

    def reply(self, question: int, text: str, mark: Mark | None = None) -> int:
        reply = self.store.add_message(self.id, question, "assistant", text, ReplyDetails(ended="done")).id
        self.store.mark_reply(reply, mark)
        return reply

    def dataset(self) -> Dataset:
        return dataset(self.store.marked(self.id))


def rows(made: Dataset) -> list[dict[str, object]]:
    return [json.loads(row) for row in made.rows]


def test_a_row_is_what_the_model_heard_with_the_good_reply_and_what_was_rejected(store: Store) -> None:
    talk = Talk(store, "Be brief.")
    first = talk.reply(talk.ask(None, "France?"), "Lyon, I think.")
    unanswered = talk.ask(first, "Hello?")
    question = talk.ask(unanswered, "Italy?")
    talk.reply(question, "Milan.", "bad")
    talk.reply(question, "Dunno.")
    talk.reply(question, "Turin.", "bad")
    talk.reply(question, "Rome.", "good")
    made = talk.dataset()
    assert rows(made) == [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "France?"},
                {"role": "assistant", "content": "Lyon, I think.", "weight": 0},
                {"role": "user", "content": "Italy?"},
                {"role": "assistant", "content": "Rome."},
            ],
            "rejected": [{"role": "assistant", "content": "Milan."}, {"role": "assistant", "content": "Turin."}],
        }
    ]
    assert (made.trained, made.rejected, made.left_out) == (1, 2, 0)


def test_every_good_reply_is_trained_once_and_keeps_what_was_rejected_for_it(store: Store) -> None:
    talk = Talk(store)
    question = talk.ask(None, "France?")
    talk.reply(question, "Lyon.", "bad")
    paris = talk.reply(question, "Paris.", "good")
    following = talk.ask(paris, "Italy?")
    talk.reply(following, "Rome.", "good")
    talk.reply(following, "It is Rome.", "good")
    made = talk.dataset()
    opening = {"role": "user", "content": "France?"}
    asked = {"role": "user", "content": "Italy?"}
    rejected = [{"role": "assistant", "content": "Lyon."}]
    assert [row["messages"] for row in rows(made)] == [
        [
            opening,
            {"role": "assistant", "content": "Paris.", "rejected": rejected},
            asked,
            {"role": "assistant", "content": "Rome."},
        ],
        [
            opening,
            {"role": "assistant", "content": "Paris.", "weight": 0},
            asked,
            {"role": "assistant", "content": "It is Rome."},
        ],
    ]
    assert (made.trained, made.rejected, made.left_out) == (3, 1, 0)


def test_what_is_left_out_is_counted(store: Store) -> None:
    talk = Talk(store)
    question = talk.ask(None, "France?")
    alone = talk.reply(question, "Lyon.", "bad")
    talk.reply(talk.ask(alone, "Sure?"), "", "good")
    made = talk.dataset()
    assert made == Dataset((), 0, 0, 2)
    assert made.content == b""
    assert dataset([]) == Dataset((), 0, 0, 0)


def test_the_person_s_own_reply_is_what_is_trained(store: Store) -> None:
    talk = Talk(store)
    wrong = talk.reply(talk.ask(None, "France?"), "Lyon.")
    store.correct_reply(wrong, "Paris.")
    (row,) = rows(talk.dataset())
    assert row["messages"] == [{"role": "user", "content": "France?"}, {"role": "assistant", "content": "Paris."}]
    assert row["rejected"] == [{"role": "assistant", "content": "Lyon."}]


def test_sft_reads_it_and_trains_the_good_replies_alone(store: Store, tmp_path: Path) -> None:
    talk = Talk(store, "Be brief.")
    first = talk.reply(talk.ask(None, "France?"), "Lyon.")
    second = talk.reply(talk.ask(first, "Italy?\u2028\0"), 'Rome 🏛 "quoted"\n\nand more.', "good")
    talk.reply(talk.ask(second, "Spain?"), "Madrid.", "good")
    path = tmp_path / "new folder" / "set.jsonl"
    write(path, talk.dataset().content)
    assert [each.name for each in path.parent.iterdir()] == ["set.jsonl"], "no temporary file is left"
    (read,) = read_file(path)
    assert isinstance(read, Conversation)
    assert [(each.role, each.content, each.trained) for each in read.messages if each.role == "assistant"] == [
        ("assistant", "Lyon.", False),
        ("assistant", 'Rome 🏛 "quoted"\n\nand more.', True),
        ("assistant", "Madrid.", True),
    ]
    assert read.messages[0].content == "Be brief."
    (shown,) = preview([read], chat_of("smollm2"), 1, 512)
    assert [piece.text for piece in shown.pieces if piece.trained] == [
        'Rome 🏛 "quoted"\n\nand more.<|im_end|>',
        "Madrid.<|im_end|>",
    ]
    assert isinstance(shown.pieces[0], Piece) and "Lyon." in shown.pieces[0].text


def test_what_a_run_may_still_read_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "datasets"
    assert free_path(folder, "a.jsonl", b"1") == folder / "a.jsonl"
    write(folder / "a.jsonl", b"1")
    assert free_path(folder, "a.jsonl", b"1") == folder / "a.jsonl", "it holds just that"
    assert free_path(folder, "a.jsonl", b"2") == folder / "a-2.jsonl"
    write(folder / "a-2.jsonl", b"2")
    assert free_path(folder, "a.jsonl", b"3") == folder / "a-3.jsonl"
    assert free_path(folder, "a.jsonl", b"2") == folder / "a-2.jsonl"


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("What is the capital of France?", "what-is-the-capital-of-france.jsonl"),
        ("../../etc/[passwd]*", "etc-passwd.jsonl"),
        ("猫 said: “no”", "猫-said-no.jsonl"),
        ("", "conversations.jsonl"),
        ("?!", "conversations.jsonl"),
        ("long " * 30, "long-" * 9 + "lon.jsonl"),
    ],
)
def test_the_name_of_the_file_is_made_of_the_title(title: str, name: str) -> None:
    assert file_name(title) == name
