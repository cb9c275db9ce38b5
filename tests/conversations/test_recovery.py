"""A program that is killed while it writes a reply loses nothing it stored, and the next start says it
stopped.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import pytest

from hugchat_tui.conversations import writers
from hugchat_tui.conversations.model import ReplyDetails
from hugchat_tui.conversations.store import Store

# Writes a reply without end, and names each length once it is stored.
STREAMING = """
import sys
from pathlib import Path
from hugchat_tui.conversations.model import ReplyDetails
from hugchat_tui.conversations.store import Store

store = Store(Path(sys.argv[1]))
conversation = store.create_conversation("Killed")
question = store.add_message(conversation.id, None, "user", "question")
details = ReplyDetails(model="starter", model_path="/models/starter")
reply = store.begin_reply(conversation.id, question.id, details)
text = ""
while True:
    text += "word "
    details.new_tokens += 1
    store.update_reply(reply.id, text, details)
    print(len(text), flush=True)
"""


@contextmanager
def streaming_program(path: Path) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    command = [sys.executable, "-c", STREAMING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            yield program, program.stdout
        finally:
            program.kill()


def test_killing_the_program_keeps_every_word_it_stored(tmp_path: Path) -> None:
    path = tmp_path / "conversations.db"
    with streaming_program(path) as (program, stored):
        for _ in range(50):
            stored.readline()
        program.kill()
        lengths = [int(line) for line in stored]
        program.wait()
    assert (tmp_path / "conversations.db-wal").exists()  # it had no chance to tidy up

    store = Store(path)
    reply = store.branch(1)[-1]
    assert reply.reply is not None
    assert reply.reply.ended is None
    assert len(reply.content) >= max(lengths, default=50)
    assert store.search("word") == []

    assert store.recover() == [reply.id]
    (hit,) = store.search("word")
    recovered = store.get_message(reply.id)
    assert hit.message_id == reply.id
    assert recovered.content == reply.content
    assert recovered.reply is not None
    assert (recovered.reply.ended, recovered.reply.model) == ("stopped", "starter")
    assert store.recover() == []
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.execute("INSERT INTO message_index(message_index) VALUES ('integrity-check')")


def test_a_reply_that_another_program_is_writing_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "conversations.db"
    with streaming_program(path) as (_program, stored):
        stored.readline()
        store = Store(path)
        assert store.recover() == []
        before = len(store.branch(1)[-1].content)
        while int(stored.readline()) <= before:
            pass
        assert len(store.branch(1)[-1].content) > before  # two programs at once
    assert store.recover() == [store.branch(1)[-1].id]
    store.close()


def test_a_reply_of_this_program_is_not_taken_for_lost_by_a_second_store(tmp_path: Path) -> None:
    path = tmp_path / "conversations.db"
    store, second = Store(path), Store(path)
    reply = store.begin_reply(store.create_conversation().id, None, ReplyDetails())
    assert second.recover() == []
    store.finish_reply(reply.id, "whole", ReplyDetails(ended="done"))
    store.close()
    second.close()


def test_a_process_id_that_was_given_out_again_is_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container the program has the same process id at each start."""
    mark = writers.this_writer()
    assert writers.is_alive(mark)
    monkeypatch.setattr(writers, "_THIS_PROCESS", "another")
    assert not writers.is_alive(mark)
    parent = os.getppid()
    assert not writers.is_alive(f"{parent} some-other-boot:1234 word")
    assert writers.is_alive(f"{parent} {writers._started(parent)} word")


def test_a_reply_wrongly_taken_for_lost_still_ends_as_it_should(tmp_path: Path) -> None:
    """A program in another container cannot be seen alive: its next write takes the reply back."""
    store = Store(tmp_path / "conversations.db")
    reply = store.begin_reply(store.create_conversation().id, None, ReplyDetails(), "one")
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE messages SET writer = '1 nowhere:0 word'")
    assert store.recover() == [reply.id]
    assert [hit.message_id for hit in store.search("one ")] == [reply.id]
    store.update_reply(reply.id, "two", ReplyDetails())
    assert store.search("one ") == []
    assert store.recover() == []
    store.finish_reply(reply.id, "two three", ReplyDetails(ended="done"))
    assert [hit.message_id for hit in store.search("two three")] == [reply.id]
    store.close()


def test_damaged_details_cost_neither_the_words_nor_the_other_conversations(tmp_path: Path) -> None:
    path = tmp_path / "conversations.db"
    with streaming_program(path) as (program, stored):
        stored.readline()
        program.kill()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE messages SET reply = ? WHERE role = 'assistant'", ('{"ended": 5}',))
    store = Store(path)
    (lost,) = store.recover()
    reply = store.branch(1)[-1]
    assert reply.id == lost and reply.content.startswith("word ")
    assert reply.reply is not None and "damaged" in reply.reply.error
    store.close()
