"""Opening the database: connection settings, and numbered migrations by `PRAGMA user_version`."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from hugchat_tui.conversations.errors import DatabaseTooNewError, DatabaseUnusableError, StoreBusyError

BUSY_TIMEOUT_S = 5.0

# One entry a version, applied in order in one transaction each. A released entry is never edited: a change
# of the schema is a new entry at the end, and a database of the version before it goes into
# tests/conversations/databases.
#
# messages.parent_id does not cascade: SQLite gives up on cascades deeper than 1,000, and threads are deeper.
# messages.deletion names the deletion that hid the message. messages.indexed: its content is in
# message_index. messages.writer names the process that is writing the reply, NULL when none is.
# messages.mark: what the person thinks of a reply; it is in an index as well, because reading it from a row
# means reading past the row's content.
# message_index keeps no text of its own (content=''), so a row is taken out of it by giving it the text that
# was put in. Its order is that of rowid, which FTS5 reads backwards without sorting: that makes "newest
# first" cheap for the commonest word.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE conversations (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            title TEXT NOT NULL,
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL,
            model TEXT NOT NULL DEFAULT '',
            system_prompt TEXT NOT NULL DEFAULT '',
            draft TEXT NOT NULL DEFAULT '',
            leaf_id INTEGER REFERENCES messages(id) ON DELETE SET NULL,
            deleted_at REAL
        ) STRICT""",
        """CREATE TABLE deletions (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            conversation_id INTEGER NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
            leaf_id INTEGER REFERENCES messages(id) ON DELETE SET NULL,
            deleted_at REAL NOT NULL
        ) STRICT""",
        """CREATE TABLE messages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            conversation_id INTEGER NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
            parent_id INTEGER REFERENCES messages(id),
            role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
            created_at REAL NOT NULL,
            deletion INTEGER REFERENCES deletions(id),
            indexed INTEGER NOT NULL DEFAULT 0,
            writer TEXT,
            reply TEXT,
            content TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX conversations_by_use ON conversations(updated_at) WHERE deleted_at IS NULL",
        "CREATE INDEX conversations_by_leaf ON conversations(leaf_id)",
        "CREATE INDEX deletions_by_conversation ON deletions(conversation_id)",
        "CREATE INDEX deletions_by_leaf ON deletions(leaf_id)",
        "CREATE INDEX messages_by_conversation ON messages(conversation_id, deletion, parent_id)",
        "CREATE INDEX messages_by_parent ON messages(parent_id)",
        "CREATE INDEX messages_by_deletion ON messages(deletion) WHERE deletion IS NOT NULL",
        "CREATE INDEX messages_being_written ON messages(id) WHERE writer IS NOT NULL",
        "CREATE INDEX messages_asked ON messages(id) WHERE role = 'user'",
        # The prefix indexes make search-as-you-type as cheap as a whole word; longer prefixes match few
        # enough.
        """CREATE VIRTUAL TABLE message_index USING fts5(
            content, content='', columnsize=0, prefix='1 2 3', tokenize='unicode61 remove_diacritics 2'
        )""",
    ),
    (
        "ALTER TABLE messages ADD COLUMN mark TEXT CHECK (mark IN ('good', 'bad'))",
        "CREATE INDEX messages_marked ON messages(conversation_id, deletion, mark) WHERE mark IS NOT NULL",
    ),
)


def connect(path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> sqlite3.Connection:
    """A connection in autocommit mode to the database at `path`, made or brought up to date as needed.

    May be used from any one thread at a time. Raises DatabaseTooNewError (the file is left as it was),
    DatabaseUnusableError and StoreBusyError.
    """
    try:
        _refuse_newer(path, len(migrations))
        _create_private(path)
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
        )
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from error
    try:
        _configure(connection)
        migrate(connection, migrations)
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Apply the migrations the database lacks, each in a transaction of its own.

    Another process may be doing the same: the version is read again under the write lock. Raises
    DatabaseTooNewError and sqlite3.Error; the database then has the version of the last whole migration.
    """
    while (version := user_version(connection)) != len(migrations):
        if version > len(migrations):
            raise _too_new(version, len(migrations))
        connection.execute("BEGIN IMMEDIATE")
        try:
            if user_version(connection) == version:
                for statement in migrations[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def user_version(connection: sqlite3.Connection) -> int:
    """The number of migrations that have been applied."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    _use_wal(connection)
    # In WAL a commit is in the operating system's hands when it returns, so killing the program loses
    # nothing that was committed, with NORMAL as with FULL. FULL adds an fsync to every commit, which would
    # save the last commits from a power cut and would make a streaming reply wait for the disk twice a
    # second. NORMAL cannot corrupt.
    connection.execute("PRAGMA synchronous = NORMAL")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Two programs that turn it on at once do not wait for each other, as SQLite sees a deadlock: try again."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return  # a file system without shared memory keeps its old mode, which is safe as well
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _refuse_newer(path: Path, known: int) -> None:
    """Look at the version read-only, before a connection that could write is made."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)) as reader:
        version = user_version(reader)
    if version > known:
        raise _too_new(version, known)


def _create_private(path: Path) -> None:
    """Conversations are nobody else's business: SQLite gives its side files the mode of the database."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _too_new(version: int, known: int) -> DatabaseTooNewError:
    return DatabaseTooNewError(
        f"The conversations were written by a newer HugChat (version {version}, this one knows {known}).",
        "Update HugChat, or set HUGCHAT_DATA_DIR to another folder. Nothing was changed.",
    )


def _unusable(path: Path, error: Exception) -> DatabaseUnusableError | StoreBusyError:
    if isinstance(error, sqlite3.Error) and is_busy(error):
        return busy(error)
    return DatabaseUnusableError(
        f"The conversations at {path} cannot be opened: {error}.",
        "Check the file and its folder, or set HUGCHAT_DATA_DIR to another folder.",
    )


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another program's lock is the cause."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def busy(error: sqlite3.Error) -> StoreBusyError:
    return StoreBusyError(
        f"Another program kept the conversations locked for {BUSY_TIMEOUT_S:g} seconds ({error}).",
        "Try again; close other programs that have the database open.",
    )
