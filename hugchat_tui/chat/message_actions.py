"""What can be done with the message under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.content import Content

from hugchat_tui.chat.background import background

if TYPE_CHECKING:
    from hugchat_tui.app import HugChatApp
    from hugchat_tui.chat.prompt import Prompt
    from hugchat_tui.chat.screen import ChatScreen
    from hugchat_tui.chat.session import ChatSession
    from hugchat_tui.chat.transcript import Transcript
    from hugchat_tui.conversations.model import Message


class MessageActions(Vertical):
    """Mixed into a conversation's view. Without a cursor the last message is meant."""

    if TYPE_CHECKING:
        app: HugChatApp
        screen: ChatScreen  # type: ignore[assignment]
        session: ChatSession
        transcript: Transcript
        prompt: Prompt
        editing: int | None

        def go_to(self, message_id: int) -> None: ...

    _draft_before_editing: str = ""

    def _selected(self, role: str | None = None) -> Message | None:
        """The message under the cursor, or the nearest one above it with the role asked for.

        The cursor counts while the transcript has the focus, which is when it can be seen.
        """
        branch = self.session.branch
        key = self.transcript.selected_key if self.screen.focused is self.transcript else None
        place = next((index for index, message in enumerate(branch) if message.id == key), len(branch) - 1)
        return next((m for m in reversed(branch[: place + 1]) if role is None or m.role == role), None)

    def _free(self) -> bool:
        if self.session.busy:
            self.app.notify("An answer is being written. Stop it with esc first.", severity="warning")
        return not self.session.busy

    def action_copy_message(self) -> None:
        self.transcript.action_copy()

    def action_edit_message(self) -> None:
        """Put the question into the prompt; sending asks it as a branch, escape leaves it as it was."""
        question = self._selected("user")
        if question is None or not self._free():
            return
        self.begin_editing(question.id, question.content)

    def begin_editing(self, message_id: int, text: str) -> None:
        """Let the prompt hold what a question is to be changed to."""
        if self.editing is None:
            self._draft_before_editing = self.prompt.draft
        self.editing = message_id
        self.prompt.border_title = Content("editing · enter asks again as a branch · esc leaves it")
        self.prompt.restore(text)
        self.prompt.focus()

    def stop_editing(self) -> int:
        """Leave editing and put the draft back that was there before; returns the message that was edited."""
        if self.editing is None:
            raise RuntimeError("no message is being edited")
        message_id, self.editing = self.editing, None
        self.prompt.border_title = None
        self.prompt.restore(self._draft_before_editing)
        self._draft_before_editing = ""
        return message_id

    def action_regenerate(self) -> None:
        message = self._selected()
        if message is not None and self._free():
            self.session.regenerate(message.id)

    def action_continue_reply(self) -> None:
        reply = self._selected("assistant")
        if reply is not None and self._free():
            self.session.continue_reply(reply.id)

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_ask_other(self) -> None:
        message = self._selected()
        if message is None or not self._free():
            return
        reference = await self.screen.pick_model(self.session.model.reference, "Let another model answer")
        if reference is not None and self._free():
            self.session.regenerate(message.id, reference)

    @background("sibling")
    async def action_sibling(self, step: int) -> None:
        message = self._selected()
        if message is None or not self._free():
            return
        shown = await self.session.show_sibling(message.id, step)
        if shown is not None:
            self.go_to(shown)
        elif len(message.siblings) < 2:
            self.app.notify("This message has no other version.")

    @background("sibling")
    async def action_delete_message(self) -> None:
        message = self._selected()
        if message is None or not self._free():
            return
        if await self.session.delete_message(message.id):
            self.app.notify("Deleted the message and what followed it. Undo with /undo-delete or the palette.")
