"""One reply from the first event to the last: told to the session as it comes, written to the store twice a second."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from engine import protocol
from hugchat_tui.chat.session_events import MessageChanged, Notice, StatusChanged, TextAdded
from hugchat_tui.common.tasks import start
from hugchat_tui.conversations.errors import StoreError

if TYPE_CHECKING:
    from engine.generation import Generation
    from hugchat_tui.chat.session import ChatSession
    from hugchat_tui.conversations.model import Message, ReplyDetails

SAVE_INTERVAL_S = 0.5
STATUS_INTERVAL_S = 0.5


class ReplyWriter:
    """Fills `reply` and `details` from a worker's generation."""

    def __init__(self, session: ChatSession, reply: Message, details: ReplyDetails) -> None:
        self._session = session
        self._reply = reply
        self._details = details
        self._asking: asyncio.Task[Generation] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._first: tuple[float, int] | None = None  # when the first piece came, and its tokens
        self._next_status_at = 0.0
        self._unsaved = False

    async def write(self, reference: str | None, history: tuple[protocol.ChatMessage, ...]) -> None:
        """Ask the session's checkpoint, or another one, and take what it says until the reply ends.

        Returns early when it is stopped before the worker was asked. Raises the engine's errors.
        """
        self._asking = asyncio.create_task(self._ask(reference, history))
        try:
            generation = await self._asking
        except asyncio.CancelledError:
            if self._stopping is None:
                raise
            return
        saver = _Saver(self)
        try:
            async for event in generation:
                if text := self._take(event):
                    self._reply.content += text
                    self._session.tell(TextAdded(self._reply.id, text))
                    saver.touch()
        finally:
            await saver.settle()

    def stop(self) -> None:
        """End it soon; what was written stays."""
        if self._stopping is None and self._asking is not None:
            self._stopping = start(self._stop(self._asking))

    async def finish(self) -> None:
        """Store the reply as it ended and show it."""
        self._reply.reply = self._details
        store = self._session.services.store
        try:
            await store.finish_reply(self._reply.id, self._reply.content, self._details)
            self._reply.siblings = tuple(await store.siblings(self._reply.id))
        except StoreError as error:
            self._session.tell(Notice(f"This answer is only on the screen, it could not be stored. {error}", "error"))
        self._session.tell(MessageChanged(self._reply))

    async def save(self) -> None:
        """Store the reply as it is so far. A failure is told once; the next time may go well."""
        try:
            await self._session.services.store.update_reply(self._reply.id, self._reply.content, self._details)
        except StoreError as error:
            if not self._unsaved:
                self._unsaved = True
                self._session.tell(Notice(f"This answer is not being stored. {error}", "error"))

    async def _ask(self, reference: str | None, history: tuple[protocol.ChatMessage, ...]) -> Generation:
        """Load the checkpoint if need be and ask it, without awaiting anything in between."""
        import msgspec

        worker = await self._session.model.acquire(reference)
        info = worker.info
        assert info is not None, "an acquired worker has loaded its checkpoint"
        services, details = self._session.services, self._details
        details.model_path, details.device, details.dtype = info.path, info.device, info.dtype
        details.adapter, details.context_length = info.adapter or "", info.context_length
        resident = services.resident(details.model)
        details.revision = resident.checkpoint.revision if resident is not None else ""
        sampling = services.sampling()
        if self._session.seed is not None:
            sampling = msgspec.structs.replace(sampling, seed=self._session.seed)
        details.sampling = msgspec.to_builtins(sampling)
        status = self._session.status
        status.tokens_per_second = status.first_token_s = 0.0
        self._session.set_phase("waiting", "waiting for this model's other answer" if worker.busy else "")
        return worker.generate(history, sampling, conversation=str(self._reply.conversation_id))

    async def _stop(self, asking: asyncio.Task[Generation]) -> None:
        if asking.done():
            if not asking.cancelled() and asking.exception() is None:
                await asking.result().cancel()
        else:
            asking.cancel()

    def _take(self, event: protocol.GenerationEvent) -> str:
        """Note what an event says; returns the text it brings."""
        status, details = self._session.status, self._details
        match event:
            case protocol.Started():
                details.seed, details.prompt_tokens = event.seed, event.prompt_tokens
                details.omitted = len(event.omitted)
                status.context_used, status.context_length = event.prompt_tokens, event.context_length
                self._session.set_phase("prefilling", done=event.cached_tokens, total=event.prompt_tokens)
                self._session.tell_once(event.notes)
            case protocol.Prefilling():
                self._session.set_phase("prefilling", done=event.done, total=event.total)
            case protocol.Piece():
                self._count(len(event.token_ids))
                return event.text
            case protocol.Finished():
                details.ended, details.new_tokens = event.reason, event.new_tokens
                details.first_token_s = status.first_token_s = event.timings.first_token_s
                details.tokens_per_second = status.tokens_per_second = event.timings.tokens_per_second
                status.context_used = event.prompt_tokens + event.new_tokens
        return ""

    def _count(self, new_tokens: int) -> None:
        now = time.monotonic()
        self._details.new_tokens += new_tokens
        if self._first is None:
            self._first = now, new_tokens
            self._session.set_phase("generating")
        began, first_tokens = self._first
        status = self._session.status
        status.context_used = self._details.prompt_tokens + self._details.new_tokens
        if now > began:
            status.tokens_per_second = (self._details.new_tokens - first_tokens) / (now - began)
        if now >= self._next_status_at:
            self._next_status_at = now + STATUS_INTERVAL_S
            self._session.tell(StatusChanged())


class _Saver:
    """Writes a growing reply to the store at most every half second, one write at a time, the last words too."""

    def __init__(self, writer: ReplyWriter) -> None:
        self._writer = writer
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._write: asyncio.Task[None] | None = None

    def touch(self) -> None:
        """The reply grew."""
        if self._timer is None:
            delay = max(0.0, self._next - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._save)

    def _save(self) -> None:
        if self._write is not None and not self._write.done():  # a slow disk
            self._timer = asyncio.get_running_loop().call_later(SAVE_INTERVAL_S, self._save)
            return
        self._timer = None
        self._next = time.monotonic() + SAVE_INTERVAL_S
        self._write = start(self._writer.save())

    async def settle(self) -> None:
        """No write is pending or under way afterwards."""
        if self._timer is not None:
            self._timer.cancel()
        if self._write is not None:
            await asyncio.wait([self._write])
