"""The chat mode: conversations, tabs and panes, and what the person can do with them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from hugchat_tui.actions import BY_ID, bindings
from hugchat_tui.chat.background import background
from hugchat_tui.chat.key_bar import KeyBar
from hugchat_tui.chat.names import UNTITLED
from hugchat_tui.chat.panes import PaneArea
from hugchat_tui.chat.prompt_commands import PromptCommand, UnknownCommandError, parse_command, slash_commands
from hugchat_tui.chat.screen_actions import ChatActions
from hugchat_tui.chat.session import ChatSession
from hugchat_tui.chat.session_events import ConversationChanged, Notice, SessionEvent
from hugchat_tui.chat.sidebar import Sidebar
from hugchat_tui.chat.tab_bar import Tab, TabBar
from hugchat_tui.chat.view import ConversationView
from hugchat_tui.common.compositor import PartialCompositor
from hugchat_tui.conversations.model import Conversation

PAGE_OF_CONVERSATIONS = 500


class ChatScreen(ChatActions):
    """Joins the sidebar, the panes and the services."""

    help_title = "Chat"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = None
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 - an instance variable to Textual
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("chat")]

    def __init__(self, reference: str) -> None:
        super().__init__()
        self._compositor = PartialCompositor()
        self._reference = reference
        self._sent: list[str] = []  # oldest first
        self.sidebar = Sidebar()
        self.tab_bar = TabBar()
        self.panes = PaneArea()
        self.key_bar = KeyBar()
        self._stop_binding = BY_ID["chat.stop"].binding()
        self._opening = asyncio.Lock()
        self._detached: set[ChatSession] = set()  # whose tab is closed while their reply is being written
        self._busy: set[ChatSession] = set()  # as last marked
        self._unread: set[int] = set()  # conversations in which a reply ended unseen

    def compose(self) -> ComposeResult:
        first = self.view_for(None, asked_for=True)
        self.panes.adopt(first)
        with Horizontal(id="body"):
            yield self.sidebar
            with Vertical(id="main"):
                yield self.tab_bar
                with self.panes:
                    yield first
        yield self.key_bar

    def on_mount(self) -> None:
        self.app.services.shown = lambda: [view.session.model.reference for view in self.panes.shown]
        if keys := self.app.services.settings.keymap.get("chat.stop"):
            self._stop_binding = self._stop_binding.with_key(keys.partition(",")[0])
        shown = self.app.services.settings.appearance.sidebar
        self.sidebar.set_class(shown == "hidden", "-hidden")
        self.sidebar.set_class(shown == "shown", "-shown")
        if self.panes.active is not None:
            self.panes.active.focus_prompt()

    @property
    def sessions(self) -> list[ChatSession]:
        """Of all tabs, and of closed ones whose reply is still being written."""
        return [*(view.session for view in self.panes.tabs), *self._detached]

    # What the services bring

    async def started(self) -> None:
        """The services are there: fill the sidebar, take up an unsent draft, load the checkpoint. Raises StoreError."""
        view = self.panes.active
        if view is None:
            return
        view.show_problem("")
        conversations = await self.refresh_sidebar()
        newest = conversations[0] if conversations else None
        if newest is not None and not newest.message_count and newest.draft and view.is_empty:
            await view.session.take_up(newest)
            view.prompt.restore(newest.draft)
        self._sent = (await self.app.services.store.prompt_history())[::-1]
        for each in self.panes.tabs:
            each.prompt.set_history(self._sent)
        if not view.session.busy:
            view.session.model.prepare()

    async def refresh_sidebar(self) -> list[Conversation]:
        """Show the stored conversations and which of them are open and busy. Raises StoreError."""
        found = await self.app.services.store.list_conversations(limit=PAGE_OF_CONVERSATIONS + 1)
        listed = found[:PAGE_OF_CONVERSATIONS]
        conversations = [each for each in listed if each.message_count or each.title or each.draft]
        self.sidebar.set_conversations(conversations, more=len(found) > len(listed))
        self.mark()
        return conversations

    def mark(self) -> None:
        """Show which conversations are open, busy and unread, and what is loaded."""
        active = self.panes.active
        seen = {view.session for view in self.panes.tabs if view.display}
        busy = {session for session in self.sessions if session.busy}
        self._unread |= _ids(self._busy - busy - seen)
        self._unread -= _ids(seen)
        self._busy = busy
        self.sidebar.set_current(next(iter(_ids({active.session})), None) if active else None)
        self.sidebar.set_streaming(_ids(busy))
        self.sidebar.set_unread(self._unread)
        self.tab_bar.tabs = tuple(
            Tab(view.session.title, view is active, view in self.panes.shown, view.session.busy)
            for view in self.panes.tabs
        )
        for view in self.panes.tabs:
            view.session.model.show()

    def _show_stoppable(self) -> None:
        """Let the footer say how to stop while there is something to stop."""
        active = self.panes.active
        stoppable = active is not None and active.session.stoppable
        self.key_bar.urgent = self._stop_binding if stoppable else None

    @on(ConversationView.Changed)
    @background("sidebar", exclusive=True)
    async def _view_changed(self) -> None:
        self._show_stoppable()
        if self.app.services.started:
            await self.refresh_sidebar()

    @on(PaneArea.LayoutChanged)
    def _layout_changed(self) -> None:
        if self.linked is not None and not all(view in self.panes.shown for view in self.linked):
            self.link(None)
            self.notify("The two panes are asked apart from now on.")
        self.mark()
        self._show_stoppable()

    def view_for(
        self, conversation: Conversation | None, reference: str | None = None, *, asked_for: bool = False
    ) -> ConversationView:
        """A view of its own. asked_for: the person named the checkpoint just now; see SessionModel."""
        name = reference or (conversation.model if conversation and conversation.model else self._reference)
        session = ChatSession(self.app.services, conversation, name)
        session.model.asked_for = asked_for
        return self._view_of(session)

    def _view_of(self, session: ChatSession) -> ConversationView:
        view = ConversationView(session)
        view.prompt.set_commands(slash_commands())
        view.prompt.set_history(self._sent)
        return view

    # Sending

    @on(ConversationView.Asked)
    def _asked(self, event: ConversationView.Asked) -> None:
        view, text = event.view, event.text
        try:
            command = None if view.correcting else parse_command(event.draft)
        except UnknownCommandError as error:
            view.prompt.restore(event.draft)
            self.notify(str(error), severity="warning")
            return
        if command is not None:
            self._run_command(view, command)
        elif view.session.busy:
            view.prompt.restore(event.draft)
            self.notify("An answer is being written. Stop it with esc, or wait; your text stays.")
        else:
            if not self.app.services.started:
                self.app.begin()
            self.ask(view, text)

    def ask(self, view: ConversationView, text: str) -> None:
        """Ask in one view, and in the one it is compared with."""
        if view.correcting:
            view.correct(text)
            return
        self._sent.append(text)
        for each in self.panes.tabs:
            each.prompt.remember(text)
        if view.editing is not None:
            message_id = view.stop_editing()
            view.session.edit_and_resend(message_id, text)
            return
        other = self.other_of(view)
        if other is not None and not other.session.busy:
            self.share_seed(view.session, other.session)
        view.session.ask(text)
        if other is not None:
            if other.session.busy:
                self.notify("The other pane is still answering; it was not asked.", severity="warning")
            else:
                other.session.ask(text)

    @background("command")
    async def _run_command(self, view: ConversationView, command: PromptCommand) -> None:
        if command.argument and command.action.id == "chat.model":
            view.session.model.switch(command.argument)
        elif command.argument and view.session.conversation is not None:
            await self.retitle(view.session.conversation, command.argument)
        elif command.argument:
            self.notify("There is no conversation to rename yet. Ask something first.")
        else:
            await self.app.run_listed_action(command.action)

    # Conversations and tabs

    async def open_conversation(self, conversation: Conversation, message_id: int | None = None) -> ConversationView:
        """Show a conversation, at a message if one is named: the tab that has it, an empty tab, or a new one.

        Raises StoreError.
        """
        async with self._opening:
            view = self.tab_of(conversation.id)
            if view is None:
                view = await self._open_tab(conversation)
            else:
                self.panes.show(view)
        if message_id is not None:
            if await view.session.show_message(message_id):
                view.go_to(message_id)
            else:
                self.notify("The message is on another branch than the answer that is being written.")
        return view

    async def _open_tab(self, conversation: Conversation) -> ConversationView:
        view = self.view_for(conversation)
        running = next((each for each in self._detached if _is(each, conversation.id)), None)
        if running is not None:
            self._detached.discard(running)
            view = self._view_of(running)
        else:
            await view.session.open()
        active = self.panes.active
        replaced = active if active is not None and active.is_empty and self.linked is None else None
        await self.panes.open(view)
        if replaced is not None:
            await self.close_view(replaced)
        return view

    def tab_of(self, conversation_id: int) -> ConversationView | None:
        return next((view for view in self.panes.tabs if _is(view.session, conversation_id)), None)

    async def close_view(self, view: ConversationView) -> None:
        """Close a tab, opening an empty one in its place when it is the last. Raises StoreError."""
        session = view.session
        if view not in self.panes.tabs or (len(self.panes.tabs) == 1 and view.is_empty):
            return
        if len(self.panes.tabs) == 1:
            await self.panes.open(self.new_view())
        if self.app.services.started:
            await view.keep_draft()
            if not session.busy:
                await session.discard_if_empty()
        if session.busy:
            self._detached.add(session)
            session.listener = partial(self._detached_session_said, session)
        else:
            session.listener = None
        await self.panes.close_tab(view)

    async def close_for_good(self, conversation_id: int) -> None:
        """End what is being written in a conversation, and close its tab."""
        for session in self.sessions:
            if _is(session, conversation_id):
                session.stop()
                await session.wait()
        view = self.tab_of(conversation_id)
        if view is not None:
            await self.close_view(view)

    def _detached_session_said(self, session: ChatSession, event: SessionEvent) -> None:
        if isinstance(event, Notice):
            self.notify(f"{session.title or UNTITLED}: {event.text}", severity=event.severity)
        elif isinstance(event, ConversationChanged):
            if not session.busy:
                self._detached.discard(session)
                session.listener = None
            self._refresh()

    @background("sidebar", exclusive=True)
    async def _refresh(self) -> None:
        await self.refresh_sidebar()

    @on(TabBar.Chosen)
    def _tab_chosen(self, event: TabBar.Chosen) -> None:
        self.panes.show(self.panes.tabs[event.index])

    @on(Sidebar.Selected)
    @background("open")
    async def _conversation_selected(self, event: Sidebar.Selected) -> None:
        await self.open_conversation(await self.app.services.store.get_conversation(event.conversation_id))

    @on(Sidebar.NewRequested)
    async def _new_requested(self) -> None:
        await self.action_new_conversation()

    @on(Sidebar.RenameRequested)
    @background("dialog", exclusive=True)
    async def _rename_requested(self, event: Sidebar.RenameRequested) -> None:
        await self.rename(await self.app.services.store.get_conversation(event.conversation_id))

    @on(Sidebar.DeleteRequested)
    @background("open")
    async def _delete_requested(self, event: Sidebar.DeleteRequested) -> None:
        await self.delete(await self.app.services.store.get_conversation(event.conversation_id))


def _is(session: ChatSession, conversation_id: int) -> bool:
    return session.conversation is not None and session.conversation.id == conversation_id


def _ids(sessions: set[ChatSession]) -> set[int]:
    return {session.conversation.id for session in sessions if session.conversation is not None}
