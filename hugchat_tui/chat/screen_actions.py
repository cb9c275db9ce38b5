"""The chat mode's actions, by key, palette and slash command; the table that names them is hugchat_tui.actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.actions import SkipAction
from textual.app import SuspendNotSupported

from hugchat_tui.chat.background import background
from hugchat_tui.chat.data_actions import DataActions
from hugchat_tui.chat.names import UNTITLED, display_name
from hugchat_tui.services import Deletion

if TYPE_CHECKING:
    from hugchat_tui.chat.view import ConversationView
    from hugchat_tui.conversations.model import Conversation


class ChatActions(DataActions):
    """Mixed into the chat screen, which owns the widgets."""

    if TYPE_CHECKING:

        async def refresh_sidebar(self) -> list[Conversation]: ...
        def tab_of(self, conversation_id: int) -> ConversationView | None: ...
        async def close_for_good(self, conversation_id: int) -> None: ...

    def _key_escape(self) -> None:
        """Textual drops the selection here at every escape, before it asks bindings; the action below does it."""

    def action_copy_text(self) -> None:
        """Leave copying a selection to the application, which says that it did."""
        raise SkipAction

    # Conversations

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_rename_conversation(self) -> None:
        view = self.panes.active
        if view is not None and view.session.conversation is not None:
            await self.rename(view.session.conversation)

    async def rename(self, conversation: Conversation) -> None:
        """Ask for another title and store it."""
        from hugchat_tui.common.dialogs import TextDialog

        title = await self.app.push_screen_wait(TextDialog("Rename conversation", conversation.title))
        if title is not None:
            await self.retitle(conversation, title)

    async def retitle(self, conversation: Conversation, title: str) -> None:
        """Store another title; a blank one is none."""
        if not title.strip():
            return
        await self.app.services.store.rename(conversation.id, title.strip())
        view = self.tab_of(conversation.id)
        if view is not None:
            await view.session.reload_conversation()
        await self.refresh_sidebar()

    @background("dialog", exclusive=True)
    async def action_delete_conversation(self) -> None:
        view = self.panes.active
        if view is not None and view.session.conversation is not None:
            await self.delete(view.session.conversation)

    async def delete(self, conversation: Conversation) -> None:
        """Delete a conversation; undo brings it back until the app closes."""
        await self.close_for_good(conversation.id)
        await self.app.services.store.delete_conversation(conversation.id)
        self.app.services.deleted.append(Deletion(conversation.id))
        await self.refresh_sidebar()
        self.notify(f"Deleted {conversation.title or UNTITLED}. Undo with /undo-delete, or u in the sidebar.")

    @background("open")
    async def action_undo_delete(self) -> None:
        """Bring back the conversation or message that was deleted last."""
        deleted = self.app.services.deleted
        if not deleted:
            self.notify("Nothing was deleted since the app started.")
            return
        deletion, store = deleted[-1], self.app.services.store
        if deletion.messages is None:
            conversation = await store.undelete_conversation(deletion.conversation_id)
            deleted.remove(deletion)
            await self.open_conversation(conversation)
        else:
            view = await self.open_conversation(await store.get_conversation(deletion.conversation_id))
            if not await view.session.bring_back(deletion.messages):
                self.notify("An answer is being written here. Stop it with esc first.", severity="warning")
                return
            deleted.remove(deletion)
        await self.refresh_sidebar()

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_edit_system_prompt(self) -> None:
        from hugchat_tui.common.dialogs import TextDialog

        view = self.panes.active
        if view is None:
            return
        now = view.session.system_prompt
        text = await self.app.push_screen_wait(TextDialog("System prompt", now, multiline=True))
        if text is not None:
            await view.session.set_system_prompt(text)
            self.notify("The system prompt counts from the next question on.")

    # Models

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_choose_model(self) -> None:
        view = self.panes.active
        if view is None:
            return
        reference = await self.pick_model(view.session.model.reference)
        if reference is not None:
            view.session.model.switch(reference)

    async def pick_model(self, current: str, title: str = "Choose a model") -> str | None:
        """Let the person choose a checkpoint; returns its reference, None when they leave."""
        from hugchat_tui.chat.model_picker import ModelPicker

        picker = ModelPicker(current=current, title=title)

        async def scan() -> None:
            services = self.app.services
            try:
                found = await services.checkpoints()
                picker.set_checkpoints(found)
                picker.set_fits(await services.fits(found))
            except OSError as error:
                picker.set_error(str(error))

        self.run_worker(scan(), group="scan", exclusive=True)
        result = await self.app.push_screen_wait(picker)
        if result is None:
            return None
        found = result.checkpoint
        # A name from the starter, the cache or a run says it all; a folder's or a file's name could be another's too.
        return found.name if found is not None and found.source != "folder" else result.reference

    @background("open")
    async def action_unload_model(self) -> None:
        view = self.panes.active
        if view is None:
            return
        model = view.session.model
        name = display_name(model.reference)
        if model.info is None:
            self.notify(f"{name} is not loaded.")
        elif await model.unload():
            self.notify(f"{name} gave back its memory. The next question loads it again.")
        else:
            self.notify(f"{name} is answering. Stop that first.", severity="warning")

    # Finding

    def action_find(self) -> None:
        if self.panes.active is not None and self.panes.active.session.branch:
            self.panes.active.find_bar.open()
            self.app.hold_keys()
            self.app.hand_on_keys()

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_search_history(self) -> None:
        from hugchat_tui.chat.search_screen import SearchScreen

        hit = await self.app.push_screen_wait(SearchScreen(self.app.services.store.search))
        if hit is not None:
            conversation = await self.app.services.store.get_conversation(hit.conversation_id)
            await self.open_conversation(conversation, hit.message_id)

    # The prompt

    def action_stop(self) -> None:
        """Stop the reply and keep the partial, or stop loading; else leave what was begun; else focus the prompt."""
        view = self.panes.active
        if view is None or view.session.stop():
            return
        if self.selections:
            self.clear_selection()
            return
        if view.editing is not None:
            view.stop_editing()
        view.focus_prompt()

    @background("dialog", exclusive=True)
    async def action_external_editor(self) -> None:
        from hugchat_tui.common.editor import EditorError, edit_text

        view = self.panes.active
        if view is None:
            return
        try:
            text = await edit_text(self.app, view.prompt.full_text)
        except SuspendNotSupported:
            self.notify("This terminal cannot be lent to an editor.", severity="error")
        except EditorError as error:
            self.notify(str(error), severity="error")
        else:
            view.prompt.restore(text)
