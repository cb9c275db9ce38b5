"""What a person changes in the branch that is shown: another version, what is deleted, what they think of a reply."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hugchat_tui.chat.session_events import MessageChanged, SessionEvent
from hugchat_tui.conversations.errors import StoreError
from hugchat_tui.conversations.model import Conversation, Mark, Message
from hugchat_tui.services import Deletion

if TYPE_CHECKING:
    from hugchat_tui.services import Services


class BranchChanges:
    """Mixed into a session. None of these while a reply is being written, except marking another one."""

    if TYPE_CHECKING:
        services: Services
        conversation: Conversation | None
        branch: list[Message]
        _changing: asyncio.Lock

        @property
        def busy(self) -> bool: ...
        def message(self, message_id: int) -> Message | None: ...
        def tell(self, event: SessionEvent) -> None: ...
        async def _show(self, message_id: int) -> None: ...
        async def _read(self) -> None: ...

    async def show_sibling(self, message_id: int, step: int) -> int | None:
        """Show the branch through the previous or next sibling; returns its id, None when there is none."""
        async with self._changing:
            message = self.message(message_id)
            if message is None or self.busy:
                return None
            place = message.siblings.index(message_id) + step
            if not 0 <= place < len(message.siblings):
                return None
            await self._show(message.siblings[place])
            return message.siblings[place]

    async def show_message(self, message_id: int) -> bool:
        """Show the branch that runs through a message; False while a reply is being written on another one."""
        async with self._changing:
            if self.message(message_id) is None:
                if self.busy:
                    return False
                await self._show(message_id)
            return True

    async def delete_message(self, message_id: int) -> bool:
        """Delete a message with what follows it; `services.deleted` remembers how to bring it back.

        False when it is not there any more.
        """
        async with self._changing:
            if self.conversation is None or self.busy or self.message(message_id) is None:
                return False
            deletion = await self.services.store.delete_message(message_id)
            self.services.deleted.append(Deletion(self.conversation.id, deletion))
            await self._read()
            return True

    async def bring_back(self, deletion: int) -> bool:
        """Undo the store's deletion of messages here; False while a reply is being written."""
        async with self._changing:
            if self.busy:
                return False
            await self.services.store.undelete_messages(deletion)
            await self._read()
            return True

    async def toggle_mark(self, message_id: int, mark: Mark) -> None:
        """Mark a complete reply good or bad, or take that mark away."""
        message = self.message(message_id)
        if message is not None:
            await self._mark(message, None if message.mark == mark else mark)

    async def correct_reply(self, message_id: int, text: str) -> bool:
        """Show what a reply should have been in its place; unchanged, it is good. False while one is being written."""
        async with self._changing:
            if self.busy:
                return False
            if self.message(message_id) is None:  # another branch was shown meanwhile
                await self._show(message_id)
            message = self.message(message_id)
            if message is None:
                return False
            if text.strip() == message.content.strip():
                await self._mark(message, "good")
            else:
                await self.services.store.correct_reply(message_id, text)
                await self._read()
            return True

    async def _mark(self, message: Message, mark: Mark | None) -> None:
        """Shown at once, so that the same key twice means what is seen."""
        before, message.mark = message.mark, mark
        self.tell(MessageChanged(message))
        try:
            await self.services.store.mark_reply(message.id, mark)
        except StoreError:
            message.mark = before
            self.tell(MessageChanged(message))
            raise
