"""The conversations on disk. One Store is used by one thread at a time; two programs may share the file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hugchat_tui.conversations import marks, removal, tree, writing
from hugchat_tui.conversations.errors import (
    DatabaseUnusableError,
    NotFoundError,
    StoreClosedError,
    StoreError,
)
from hugchat_tui.conversations.model import (
    Conversation,
    Mark,
    MarkedConversation,
    Message,
    ReplyDetails,
    Role,
    SearchHit,
)
from hugchat_tui.conversations.schema import busy, connect, is_busy
from hugchat_tui.conversations.search import search
from hugchat_tui.conversations.text import storable
from hugchat_tui.conversations.writers import is_alive, this_writer

_CONVERSATION = """
    SELECT id, title, created_at, updated_at, model, system_prompt, draft, leaf_id,
        (SELECT count(*) FROM messages WHERE conversation_id = c.id AND deletion IS NULL)
    FROM conversations c WHERE deleted_at IS NULL
"""


class Store:
    """Conversations, their message trees and the search over them.

    Every method may raise StoreBusyError when another program keeps the database locked,
    DatabaseUnusableError when the file is damaged or the disk is full, and StoreClosedError after `close`.
    Each change is one transaction, whole or absent. Text is kept as given, NUL included, except that a lone
    surrogate is stored as U+FFFD. Times are seconds since the epoch.
    """

    def __init__(self, path: Path) -> None:
        """Open the database at `path`, making it or bringing it up to date. Raises DatabaseTooNewError."""
        self.path = path
        self._connection: sqlite3.Connection | None = connect(path)

    def close(self) -> None:
        """Close the database; a second call does nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # Conversations

    def create_conversation(self, title: str = "", system_prompt: str = "", model: str = "") -> Conversation:
        now = time.time()
        with self._write() as connection:
            cursor = connection.execute(
                """INSERT INTO conversations(title, created_at, updated_at, model, system_prompt)
                VALUES (?, ?, ?, ?, ?)""",
                (storable(title), now, now, storable(model), storable(system_prompt)),
            )
            return _conversation(connection, writing.row_id(cursor))

    def get_conversation(self, conversation_id: int) -> Conversation:
        """Raises NotFoundError, also for a deleted one."""
        with self._read() as connection:
            return _conversation(connection, conversation_id)

    def list_conversations(self, limit: int | None = None, offset: int = 0) -> list[Conversation]:
        """The conversations, the last used first. limit None: all of them."""
        with self._read() as connection:
            rows = connection.execute(
                f"{_CONVERSATION} ORDER BY updated_at DESC, id DESC LIMIT ? OFFSET ?",
                (-1 if limit is None else limit, offset),
            )
            return [Conversation(*row) for row in rows]

    def rename(self, conversation_id: int, title: str) -> None:
        self._set(conversation_id, "title", title)

    def set_model(self, conversation_id: int, model: str) -> None:
        self._set(conversation_id, "model", model)

    def set_system_prompt(self, conversation_id: int, system_prompt: str) -> None:
        self._set(conversation_id, "system_prompt", system_prompt)

    def save_draft(self, conversation_id: int, draft: str) -> None:
        self._set(conversation_id, "draft", draft)

    def delete_conversation(self, conversation_id: int) -> None:
        """Hide a conversation until `undelete_conversation` or `purge_deleted`."""
        with self._write() as connection:
            cursor = connection.execute(
                "UPDATE conversations SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL",
                (time.time(), conversation_id),
            )
            writing.expect_one(cursor, conversation_id)

    def undelete_conversation(self, conversation_id: int) -> Conversation:
        """Bring a deleted conversation back. Raises NotFoundError when it has been purged."""
        with self._write() as connection:
            cursor = connection.execute("UPDATE conversations SET deleted_at = NULL WHERE id = ?", (conversation_id,))
            writing.expect_one(cursor, conversation_id)
            return _conversation(connection, conversation_id)

    # Messages

    def add_message(
        self,
        conversation_id: int,
        parent_id: int | None,
        role: Role,
        content: str,
        reply: ReplyDetails | None = None,
    ) -> Message:
        """Add a whole message below `parent_id` (None: a first message) and show the branch that ends in it.

        Raises NotFoundError when the parent is not in the conversation.
        """
        with self._write() as connection:
            return writing.insert_message(connection, conversation_id, parent_id, role, content, reply, writer=None)

    def begin_reply(
        self, conversation_id: int, parent_id: int | None, details: ReplyDetails, start: str = ""
    ) -> Message:
        """Add a reply that this process is about to write, and show its branch. start: what it begins with.

        Should the process die, `recover` marks the reply as stopped. Raises NotFoundError as `add_message`
        does.
        """
        with self._write() as connection:
            return writing.insert_message(
                connection, conversation_id, parent_id, "assistant", start, details, this_writer()
            )

    def update_reply(self, message_id: int, content: str, details: ReplyDetails) -> None:
        """Store how far a reply has come. It becomes searchable with `finish_reply`. Raises NotFoundError."""
        with self._write() as connection:
            writing.update_reply(connection, message_id, content, details, this_writer())

    def finish_reply(self, message_id: int, content: str, details: ReplyDetails) -> None:
        """Store a reply's end.

        Also when `recover`, in another process, took it for lost. Raises NotFoundError.
        """
        with self._write() as connection:
            writing.finish_reply(connection, message_id, content, details)

    def get_message(self, message_id: int) -> Message:
        """Raises NotFoundError, also for a deleted one."""
        with self._read() as connection:
            return tree.read_message(connection, message_id)

    # Marks

    def mark_reply(self, message_id: int, mark: Mark | None) -> None:
        """Keep what the person thinks of a reply, None: nothing. Raises NotFoundError, also for a question."""
        with self._write() as connection:
            marks.mark(connection, message_id, mark)

    def correct_reply(self, message_id: int, content: str) -> Message:
        """Add the reply that the person would rather have read as a sibling, and show its branch; returns it.

        It is marked good, and the one it replaces bad, unless that is the person's own, which loses its mark. Raises
        NotFoundError, also for a question.
        """
        with self._write() as connection:
            return marks.correct(connection, message_id, content)

    def marked(self, conversation_id: int | None = None) -> list[MarkedConversation]:
        """The conversations with marks, oldest first, or the one that is named, if it has any."""
        with self._read() as connection:
            return [
                marks.marked(connection, _conversation(connection, each))
                for each in marks.conversations_with_marks(connection)
                if conversation_id in (None, each)
            ]

    # The tree

    def branch(self, conversation_id: int, leaf_id: int | None = None) -> list[Message]:
        """The messages from the first down to `leaf_id` (None: the conversation's own leaf), siblings filled
        in.

        Empty when the conversation has no messages. Raises NotFoundError.
        """
        with self._read() as connection:
            leaf = _conversation(connection, conversation_id).leaf_id if leaf_id is None else leaf_id
            messages = [] if leaf is None else tree.branch(connection, conversation_id, leaf)
        if leaf_id is not None and not messages:
            raise NotFoundError(f"There is no message {leaf_id} in conversation {conversation_id}.")
        return messages

    def children(self, conversation_id: int, parent_id: int | None) -> list[int]:
        """Ids of the messages below `parent_id`, oldest first; None: the first messages."""
        with self._read() as connection:
            return tree.children(connection, conversation_id, parent_id)

    def siblings(self, message_id: int) -> list[int]:
        """Ids of the message and of those that share its parent, oldest first. Raises NotFoundError."""
        return list(self.get_message(message_id).siblings)

    def deepest_leaf(self, message_id: int) -> int:
        """The end of the most recent branch through the message: the newest message below it, or itself.

        Raises NotFoundError.
        """
        with self._read() as connection:
            message = tree.read_message(connection, message_id)
            return tree.latest_leaf(connection, message.conversation_id, message_id) or message_id

    def set_leaf(self, conversation_id: int, message_id: int) -> None:
        """Show the branch that ends in the message.

        Raises NotFoundError when it is not in the conversation.
        """
        with self._write() as connection:
            if tree.read_message(connection, message_id).conversation_id != conversation_id:
                raise NotFoundError(f"There is no message {message_id} in conversation {conversation_id}.")
            connection.execute("UPDATE conversations SET leaf_id = ? WHERE id = ?", (message_id, conversation_id))

    def delete_message(self, message_id: int) -> int:
        """Hide a message and all below it; returns the deletion, for `undelete_messages`. Raises
        NotFoundError.

        If the shown branch ran through it, the most recent one that is left is shown.
        """
        with self._write() as connection:
            return removal.delete_subtree(connection, message_id, time.time())

    def undelete_messages(self, deletion: int) -> None:
        """Bring back what one deletion hid, and show the branch that was shown before it.

        Raises NotFoundError when it was undone or purged, StoreError when a later deletion hides the place
        it goes to.
        """
        with self._write() as connection:
            removal.undelete(connection, deletion)

    def purge_deleted(self, older_than_s: float = 0.0) -> int:
        """Remove for good what was deleted at least so many seconds ago; returns the number of messages
        removed.
        """
        with self._write() as connection:
            return removal.purge(connection, time.time() - older_than_s)

    # Across conversations

    def search(
        self, query: str, limit: int = 20, offset: int = 0, conversation_id: int | None = None
    ) -> list[SearchHit]:
        """The newest messages that match, newest first. Any text is a valid query; see `search`."""
        with self._read() as connection:
            return search(connection, query, limit, offset, conversation_id)

    def prompt_history(self, limit: int = 200) -> list[str]:
        """What the person asked, newest first, each text once.

        Looks at the newest 10 * limit questions only.
        """
        with self._read() as connection:
            rows = connection.execute(
                """SELECT m.content FROM messages m CROSS JOIN conversations c ON c.id = m.conversation_id
                WHERE m.role = 'user' AND m.deletion IS NULL AND c.deleted_at IS NULL
                ORDER BY m.id DESC LIMIT ?""",
                (10 * limit,),
            )
            return list(dict.fromkeys(row[0] for row in rows))[:limit]

    def recover(self) -> list[int]:
        """Mark as stopped each reply whose process died while writing it; returns their ids. They become
        searchable.

        A reply that a living process is writing, this one or another, is left alone.
        """
        with self._write() as connection:
            rows = connection.execute(
                "SELECT id, writer, content, reply FROM messages WHERE writer IS NOT NULL ORDER BY id"
            ).fetchall()
            lost = [row for row in rows if not is_alive(row[1])]
            for message_id, _writer, content, reply in lost:
                details = tree.decode_details(reply)
                details.ended = "stopped"
                writing.finish_reply(connection, message_id, content, details)
        return [row[0] for row in lost]

    # Transactions

    def _set(self, conversation_id: int, column: str, value: str) -> None:
        with self._write() as connection:
            cursor = connection.execute(
                f"UPDATE conversations SET {column} = ? WHERE id = ? AND deleted_at IS NULL",
                (storable(value), conversation_id),
            )
            writing.expect_one(cursor, conversation_id)

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """Several queries see one state of the database."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        if connection is None:
            raise StoreClosedError("The conversations are closed.")
        try:
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise _store_error(error, self.path) from error


def _store_error(error: sqlite3.Error, path: Path) -> StoreError:
    if is_busy(error):
        return busy(error)
    return DatabaseUnusableError(
        f"The conversations at {path} could not be read or written: {error}.",
        "Check the disk's free space and the file; nothing of this change was stored.",
    )


def _conversation(connection: sqlite3.Connection, conversation_id: int) -> Conversation:
    row = connection.execute(f"{_CONVERSATION} AND id = ?", (conversation_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"There is no conversation {conversation_id}; it may have been deleted.")
    return Conversation(*row)
