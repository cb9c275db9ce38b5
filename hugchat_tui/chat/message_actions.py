"""What can be done with the message under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content

from hugchat_tui.chat.background import background
from hugchat_tui.chat.prompt_commands import slash_commands
from hugchat_tui.conversations.errors import StoreError

if TYPE_CHECKING:
    from hugchat_tui.app import HugChatApp
    from hugchat_tui.chat.prompt import Prompt
    from hugchat_tui.chat.screen import ChatScreen
    from hugchat_tui.chat.session import ChatSession
    from hugchat_tui.chat.transcript import Transcript
    from hugchat_tui.conversations.model import Mark, Message


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

    correcting: bool = False  # what is being edited is a reply
    _draft_before_editing: str = ""
    _marking: bool = False  # among the messages, when a reply began to be corrected

    def footer_label(self, binding: Binding) -> str:
        """Elsewhere the keys of a message are letters that are typed."""
        return binding.description if self.transcript.has_focus else ""

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

    def begin_editing(self, message_id: int, text: str, *, correcting: bool = False) -> None:
        """Let the prompt hold what a question is to be changed to; correcting: what a reply should have been."""
        if self.editing is None:
            self._draft_before_editing = self.prompt.draft
        self.editing, self.correcting = message_id, correcting
        what = "the better answer · enter keeps it" if correcting else "editing · enter asks again as a branch"
        self.prompt.border_title = Content(f"{what} · esc leaves it")
        self.prompt.set_commands(() if correcting else slash_commands())
        self.prompt.restore(text)
        self.prompt.focus()

    def stop_editing(self) -> int:
        """Leave editing and put the draft back that was there before; returns the message that was edited."""
        if self.editing is None:
            raise RuntimeError("no message is being edited")
        message_id, self.editing, self.correcting = self.editing, None, False
        self.prompt.border_title = None
        self.prompt.set_commands(slash_commands())
        self.prompt.restore(self._draft_before_editing)
        self._draft_before_editing = ""
        return message_id

    def action_mark(self, mark: Mark) -> None:
        """Mark the reply good or bad; again takes the mark away."""
        reply = self._complete_reply()
        if reply is not None:
            self._mark(reply.id, mark)

    @background("sibling")
    async def _mark(self, message_id: int, mark: Mark) -> None:
        await self.session.toggle_mark(message_id, mark)

    def action_correct(self) -> None:
        """Put the reply into the prompt; sending keeps it as the better answer, escape leaves it as it was."""
        reply = self._complete_reply()
        if reply is not None and self._free():
            self._marking = self.transcript.has_focus
            self.begin_editing(reply.id, reply.content, correcting=True)

    def correct(self, text: str) -> None:
        """Keep the better answer that was written for the reply that is being edited."""
        self._correct(self.stop_editing(), text)
        if self._marking:  # at once: the next key is meant for the next message
            self.screen.set_focus(self.transcript)

    @background("sibling")
    async def _correct(self, message_id: int, text: str) -> None:
        try:
            if await self.session.correct_reply(message_id, text):
                return
        except StoreError:
            self.begin_editing(message_id, text, correcting=True)
            raise
        self.begin_editing(message_id, text, correcting=True)

    def _complete_reply(self) -> Message | None:
        """The reply under the cursor, when it is all there and says something; else the person is told."""
        message = self._selected()
        if message is None or message.role != "assistant":
            self.app.notify("Only replies can be marked. Move the cursor to one with j and k.")
        elif message.reply is not None and message.reply.ended is None:
            self.app.notify("This answer is being written. Wait for it, or stop it with esc.", severity="warning")
        elif not message.content.strip():
            self.app.notify("This answer has no words.")
        else:
            return message
        return None

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
