"""Full-text search: the index of message texts, queries, and snippets.

A word of the query matches a word of the text without regard to case, accents and full-width forms; the last
word also matches the beginning of a longer word, unless a space follows it. In scripts without spaces any
run of characters matches wherever it stands. All words must occur. Punctuation and symbols separate words
and are not searched for.
"""

from __future__ import annotations

import sqlite3

from hugchat_tui.conversations.model import SearchHit
from hugchat_tui.conversations.snippets import QueryWord, highlighter, snippet
from hugchat_tui.conversations.text import index_text, storable


def add_to_index(connection: sqlite3.Connection, message_id: int, content: str) -> None:
    connection.execute("INSERT INTO message_index(rowid, content) VALUES (?, ?)", (message_id, index_text(content)))


def remove_from_index(connection: sqlite3.Connection, message_id: int, content: str) -> None:
    """`content` must be what was added: the index keeps no copy (FTS5, "the 'delete' command")."""
    connection.execute(
        "INSERT INTO message_index(message_index, rowid, content) VALUES ('delete', ?, ?)",
        (message_id, index_text(content)),
    )


def search(
    connection: sqlite3.Connection,
    query: str,
    limit: int,
    offset: int = 0,
    conversation_id: int | None = None,
) -> list[SearchHit]:
    """The newest messages that match, newest first; none for a query without a letter or digit.

    No ranking: ranking would have to read every match of a common word before it could show one.
    """
    words = _words(query)
    if not words:
        return []
    sql, arguments = _statement(_expression(words), conversation_id)
    rows = connection.execute(f"{sql} ORDER BY i.rowid DESC LIMIT ? OFFSET ?", (*arguments, limit, offset))
    marks = highlighter(words)
    hits = []
    for conversation, title, message, role, created_at, content in rows:
        text, spans = snippet(content, marks)
        hits.append(SearchHit(conversation, title, message, role, created_at, text, spans))
    return hits


def _statement(expression: str, conversation_id: int | None) -> tuple[str, list[str | int]]:
    sql = """
        SELECT m.conversation_id, c.title, m.id, m.role, m.created_at, m.content
        FROM message_index i
        CROSS JOIN messages m ON m.id = i.rowid
        CROSS JOIN conversations c ON c.id = m.conversation_id
        WHERE message_index MATCH ? AND m.deletion IS NULL AND c.deleted_at IS NULL
    """
    if conversation_id is None:
        return sql, [expression]
    # The range keeps FTS5 from visiting the matches of conversations that are wholly older or newer.
    sql += """
        AND m.conversation_id = ?
        AND i.rowid >= (SELECT min(id) FROM messages WHERE conversation_id = ?)
        AND i.rowid <= (SELECT max(id) FROM messages WHERE conversation_id = ?)
    """
    return sql, [expression, conversation_id, conversation_id, conversation_id]


def _words(query: str) -> list[QueryWord]:
    """The query's distinct words that the index can know."""
    query = storable(query).replace("\0", " ")
    texts = query.split()
    last_is_open = bool(texts) and not query[-1].isspace()
    words = [QueryWord(text, begins=False) for text in texts[:-1]]
    words += [QueryWord(text, begins=last_is_open) for text in texts[-1:]]
    return [word for word in dict.fromkeys(words) if any(map(str.isalnum, word.text))]


def _expression(words: list[QueryWord]) -> str:
    """An FTS5 query: each word a quoted phrase, which FTS5 takes apart as it took the texts apart."""
    return " ".join('"' + index_text(word.text).replace('"', '""') + ('" *' if word.begins else '"') for word in words)
