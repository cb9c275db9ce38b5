"""What the person thinks of replies: good, bad, or what a reply should have been."""

from __future__ import annotations

import sqlite3

from hugchat_tui.conversations import tree
from hugchat_tui.conversations.errors import NotFoundError
from hugchat_tui.conversations.model import Conversation, Mark, MarkedConversation, Message
from hugchat_tui.conversations.writing import insert_message


def mark(connection: sqlite3.Connection, message_id: int, value: Mark | None) -> None:
    """Keep what the person thinks of a reply. Raises NotFoundError."""
    cursor = connection.execute(
        "UPDATE messages SET mark = ? WHERE id = ? AND role = 'assistant' AND deletion IS NULL", (value, message_id)
    )
    if cursor.rowcount != 1:
        raise NotFoundError(f"There is no reply {message_id}; it may have been deleted.")


def correct(connection: sqlite3.Connection, message_id: int, content: str) -> Message:
    """Add what a reply should have been beside it, and mark both. Raises NotFoundError."""
    old = tree.read_message(connection, message_id)
    # What the person wrote before is no example of what to avoid.
    mark(connection, message_id, None if old.reply is None else "bad")
    new = insert_message(connection, old.conversation_id, old.parent_id, "assistant", content, None, writer=None)
    mark(connection, new.id, "good")
    return tree.read_message(connection, new.id)


def conversations_with_marks(connection: sqlite3.Connection) -> list[int]:
    """Ids of the conversations in which a reply is marked, oldest first."""
    rows = connection.execute(
        """SELECT DISTINCT m.conversation_id FROM messages m JOIN conversations c ON c.id = m.conversation_id
        WHERE m.mark IS NOT NULL AND m.deletion IS NULL AND c.deleted_at IS NULL ORDER BY m.conversation_id"""
    )
    return [row[0] for row in rows]


def marked(connection: sqlite3.Connection, conversation: Conversation) -> MarkedConversation:
    """What is marked in a conversation."""
    good, bad = _marked(connection, conversation, "good"), _marked(connection, conversation, "bad")
    parents: dict[int, int | None] = dict(
        connection.execute(
            "SELECT id, parent_id FROM messages WHERE conversation_id = ? AND deletion IS NULL", (conversation.id,)
        )
    )
    gone_on_from: set[int] = set()
    for message_id in good:
        above = parents[message_id]
        while above is not None and above not in gone_on_from:
            gone_on_from.add(above)
            above = parents[above]
    branches = [tree.branch(connection, conversation.id, each) for each in good if each not in gone_on_from]
    return MarkedConversation(
        conversation, tuple(map(tuple, branches)), tuple(tree.read_message(connection, each) for each in bad)
    )


def _marked(connection: sqlite3.Connection, conversation: Conversation, value: Mark) -> list[int]:
    rows = connection.execute(
        "SELECT id FROM messages WHERE conversation_id = ? AND deletion IS NULL AND mark = ? ORDER BY id",
        (conversation.id, value),
    )
    return [row[0] for row in rows]
