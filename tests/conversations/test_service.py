"""The store behind a thread: in order, off the event loop, and drained when it is closed."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hugchat_tui.conversations.errors import DatabaseUnusableError, NotFoundError, StoreClosedError
from hugchat_tui.conversations.model import ReplyDetails
from hugchat_tui.conversations.service import ConversationService
from hugchat_tui.conversations.store import Store


async def test_calls_run_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    service = await ConversationService.open(tmp_path / "conversations.db")
    conversation = await service.create_conversation("title", model="starter")
    reply = await service.begin_reply(conversation.id, None, ReplyDetails())
    texts = ["word " * count for count in range(50)]
    writes = [asyncio.create_task(service.update_reply(reply.id, text, ReplyDetails())) for text in texts]
    await asyncio.gather(*writes)
    assert (await service.get_message(reply.id)).content == texts[-1]
    await service.close()


async def test_closing_finishes_what_was_asked_before_and_refuses_what_comes_after(tmp_path: Path) -> None:
    path = tmp_path / "conversations.db"
    service = await ConversationService.open(path)
    creations = [asyncio.create_task(service.create_conversation(f"{number}")) for number in range(50)]
    await asyncio.sleep(0)  # let each task make its call
    await service.close()
    assert len(await asyncio.gather(*creations)) == 50
    with pytest.raises(StoreClosedError):
        await service.create_conversation("late")
    await service.close()
    store = Store(path)
    assert len(store.list_conversations()) == 50
    store.close()


async def test_a_cancelled_write_is_still_written(tmp_path: Path) -> None:
    """A session may be cancelled in the middle of storing a partial reply."""
    service = await ConversationService.open(tmp_path / "conversations.db")
    conversation = await service.create_conversation()
    with closing(sqlite3.connect(tmp_path / "conversations.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        running = asyncio.create_task(service.rename(conversation.id, "running"))
        waiting = asyncio.create_task(service.save_draft(conversation.id, "waiting"))
        await asyncio.sleep(0)
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
    stored = await service.get_conversation(conversation.id)
    assert (stored.title, stored.draft) == ("running", "waiting")
    await service.close()


async def test_the_event_loop_runs_while_the_database_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "conversations.db"
    service = await ConversationService.open(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        creation = asyncio.create_task(service.create_conversation("patient"))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not creation.done()
        other.execute("COMMIT")
        assert (await creation).title == "patient"
    await service.close()


async def test_errors_reach_the_caller(tmp_path: Path) -> None:
    service = await ConversationService.open(tmp_path / "conversations.db")
    with pytest.raises(NotFoundError):
        await service.get_conversation(1)
    await service.close()
    (tmp_path / "broken.db").write_bytes(b"no database" * 100)
    with pytest.raises(DatabaseUnusableError):
        await ConversationService.open(tmp_path / "broken.db")


async def test_opening_recovers_and_closing_purges_what_was_deleted_long_ago(tmp_path: Path) -> None:
    path = tmp_path / "conversations.db"
    service = await ConversationService.open(path)
    old, recent, open_one = [await service.create_conversation(name) for name in ("old", "recent", "open")]
    reply = await service.begin_reply(open_one.id, None, ReplyDetails(), "partial")
    await service.delete_conversation(old.id)
    await service.delete_conversation(recent.id)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE conversations SET deleted_at = 0 WHERE id = ?", (old.id,))
        connection.execute("UPDATE messages SET writer = '1 nowhere:0 word'")
    await service.close()

    service = await ConversationService.open(path)
    assert service.recovered == [reply.id]
    assert (await service.undelete_conversation(recent.id)).title == "recent"
    with pytest.raises(NotFoundError):
        await service.undelete_conversation(old.id)
    await service.close()
