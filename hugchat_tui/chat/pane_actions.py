"""The chat mode's actions on tabs and panes, comparing two checkpoints among them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from hugchat_tui.chat.background import background
from hugchat_tui.chat.names import UNTITLED
from hugchat_tui.chat.prompt_commands import is_command
from hugchat_tui.common.mode_screen import ModeScreen

if TYPE_CHECKING:
    from hugchat_tui.app import HugChatApp
    from hugchat_tui.chat.panes import Direction, PaneArea
    from hugchat_tui.chat.session import ChatSession
    from hugchat_tui.chat.sidebar import Sidebar
    from hugchat_tui.chat.view import ConversationView
    from hugchat_tui.conversations.model import Conversation


class PaneActions(ModeScreen):
    """Mixed into the chat screen, which owns the widgets.

    linked: the two panes that are asked together; both are on the screen.
    """

    if TYPE_CHECKING:
        app: HugChatApp
        panes: PaneArea
        sidebar: Sidebar

        def view_for(
            self, conversation: Conversation | None, reference: str | None = None, *, asked_for: bool = False
        ) -> ConversationView: ...
        async def close_view(self, view: ConversationView) -> None: ...
        async def pick_model(self, current: str, title: str = "") -> str | None: ...
        async def open_conversation(
            self, conversation: Conversation, message_id: int | None = None
        ) -> ConversationView: ...

    linked: tuple[ConversationView, ConversationView] | None = None

    def new_view(self) -> ConversationView:
        """A view of an empty conversation with the checkpoint of the active pane."""
        active = self.panes.active
        return self.view_for(None, active.session.model.reference if active else None)

    # Tabs

    async def action_new_conversation(self) -> None:
        """An empty conversation: a tab that is empty already, or a new one.

        Not in the background: what is typed next must find the new prompt.
        """
        empty = next((view for view in self.panes.tabs if view.is_empty), None)
        if empty is not None:
            self.panes.show(empty)
        else:
            await self.panes.open(self.new_view())

    @background("open")
    async def action_clear_dialog(self) -> None:
        """HugChat's <clear>: this pane begins a new conversation; the old one is kept in the sidebar."""
        old = self.panes.active
        if old is not None and not old.is_empty:
            await self.panes.open(self.new_view())
            await self.close_view(old)

    def action_next_tab(self) -> None:
        self.panes.step_tab(1)

    def action_previous_tab(self) -> None:
        self.panes.step_tab(-1)

    @background("open")
    async def action_close_tab(self) -> None:
        """Close the tab; its reply, if one is being written, goes on and is stored."""
        if self.panes.active is not None:
            await self.close_view(self.panes.active)

    # Panes

    @background("open")
    async def action_split(self, direction: Direction) -> None:
        """A second pane: the tab used before this one, or an empty conversation."""
        active = self.panes.active
        if active is None:
            return
        others = [view for view in self.panes.shown if view is not active]
        others += [view for view in reversed(self.panes.tabs) if view not in self.panes.shown]
        await self.panes.split(others[0] if others else self.new_view(), direction)

    def action_next_pane(self) -> None:
        self.panes.next_pane()

    def action_zoom_pane(self) -> None:
        self.panes.toggle_zoom()

    def action_close_pane(self) -> None:
        if not self.panes.close_pane():
            self.notify("There is only one pane. Close conversation closes its tab.")

    def action_toggle_sidebar(self) -> None:
        """Show it where it is hidden, hide it where it is shown, whatever the width."""
        visible = bool(self.sidebar.display and self.sidebar.size.width)
        had_focus = self.sidebar.has_focus
        self.sidebar.set_class(visible, "-hidden")
        self.sidebar.set_class(not visible, "-shown")
        if not visible:
            self.sidebar.focus()
        elif had_focus and self.panes.active is not None:
            self.panes.active.focus_prompt()

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_jump(self) -> None:
        """One key to a part of the screen, a conversation, or a pane command."""
        from hugchat_tui.common.jump import JumpCommand, JumpOverlay, JumpToThing, JumpToWidget, NumberedThing

        if self.sidebar.is_on_screen and self.sidebar.size.width:
            things = [NumberedThing(number, "", place) for number, place in self.sidebar.jump_rows()]
        else:
            stored = [view.session.conversation for view in self.panes.tabs]
            things = [NumberedThing(each.id, each.title or UNTITLED) for each in stored if each is not None]
        match await self.app.push_screen_wait(JumpOverlay(self, things)):
            case JumpToWidget(widget):
                widget.focus()
            case JumpToThing(conversation_id):
                await self.open_conversation(await self.app.services.store.get_conversation(conversation_id))
            case JumpCommand("sidebar"):
                self.action_toggle_sidebar()
            case JumpCommand("zoom"):
                self.action_zoom_pane()
            case JumpCommand("close"):
                if not self.panes.close_pane():  # the tab, where there is one pane only
                    self.action_close_tab()

    # Comparing

    @background("dialog", exclusive=True, opens_dialog=True)
    async def action_compare(self) -> None:
        """Ask a second checkpoint the same, side by side; pressed again, the panes are asked apart."""
        view = self.panes.active
        if view is None:
            return
        if self.linked is not None:
            self.link(None)
            self.notify("The two panes are asked apart from now on.")
            return
        if view.session.busy:
            self.notify("An answer is being written. Wait for it, or stop it with esc.", severity="warning")
            return
        reference = await self.pick_model(view.session.model.reference, "Compare with")
        if reference is not None and view in self.panes.tabs and not view.session.busy:
            await self._compare(view, reference)

    async def compare_with(self, reference: str) -> None:
        """Ask this checkpoint the same as the active pane, instead of what that is compared with now."""
        view = self.panes.active
        if view is None:
            return
        if view.session.busy:
            self.notify("An answer is being written. Wait for it, or stop it with esc.", severity="warning")
            return
        self.link(None)
        await self._compare(view, reference)

    async def _compare(self, view: ConversationView, reference: str) -> None:
        other = self.view_for(None, reference, asked_for=True)
        self.panes.show(view)
        await self.panes.split(other, "right", focus=False)
        self.link((view, other))
        await other.session.set_system_prompt(view.session.system_prompt)
        draft, question = view.prompt.full_text, view.session.last_question
        if draft.strip() and view.editing is None and not is_command(draft):
            view.prompt.restore("")
            self.share_seed(view.session, other.session)
            other.session.ask_again([*view.session.branch], draft)
            view.session.ask(draft)
        elif question is not None:
            place = view.session.branch.index(question)
            before, answers = view.session.branch[:place], view.session.branch[place + 1 :]
            if answers and answers[0].reply is not None:
                other.session.seed = answers[0].reply.seed
            other.session.ask_again(before, question.content)
        else:
            self.notify("Both panes are asked what you send. f4 ends that.")

    def other_of(self, view: ConversationView) -> ConversationView | None:
        """The pane that is asked together with this one."""
        if self.linked is None or view not in self.linked:
            return None
        return self.linked[1] if view is self.linked[0] else self.linked[0]

    def share_seed(self, *sessions: ChatSession) -> None:
        """Let the next replies of these draw alike, so that they differ by their checkpoints only."""
        chosen = self.app.services.settings.sampling.seed
        seed = secrets.randbits(32) if chosen is None else chosen
        for session in sessions:
            session.seed = seed

    def link(self, pair: tuple[ConversationView, ConversationView] | None) -> None:
        """Let these two be asked together, or none."""
        self.linked = pair
        for view in self.panes.tabs:
            view.linked = pair is not None and view in pair
