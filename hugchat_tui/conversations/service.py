"""The store for asyncio: every call runs on one thread of its own, in the order in which the calls were
made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from hugchat_tui.conversations.errors import StoreClosedError
from hugchat_tui.conversations.store import Store

UNDO_KEPT_S = 3600.0

P = ParamSpec("P")
T = TypeVar("T")


def _on_its_thread(
    method: Callable[Concatenate[Store, P], T],
) -> Callable[Concatenate[ConversationService, P], Coroutine[None, None, T]]:
    @wraps(method)
    async def call(self: ConversationService, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._submit(lambda store: method(store, *args, **kwargs))

    return call


class ConversationService:
    """A Store behind a thread. Its methods are Store's, with the same arguments, results and errors.

    Cancelling a call does not undo it: the thread finishes it. `recovered` holds the ids of the replies
    whose program died while writing them and which this start marked as stopped.
    """

    def __init__(self, executor: ThreadPoolExecutor, store: Store, recovered: list[int]) -> None:
        """Use `open`."""
        self._executor = executor
        self._store = store
        self._closing: asyncio.Future[None] | None = None
        self.recovered = recovered

    @classmethod
    async def open(cls, path: Path) -> ConversationService:
        """Open the database and recover interrupted replies. Raises what Store does."""
        executor = ThreadPoolExecutor(1, thread_name_prefix="conversations")
        try:
            store, recovered = await asyncio.wrap_future(executor.submit(_open, path))
        except BaseException:
            executor.shutdown(wait=False)
            raise
        return cls(executor, store, recovered)

    async def close(self) -> None:
        """Wait for all calls made so far, remove what was deleted over an hour ago, close.

        May be called again.
        """
        if self._closing is None:
            self._closing = asyncio.wrap_future(self._executor.submit(_close, self._store))
            self._executor.shutdown(wait=False)
        await asyncio.shield(self._closing)

    def _submit(self, work: Callable[[Store], T]) -> Awaitable[T]:
        if self._closing is not None:
            raise StoreClosedError("The conversations are closed.")
        # Shielded: cancelling the caller would otherwise take a write that still waits out of the queue.
        return asyncio.shield(asyncio.wrap_future(self._executor.submit(work, self._store)))

    create_conversation = _on_its_thread(Store.create_conversation)
    get_conversation = _on_its_thread(Store.get_conversation)
    list_conversations = _on_its_thread(Store.list_conversations)
    rename = _on_its_thread(Store.rename)
    set_model = _on_its_thread(Store.set_model)
    set_system_prompt = _on_its_thread(Store.set_system_prompt)
    save_draft = _on_its_thread(Store.save_draft)
    delete_conversation = _on_its_thread(Store.delete_conversation)
    undelete_conversation = _on_its_thread(Store.undelete_conversation)
    add_message = _on_its_thread(Store.add_message)
    begin_reply = _on_its_thread(Store.begin_reply)
    update_reply = _on_its_thread(Store.update_reply)
    finish_reply = _on_its_thread(Store.finish_reply)
    get_message = _on_its_thread(Store.get_message)
    mark_reply = _on_its_thread(Store.mark_reply)
    correct_reply = _on_its_thread(Store.correct_reply)
    marked = _on_its_thread(Store.marked)
    branch = _on_its_thread(Store.branch)
    children = _on_its_thread(Store.children)
    siblings = _on_its_thread(Store.siblings)
    deepest_leaf = _on_its_thread(Store.deepest_leaf)
    set_leaf = _on_its_thread(Store.set_leaf)
    delete_message = _on_its_thread(Store.delete_message)
    undelete_messages = _on_its_thread(Store.undelete_messages)
    purge_deleted = _on_its_thread(Store.purge_deleted)
    search = _on_its_thread(Store.search)
    prompt_history = _on_its_thread(Store.prompt_history)


def _open(path: Path) -> tuple[Store, list[int]]:
    store = Store(path)
    try:
        return store, store.recover()
    except BaseException:
        store.close()
        raise


def _close(store: Store) -> None:
    try:
        store.purge_deleted(older_than_s=UNDO_KEPT_S)
    finally:
        store.close()
