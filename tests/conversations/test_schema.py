"""Databases of every version open; those of the future and other files are refused and left as they are."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hugchat_tui.conversations.errors import DatabaseTooNewError, DatabaseUnusableError, StoreBusyError
from hugchat_tui.conversations.model import ReplyDetails
from hugchat_tui.conversations.schema import MIGRATIONS, connect, user_version
from hugchat_tui.conversations.store import Store

OLD_DATABASES = Path(__file__).parent / "databases"


def schema_of(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return {
            (name, " ".join(sql.split()))
            for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        }


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_a_database_of_every_version_opens_with_all_its_content(version: int, tmp_path: Path) -> None:
    """databases/vN.db was made by `python -m tests.conversations.make_database` when N was the newest
    version.
    """
    path = tmp_path / "conversations.db"
    shutil.copy(OLD_DATABASES / f"v{version}.db", path)
    store = Store(path)
    (conversation,) = store.list_conversations()
    assert (conversation.title, conversation.system_prompt, conversation.model, conversation.draft) == (
        ("An old conversation", "Be brief.", "starter", "a draft")
    )
    question, answer = store.branch(conversation.id)
    assert question.content == "What did 猫 say?"
    assert answer.content == "It said\0nothing at all."
    assert answer.reply == ReplyDetails(model="starter", seed=7, new_tokens=5, ended="done")
    assert len(answer.siblings) == 2
    for query, found in {"猫": [question.id], "noth": [answer.id], "other": [answer.siblings[0]]}.items():
        assert [hit.message_id for hit in store.search(query)] == found
    assert store.purge_deleted() == 1
    store.close()
    Store(tmp_path / "new.db").close()
    assert schema_of(path) == schema_of(tmp_path / "new.db")


def test_a_newer_database_is_refused_and_left_untouched(tmp_path: Path) -> None:
    path = tmp_path / "conversations.db"
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        connection.execute("PRAGMA journal_mode = DELETE")  # the future may have its reasons
    before = path.read_bytes()
    with pytest.raises(DatabaseTooNewError, match=r"newer HugChat.*Update HugChat"):
        Store(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"These are my notes, not a database." * 99, b"SQLite format 3\0" + b"?" * 4096])
def test_a_file_that_is_no_database_is_refused_and_left_untouched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "conversations.db"
    path.write_bytes(content)
    with pytest.raises(DatabaseUnusableError, match="cannot be opened"):
        Store(path)
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatabaseUnusableError, match=r"file/conversations\.db"):
        Store(tmp_path / "file" / "conversations.db")


def test_migrations_are_applied_in_order_each_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    first, second = ("CREATE TABLE a(x)",), ("CREATE TABLE b(x)", "INSERT INTO b VALUES (1)")
    connect(path, [first]).close()
    with pytest.raises(DatabaseUnusableError, match="no such table: missing"):
        connect(path, [first, second, ("CREATE TABLE c(x)", "INSERT INTO missing VALUES (1)")])
    with closing(sqlite3.connect(path)) as connection:
        assert user_version(connection) == 2
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert tables == [("a",), ("b",)]
    with closing(connect(path, [first, second, ("CREATE TABLE c(x)",)])) as connection:
        assert user_version(connection) == 3
        assert connection.execute("SELECT x FROM b").fetchall() == [(1,)]


# Waits until its input is closed, so that several can start at once.
PROGRAM = """
import sys
from pathlib import Path
from hugchat_tui.conversations.store import Store

sys.stdin.read()
store = Store(Path(sys.argv[1]))
for _ in range(20):
    conversation = store.create_conversation("shared")
    store.add_message(conversation.id, None, "user", "hello")
store.close()
"""


def test_programs_started_together_share_one_new_database(tmp_path: Path) -> None:
    path = tmp_path / "conversations.db"
    command = [sys.executable, "-c", PROGRAM, str(path)]
    programs = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    for each in programs:
        assert each.stdin is not None
        each.stdin.close()
    assert [each.wait() for each in programs] == [0, 0, 0, 0]
    store = Store(path)
    assert len(store.list_conversations()) == len(store.search("hello", limit=1000)) == 80
    store.close()


def test_a_database_that_stays_locked_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hugchat_tui.conversations.schema.BUSY_TIMEOUT_S", 0.01)
    store = Store(tmp_path / "conversations.db")
    with closing(sqlite3.connect(store.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusyError, match="Another program"):
            store.create_conversation()
    assert store.create_conversation().id == 1
    store.close()
