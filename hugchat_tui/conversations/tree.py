"""The message tree in the database: reading branches, siblings and leaves. Deleted messages are not seen."""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from dataclasses import replace

import msgspec

from hugchat_tui.conversations.errors import NotFoundError
from hugchat_tui.conversations.model import Mark, Message, ReplyDetails, Role
from hugchat_tui.conversations.text import storable

_COLUMNS = "id, conversation_id, parent_id, role, created_at, reply, content, mark"
# _COLUMNS; the table's CHECKs admit these roles and marks only.
_Row = tuple[int, int, int | None, Role, float, str | None, str, Mark | None]

_details_decoder = msgspec.json.Decoder(ReplyDetails)
_encoder = msgspec.json.Encoder()

_SUBTREE = """
    WITH RECURSIVE below(id) AS (
        SELECT id FROM messages WHERE id = ? AND deletion IS NULL
        UNION ALL
        SELECT m.id FROM messages m JOIN below b ON m.parent_id = b.id WHERE m.deletion IS NULL
    )
"""


def encode_details(details: ReplyDetails) -> str:
    """The details as JSON that decodes again: no lone surrogates, and a speed that is no number is 0."""
    if not (math.isfinite(details.tokens_per_second) and math.isfinite(details.first_token_s)):
        details = replace(
            details,
            tokens_per_second=_finite(details.tokens_per_second),
            first_token_s=_finite(details.first_token_s),
        )
    try:
        return _encoder.encode(details).decode()
    except UnicodeEncodeError:
        return _encoder.encode(_storable_tree(msgspec.to_builtins(details))).decode()


def decode_details(reply: str) -> ReplyDetails:
    """What `encode_details` wrote. Damaged details are not worth the words they belong to: they are said to be that."""
    try:
        return _details_decoder.decode(reply)
    except msgspec.MsgspecError:
        return ReplyDetails(ended="error", error="How this reply came about is not known: its details are damaged.")


def read_message(connection: sqlite3.Connection, message_id: int) -> Message:
    """Raises NotFoundError, also for a deleted message."""
    row: _Row | None = connection.execute(
        f"SELECT {_COLUMNS} FROM messages WHERE id = ? AND deletion IS NULL", (message_id,)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"There is no message {message_id}; it may have been deleted.")
    return _message(row, tuple(children(connection, row[1], row[2])))


def children(connection: sqlite3.Connection, conversation_id: int, parent_id: int | None) -> list[int]:
    """Ids of the messages below `parent_id`, oldest first; None: the first messages of the conversation."""
    rows = connection.execute(
        """SELECT id FROM messages
        WHERE conversation_id = ? AND deletion IS NULL AND parent_id IS ? ORDER BY id""",
        (conversation_id, parent_id),
    )
    return [row[0] for row in rows]


def branch(connection: sqlite3.Connection, conversation_id: int, leaf_id: int) -> list[Message]:
    """The messages from the first one down to `leaf_id`, siblings filled in.

    Two queries, whatever the length.
    """
    rows: list[_Row] = connection.execute(
        f"""
        WITH RECURSIVE above(id, parent, depth) AS (
            SELECT id, parent_id, 0 FROM messages WHERE id = ? AND conversation_id = ? AND deletion IS NULL
            UNION ALL
            SELECT m.id, m.parent_id, a.depth + 1 FROM messages m JOIN above a ON m.id = a.parent
        )
        SELECT m.{_COLUMNS.replace(", ", ", m.")}
        FROM above a CROSS JOIN messages m ON m.id = a.id ORDER BY a.depth DESC
        """,
        (leaf_id, conversation_id),
    ).fetchall()
    siblings: defaultdict[int | None, list[int]] = defaultdict(list)
    for message_id, parent_id in connection.execute(
        "SELECT id, parent_id FROM messages WHERE conversation_id = ? AND deletion IS NULL ORDER BY id",
        (conversation_id,),
    ):
        siblings[parent_id].append(message_id)
    return [_message(row, tuple(siblings[row[2]])) for row in rows]


def subtree(connection: sqlite3.Connection, message_id: int) -> list[int]:
    """Ids of the message and of everything below it; empty when it is deleted or unknown."""
    return [row[0] for row in connection.execute(f"{_SUBTREE} SELECT id FROM below", (message_id,))]


def latest_leaf(connection: sqlite3.Connection, conversation_id: int, message_id: int | None) -> int | None:
    """The newest message at or below `message_id`, which is a leaf, for a child is newer than its parent.

    None asks for the newest of the whole conversation; the answer is None when there is none.
    """
    if message_id is None:
        row = connection.execute(
            "SELECT max(id) FROM messages WHERE conversation_id = ? AND deletion IS NULL", (conversation_id,)
        ).fetchone()
    else:
        row = connection.execute(f"{_SUBTREE} SELECT max(id) FROM below", (message_id,)).fetchone()
    newest: int | None = row[0]
    return newest


def _message(row: _Row, siblings: tuple[int, ...]) -> Message:
    message_id, conversation_id, parent_id, role, created_at, reply, content, mark = row
    details = None if reply is None else decode_details(reply)
    return Message(message_id, conversation_id, parent_id, role, content, created_at, details, siblings, mark)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _storable_tree(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {_storable_tree(key): _storable_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable_tree(item) for item in value]
    return value
