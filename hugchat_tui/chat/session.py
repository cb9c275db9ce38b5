"""One open conversation: its branch, the checkpoint that answers, and the reply that is being written.

The session owns state and work and outlives the view that shows it: a reply goes on, and is saved twice a second,
while its tab is hidden or closed. It tells one listener what changed; it knows nothing of widgets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from hugchat_tui.chat.branch_changes import BranchChanges
from hugchat_tui.chat.session_events import (
    BranchChanged,
    ConversationChanged,
    MessageAdded,
    Notice,
    Phase,
    Returned,
    SessionEvent,
    Status,
    StatusChanged,
)
from hugchat_tui.chat.session_model import SessionModel
from hugchat_tui.common.tasks import start as start_task
from hugchat_tui.conversations.errors import StoreError
from hugchat_tui.conversations.model import Conversation, Message, ReplyDetails

if TYPE_CHECKING:
    from hugchat_tui.chat.reply_writer import ReplyWriter
    from hugchat_tui.services import Services


class ChatSession(BranchChanges):
    """Made for a stored conversation, or for a new one, which is stored as soon as there is something to store.

    branch: the messages that are shown, the reply that is being written last. reference: the checkpoint that answers,
    as a person would name it.
    """

    def __init__(self, services: Services, conversation: Conversation | None, reference: str) -> None:
        self.services = services
        self.conversation = conversation
        self.branch: list[Message] = []
        self.status = Status(model=reference)
        self.model = SessionModel(self, reference)
        self.listener: Callable[[SessionEvent], None] | None = None
        self._system_prompt = services.settings.chat.system_prompt  # until there is a conversation to keep it
        self._task: asyncio.Task[None] | None = None
        self._writer: ReplyWriter | None = None
        self.seed: int | None = None  # of the next reply only, if another checkpoint is asked the same
        self._stop_wanted = False
        self._creating = asyncio.Lock()
        self._changing = asyncio.Lock()  # the branch, from the store
        self._told: set[str] = set()

    # What can be asked of it at any time

    @property
    def busy(self) -> bool:
        """Whether a question waits for its reply, or the reply is being written."""
        return self._task is not None and not self._task.done()

    @property
    def stoppable(self) -> bool:
        """Whether `stop` would stop something."""
        return self.busy or self.model.switching

    @property
    def title(self) -> str:
        return self.conversation.title if self.conversation else ""

    @property
    def system_prompt(self) -> str:
        return self.conversation.system_prompt if self.conversation else self._system_prompt

    @property
    def last_question(self) -> Message | None:
        return next((message for message in reversed(self.branch) if message.role == "user"), None)

    def message(self, message_id: int) -> Message | None:
        return next((message for message in self.branch if message.id == message_id), None)

    async def open(self) -> None:
        """Read the branch from the store."""
        if self.conversation is not None:
            self.branch = await self.services.store.branch(self.conversation.id)
            self._count_context()
            self.tell(BranchChanged())
        self.model.show()

    # Asking and answering. Each raises RuntimeError while another reply is being written.

    def ask(self, text: str) -> None:
        """Store the question, then answer it. The text comes back as Returned when it cannot be stored."""
        self._begin(self._ask(text))

    def ask_again(self, history: list[Message], text: str) -> None:
        """In a new conversation: ask what was asked in another one, after what was said there."""
        self._begin(self._ask_again(history, text))

    def regenerate(self, message_id: int, reference: str | None = None) -> None:
        """Answer again the question before this reply (or this question); the earlier answers stay as siblings."""
        self._begin(self._regenerate(message_id, reference))

    def continue_reply(self, message_id: int) -> None:
        """Go on from where the reply stopped, in a sibling that starts with its text."""
        self._begin(self._continue(message_id))

    def edit_and_resend(self, message_id: int, text: str) -> None:
        """Ask the changed question as a sibling of the old one."""
        self._begin(self._edit_and_resend(message_id, text))

    def stop(self) -> bool:
        """Stop the reply and keep the partial, else stop loading what was chosen; `wait` waits for that.

        Returns whether there was anything to stop.
        """
        if not self.busy:
            return self.model.stop()
        self._stop_wanted = True
        if self._writer is not None:
            self._writer.stop()
        return True

    async def wait(self) -> None:
        """Returns when no reply is being written any more."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    # Changing what is known of the conversation

    async def take_up(self, conversation: Conversation) -> None:
        """Go on with a stored conversation that has no messages yet, with the checkpoint that answers here."""
        self.conversation = conversation
        if conversation.model != self.model.reference:
            await self.store_model()

    async def reload_conversation(self) -> None:
        """Read the title anew, not the branch, which may be growing."""
        if self.conversation is not None:
            self.conversation = await self.services.store.get_conversation(self.conversation.id)
            self.tell(ConversationChanged())

    async def set_system_prompt(self, text: str) -> None:
        self._system_prompt = text
        if self.conversation is not None:
            await self.services.store.set_system_prompt(self.conversation.id, text)
            self.conversation.system_prompt = text

    async def store_model(self) -> None:
        """Keep which checkpoint answers."""
        if self.conversation is not None:
            await self.services.store.set_model(self.conversation.id, self.model.reference)
            self.conversation.model = self.model.reference

    async def save_draft(self, text: str) -> None:
        """Keep an unsent draft; a new conversation is stored for its sake. Raises StoreError."""
        if self.conversation is None and not text:
            return
        conversation = await self._stored()
        if conversation.draft != text:
            await self.services.store.save_draft(conversation.id, text)
            listed, conversation.draft = bool(conversation.draft), text
            if listed != bool(text):
                self.tell(ConversationChanged())

    async def discard_if_empty(self) -> None:
        """Delete a conversation that was stored for the sake of a draft and holds nothing any more."""
        conversation = self.conversation
        if conversation is None or self.branch or conversation.draft or conversation.title:
            return
        if not (await self.services.store.get_conversation(conversation.id)).message_count:
            await self.services.store.delete_conversation(conversation.id)
            self.conversation = None

    # How a reply comes about

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        if self.busy:
            work.close()
            raise RuntimeError("a reply is being written")
        self._stop_wanted = False
        self._task = start_task(self._guard(work))
        self._task.add_done_callback(self._ended)
        self.tell(ConversationChanged())

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.model.resume()
        self.tell(ConversationChanged())

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        from engine.errors import EngineError

        try:
            async with self._changing:  # another branch may be on its way to the screen
                pass
            await work
        except EngineError as error:
            self.set_phase("failed", stage=error.message)
            self.tell(Notice(str(error), "error"))
        except StoreError as error:
            self.tell(Notice(str(error), "error"))
        except Exception as error:
            self.tell(Notice(f"An error that nobody expected: {error!r}. The log says more.", "error"))
            raise
        finally:
            self.seed = None  # also when no reply came about

    async def _ask(self, text: str) -> None:
        try:
            conversation = await self._stored()
            parent = self.branch[-1].id if self.branch else None
            question = await self.services.store.add_message(conversation.id, parent, "user", text)
        except StoreError:
            self.tell(Returned(text))
            raise
        self.branch.append(question)
        self.tell(MessageAdded(question))
        await self._name_after(text)
        await self._reply(question)

    async def _ask_again(self, history: list[Message], text: str) -> None:
        conversation = await self._stored()
        store, parent = self.services.store, None
        for message in history:
            copy = await store.add_message(conversation.id, parent, message.role, message.content, message.reply)
            parent = copy.id
        self.branch = await store.branch(conversation.id)
        self.tell(BranchChanged())
        await self._ask(text)

    async def _name_after(self, question: str) -> None:
        conversation = await self._stored()
        if not conversation.title:
            from hugchat_tui.conversations.titles import title_from

            title = title_from(question)
            await self.services.store.rename(conversation.id, title)
            conversation.title = title
        self.tell(ConversationChanged())

    async def _regenerate(self, message_id: int, reference: str | None) -> None:
        question = self._question_of(message_id)
        if question is not None:
            await self._reply(question, reference=reference)

    async def _continue(self, message_id: int) -> None:
        partial = self.message(message_id)
        question = self._question_of(message_id)
        if partial is not None and question is not None and partial.role == "assistant":
            await self._reply(question, start=partial.content)

    async def _edit_and_resend(self, message_id: int, text: str) -> None:
        store = self.services.store
        try:
            old = await store.get_message(message_id)
            question = await store.add_message(old.conversation_id, old.parent_id, "user", text)
        except StoreError:
            self.tell(Returned(text, editing=message_id))
            raise
        self.branch = await store.branch(old.conversation_id, question.id)
        self.tell(BranchChanged())
        await self._reply(self.branch[-1])

    async def _reply(self, question: Message, *, start: str = "", reference: str | None = None) -> None:
        """Acquire the checkpoint, generate below `question` and store the reply as it comes."""
        from engine.errors import EngineError
        from hugchat_tui.chat.history import UNANSWERED, has_unanswered, what_is_heard
        from hugchat_tui.chat.reply_writer import ReplyWriter

        place = self.branch.index(question) + 1
        history = what_is_heard(self.branch[:place], self.system_prompt, start)
        if has_unanswered(self.branch[: place - 1]):
            self.tell_once([UNANSWERED])
        details = ReplyDetails(model=reference or self.model.reference)
        reply = await self.services.store.begin_reply(question.conversation_id, question.id, details, start)
        followed = len(self.branch) > place
        self.branch[place:] = [reply]
        self._writer = writer = ReplyWriter(self, reply, details)
        self.tell(BranchChanged() if followed else MessageAdded(reply))
        try:
            if not self._stop_wanted:
                await writer.write(reference, history)
            details.ended = details.ended or "stopped"
        except EngineError as error:
            details.ended, details.error = "error", str(error)
            raise
        finally:
            self._writer = None
            if details.ended is None:
                details.ended, details.error = "error", "The reply ended unexpectedly; the log says more."
            # The partial is kept whatever happened, also while this task is being cancelled.
            await asyncio.shield(writer.finish())

    # Small parts

    def _question_of(self, message_id: int) -> Message | None:
        """The question that a message is, or that it answers."""
        for place, message in enumerate(self.branch):
            if message.id == message_id:
                return next((m for m in reversed(self.branch[: place + 1]) if m.role == "user"), None)
        return None

    async def _show(self, message_id: int) -> None:
        """Show the newest branch through a message."""
        if self.conversation is not None:
            store = self.services.store
            await store.set_leaf(self.conversation.id, await store.deepest_leaf(message_id))
            await self._read()

    async def _read(self) -> None:
        """Read conversation and branch anew after the store changed them."""
        if self.conversation is not None:
            self.conversation = await self.services.store.get_conversation(self.conversation.id)
            self.branch = await self.services.store.branch(self.conversation.id)
            self._count_context()
            self.tell(BranchChanged())
            self.tell(ConversationChanged())

    def _count_context(self) -> None:
        """Tokens of the branch, as its last reply was told them; by another checkpoint's count, maybe."""
        replies = [
            message.reply for message in self.branch if message.reply is not None and message.reply.prompt_tokens
        ]
        used = replies[-1].prompt_tokens + replies[-1].new_tokens if replies else 0
        self.status = replace(self.status, context_used=used)
        self.tell(StatusChanged())

    async def _stored(self) -> Conversation:
        """The conversation, stored now if it is new. Raises StoreError."""
        await self.services.ready()
        async with self._creating:
            if self.conversation is None:
                self.conversation = await self.services.store.create_conversation(
                    "", system_prompt=self._system_prompt, model=self.model.reference
                )
                self.tell(ConversationChanged())
            return self.conversation

    def set_phase(self, phase: Phase, stage: str = "", done: int = 0, total: int = 0) -> None:
        begun = (phase, stage) != (self.status.phase, self.status.stage)
        since = time.monotonic() if begun else self.status.since
        self.status = replace(self.status, phase=phase, stage=stage, done=done, total=total, since=since)
        self.tell(StatusChanged())

    def tell_once(self, notes: Iterable[str]) -> None:
        """Say what a person should know of every reply here, but only with the first."""
        for note in notes:
            if note not in self._told:
                self._told.add(note)
                self.tell(Notice(note))

    def tell(self, event: SessionEvent) -> None:
        if self.listener is not None:
            self.listener(event)
