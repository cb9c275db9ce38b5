"""Messages on their way into the database, the index and the conversation's shown branch kept with them."""

from __future__ import annotations

import sqlite3
import time

from hugchat_tui.conversations import tree
from hugchat_tui.conversations.errors import NotFoundError
from hugchat_tui.conversations.model import Message, ReplyDetails, Role
from hugchat_tui.conversations.search import add_to_index, remove_from_index
from hugchat_tui.conversations.text import storable


def row_id(cursor: sqlite3.Cursor) -> int:
    """The id of the row an INSERT made."""
    assert cursor.lastrowid is not None, "an INSERT has a row id"
    return cursor.lastrowid


def expect_one(cursor: sqlite3.Cursor, conversation_id: int) -> None:
    """Raises NotFoundError unless the statement changed its conversation."""
    if cursor.rowcount != 1:
        raise NotFoundError(f"There is no conversation {conversation_id}; it may have been deleted.")


def insert_message(
    connection: sqlite3.Connection,
    conversation_id: int,
    parent_id: int | None,
    role: Role,
    content: str,
    reply: ReplyDetails | None,
    writer: str | None,
) -> Message:
    """Add a message and show its branch. writer: the process that goes on writing it; None: it is whole.

    Raises NotFoundError when the conversation or the parent in it does not exist.
    """
    now, content = time.time(), storable(content)
    cursor = connection.execute(
        "UPDATE conversations SET updated_at = ? WHERE id = ? AND deleted_at IS NULL", (now, conversation_id)
    )
    expect_one(cursor, conversation_id)
    if parent_id is not None and tree.read_message(connection, parent_id).conversation_id != conversation_id:
        raise NotFoundError(f"There is no message {parent_id} in conversation {conversation_id}.")
    details = None if reply is None else tree.encode_details(reply)
    cursor = connection.execute(
        """INSERT INTO messages(conversation_id, parent_id, role, content, created_at, reply, writer, indexed)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
        (conversation_id, parent_id, role, content, now, details, writer, writer is None),
    )
    message_id = row_id(cursor)
    if writer is None:
        add_to_index(connection, message_id, content)
    connection.execute("UPDATE conversations SET leaf_id = ? WHERE id = ?", (message_id, conversation_id))
    return tree.read_message(connection, message_id)


def update_reply(
    connection: sqlite3.Connection, message_id: int, content: str, details: ReplyDetails, writer: str | None
) -> None:
    """Store how far a reply has come, and who writes it.

    It is not searchable afterwards. Raises NotFoundError.
    """
    row = connection.execute("SELECT indexed, content FROM messages WHERE id = ?", (message_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"There is no reply {message_id} any more: it was deleted for good meanwhile.")
    indexed, old_content = row
    if indexed:
        remove_from_index(connection, message_id, old_content)
    connection.execute(
        "UPDATE messages SET content = ?, reply = ?, writer = ?, indexed = 0 WHERE id = ?",
        (storable(content), tree.encode_details(details), writer, message_id),
    )


def finish_reply(connection: sqlite3.Connection, message_id: int, content: str, details: ReplyDetails) -> None:
    """Store a reply's end and make it searchable. Raises NotFoundError."""
    update_reply(connection, message_id, content, details, writer=None)
    add_to_index(connection, message_id, storable(content))
    connection.execute("UPDATE messages SET indexed = 1 WHERE id = ?", (message_id,))
    connection.execute(
        """UPDATE conversations SET updated_at = ?
        WHERE id = (SELECT conversation_id FROM messages WHERE id = ?)""",
        (time.time(), message_id),
    )
