"""Deleting parts of a message tree: hidden first, so that it can be undone, removed for good later."""

from __future__ import annotations

import sqlite3

from hugchat_tui.conversations import tree
from hugchat_tui.conversations.errors import NotFoundError, StoreError
from hugchat_tui.conversations.search import remove_from_index


def delete_subtree(connection: sqlite3.Connection, message_id: int, now: float) -> int:
    """Hide a message and all below it; returns the id of the deletion. Raises NotFoundError."""
    message = tree.read_message(connection, message_id)
    conversation_id = message.conversation_id
    shown = connection.execute("SELECT leaf_id FROM conversations WHERE id = ?", (conversation_id,)).fetchone()[0]
    cursor = connection.execute(
        "INSERT INTO deletions(conversation_id, leaf_id, deleted_at) VALUES (?, ?, ?)",
        (conversation_id, shown, now),
    )
    deletion = cursor.lastrowid
    assert deletion is not None, "an INSERT has a row id"
    hidden = tree.subtree(connection, message_id)
    connection.executemany("UPDATE messages SET deletion = ? WHERE id = ?", [(deletion, each) for each in hidden])
    if shown in hidden:
        leaf = tree.latest_leaf(connection, conversation_id, message.parent_id)
        connection.execute("UPDATE conversations SET leaf_id = ? WHERE id = ?", (leaf, conversation_id))
    return deletion


def undelete(connection: sqlite3.Connection, deletion: int) -> None:
    """Show again what a deletion hid, and the branch that was shown if it ran through that.

    Raises NotFoundError when there is no such deletion, StoreError when a later one hides the messages above.
    """
    row = connection.execute("SELECT conversation_id, leaf_id FROM deletions WHERE id = ?", (deletion,)).fetchone()
    if row is None:
        raise NotFoundError("There is nothing to bring back: it was undone before, or removed for good.")
    conversation_id, leaf_id = row
    above = connection.execute(
        """SELECT 1 FROM messages m JOIN messages p ON p.id = m.parent_id
        WHERE m.deletion = ?1 AND p.deletion IS NOT NULL AND p.deletion <> ?1""",
        (deletion,),
    ).fetchone()
    if above is not None:
        raise StoreError(
            "The messages cannot come back yet: the message they answer was deleted after them.",
            "Undo that deletion first.",
        )
    connection.execute(
        """UPDATE conversations SET leaf_id = ?1
        WHERE id = ?2 AND EXISTS (SELECT 1 FROM messages WHERE id = ?1 AND deletion = ?3)""",
        (leaf_id, conversation_id, deletion),
    )
    connection.execute("UPDATE messages SET deletion = NULL WHERE deletion = ?", (deletion,))
    connection.execute("DELETE FROM deletions WHERE id = ?", (deletion,))


def purge(connection: sqlite3.Connection, before: float) -> int:
    """Remove what was deleted at or before `before` (seconds since the epoch); returns the number of
    messages.
    """
    # By id, not by time: what lies below a deleted message was deleted with it or earlier, whatever the
    # clock said.
    deletion = connection.execute(
        "SELECT ifnull(max(id), 0) FROM deletions WHERE deleted_at <= ?", (before,)
    ).fetchone()[0]
    doomed = """
        deletion <= :deletion OR conversation_id IN (SELECT id FROM conversations WHERE deleted_at <= :before)
    """
    arguments = {"deletion": deletion, "before": before}
    rows = connection.execute(f"SELECT id, content FROM messages WHERE indexed AND ({doomed})", arguments)
    for message_id, content in rows:
        remove_from_index(connection, message_id, content)
    # One statement for the whole tree: references among the rows it removes are checked when it ends.
    removed = connection.execute(f"DELETE FROM messages WHERE {doomed}", arguments).rowcount
    connection.execute("DELETE FROM deletions WHERE id <= :deletion", arguments)
    connection.execute("DELETE FROM conversations WHERE deleted_at <= :before", arguments)
    return removed
