"""One conversation on the screen: transcript, prompt and status line over one session."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message as TextualMessage
from textual.reactive import reactive
from textual.widgets import Static

from hugchat_tui.actions import bindings
from hugchat_tui.chat.entries import entry_of, waiting_footer
from hugchat_tui.chat.find_bar import FindBar
from hugchat_tui.chat.message_actions import MessageActions
from hugchat_tui.chat.names import UNTITLED, display_name
from hugchat_tui.chat.prompt import Prompt
from hugchat_tui.chat.prompt_box import PromptBox
from hugchat_tui.chat.session import ChatSession
from hugchat_tui.chat.session_events import (
    BranchChanged,
    ConversationChanged,
    MessageAdded,
    MessageChanged,
    Notice,
    Returned,
    SessionEvent,
    StatusChanged,
    TextAdded,
)
from hugchat_tui.chat.status_line import StatusLine
from hugchat_tui.chat.transcript import Transcript
from hugchat_tui.chat.transcript.messages import Copied, FindMoved, FindRequested, LinkActivated
from hugchat_tui.chat.welcome import Welcome
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.tones import ACCENT, MUTED
from hugchat_tui.conversations.errors import StoreError
from hugchat_tui.conversations.model import Message


class ConversationView(MessageActions):
    """Shows a session and passes what the person does on to the screen.

    While it is hidden the session's events are not drawn; it catches up when it is shown.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("message")]

    class Asked(TextualMessage):
        """The person sent a text from this view's prompt."""

        def __init__(self, view: ConversationView, text: str, draft: str) -> None:
            super().__init__()
            self.view = view
            self.text = text
            self.draft = draft  # what puts the text back into the prompt

    class Changed(TextualMessage):
        """Title, checkpoint or activity of the session changed."""

        def __init__(self, view: ConversationView) -> None:
            super().__init__()
            self.view = view

    help_title = "Conversation"
    headed = reactive(False)
    linked = reactive(False)  # asked together with the other pane

    def __init__(self, session: ChatSession) -> None:
        super().__init__(classes="conversation-view")
        self.session = session
        self.transcript = Transcript()
        self.prompt = Prompt()
        self.status_line = StatusLine()
        self.find_bar = FindBar(self.transcript)
        self._header = Static(classes="view-header")
        self._welcome = Welcome()
        self._problem = ""  # why nothing can answer, while the conversation is empty
        self._waiting_footer = ""
        self.editing: int | None = None
        self._draft_before_editing = ""
        self._draft_unsaved = False
        self._behind = False
        session.listener = self._on_session_event

    def compose(self) -> ComposeResult:
        yield self._header
        yield self._welcome
        yield self.transcript
        yield self.find_bar
        yield PromptBox(self.prompt)
        yield self.status_line

    def on_mount(self) -> None:
        if self.session.conversation is not None:
            self.prompt.restore(self.session.conversation.draft)
        self._header.display = self.headed
        self._show_branch()
        self._show_status()

    def on_show(self) -> None:
        self.catch_up()

    def catch_up(self) -> None:
        """Draw what the session said while this was hidden."""
        if self._behind:
            self._behind = False
            self._show_branch(at_end=self.transcript.following)
            self._show_status()

    def watch_headed(self) -> None:
        self._header.display = self.headed
        self._show_header()

    def watch_linked(self) -> None:
        self._show_header()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said, is being said or is written in the prompt."""
        return not (self.session.branch or self.session.busy or self.prompt.text)

    def go_to(self, message_id: int) -> None:
        """Show a message of the branch, with the cursor on it."""
        self.catch_up()
        self.transcript.selected_key = message_id
        self.transcript.go_to(message_id)
        self.transcript.focus()

    def focus_prompt(self) -> None:
        # At once, not behind the keys that are waiting to be handled: they are meant for this prompt.
        self.screen.set_focus(self.prompt)

    def show_problem(self, problem: str) -> None:
        """Say in an empty conversation why nothing can answer; empty: something can."""
        self._problem = problem
        self._show_welcome()

    async def keep_draft(self) -> None:
        """Store the draft as it is now; what was typed last may not have been announced yet. Raises StoreError."""
        if self.editing is None:
            await self.session.save_draft(self.prompt.draft)

    # What the session says

    def _on_session_event(self, event: SessionEvent) -> None:
        if not self.is_mounted:
            return
        hidden = self._behind or not (self.display and self.size.height > 0)
        if hidden and not isinstance(event, ConversationChanged | StatusChanged | Notice | Returned):
            self._behind = True
        else:
            self._draw(event)

    def _draw(self, event: SessionEvent) -> None:
        match event:
            case TextAdded():
                self.transcript.feed(event.message_id, event.text)
            case MessageAdded():
                self._problem = ""
                self._show_welcome()
                self.transcript.append(entry_of(event.message, streaming=event.message.role == "assistant"))
                self.transcript.follow_end()
                if not self.transcript.has_focus:
                    self.transcript.selected_key = None  # who goes there next means what was said now
                self._show_waiting()
            case MessageChanged():
                entry = entry_of(event.message)
                self.transcript.update_entry(
                    entry.key,
                    title=entry.title,
                    text=entry.text,
                    detail=entry.detail,
                    footer=entry.footer,
                    streaming=False,
                    mark=entry.mark,
                )
                self._waiting_footer = ""
            case BranchChanged():
                self._show_branch()
            case StatusChanged():
                self._show_status()
            case ConversationChanged():
                self._show_header()
                self._show_welcome()
                self.post_message(self.Changed(self))
            case Notice():
                self._notice(event)
            case Returned():
                self._take_back(event)

    def _notice(self, notice: Notice) -> None:
        if self.session.status.phase == "failed" and not self.session.branch:
            self.show_problem(notice.text)
            if self.display:
                return
        last = self.session.branch[-1].reply if self.session.branch else None
        if self.display and last is not None and last.error == notice.text:
            return  # it stands below the reply
        where = "" if self.display else f"{self.session.title or UNTITLED}: "
        self.app.notify(f"{where}{notice.text}", severity=notice.severity)

    def _take_back(self, returned: Returned) -> None:
        """Put a question that could not be stored before what has been written since."""
        written = self.prompt.draft
        if returned.editing is not None:
            self.begin_editing(returned.editing, returned.text)
        else:
            self.prompt.restore(f"{returned.text}\n\n{written}" if written.strip() else returned.text)

    def _show_branch(self, *, at_end: bool = True) -> None:
        """Show the branch; the cursor stays where it is in it, on another version of the message if need be."""
        before = [entry.key for entry in self.transcript.entries]
        cursor = self.transcript.selected_key
        branch = self.session.branch
        self.transcript.set_entries(
            [entry_of(message, streaming=self._is_being_written(message)) for message in branch], at_end=at_end
        )
        if cursor is not None and branch and self.session.message(cursor) is None:
            self.transcript.selected_key = branch[min(before.index(cursor), len(branch) - 1)].id
        self._waiting_footer = ""
        if branch:
            self._show_waiting()
        self._show_welcome()

    def _is_being_written(self, message: Message) -> bool:
        ended = message.reply is None or message.reply.ended is not None
        return self.session.busy and message is self.session.branch[-1] and not ended

    def _show_welcome(self) -> None:
        empty = not self.session.branch
        self._welcome.display = empty
        if empty and self.transcript.has_focus:
            self.focus_prompt()
        self.transcript.display = not empty
        if empty:
            info = self.session.model.info
            notes = info.notes if info is not None else ()
            self._welcome.show(self.session.model.reference, self.session.status, notes=notes, problem=self._problem)

    def _show_status(self) -> None:
        status = self.session.status
        self.status_line.show(status)
        if not self.session.branch:
            if status.phase in {"preparing", "loading", "idle"}:
                self._problem = ""
            self._show_welcome()
        elif not self._behind:
            self._show_waiting()

    def _show_waiting(self) -> None:
        """Say below a reply that has not begun what it is waiting for."""
        reply = self.session.branch[-1]
        words = waiting_footer(self.session.status) if self._is_being_written(reply) else ""
        if words != self._waiting_footer:
            self._waiting_footer = words
            self.transcript.update_entry(reply.id, footer=words)

    def _show_header(self) -> None:
        if self.headed:
            title = clean_line(self.session.title) or UNTITLED
            model = clean_line(display_name(self.session.model.reference))
            link = (" ⇄ asked together", ACCENT) if self.linked else ("", "")
            self._header.update(Content.assemble((model, "bold" if self.linked else ""), link, "  ", (title, MUTED)))

    # What the person does

    @on(Prompt.Sent)
    def _sent(self, event: Prompt.Sent) -> None:
        event.stop()
        self.post_message(self.Asked(self, event.text, event.draft))

    @on(Prompt.DraftChanged)
    def _draft_changed(self, event: Prompt.DraftChanged) -> None:
        event.stop()
        if self.editing is None:
            self.run_worker(self._save_draft(event.text), group="draft")

    async def _save_draft(self, draft: str) -> None:
        """A failure is told once, not at every pause in typing; the draft stays in the prompt."""
        try:
            await self.session.save_draft(draft)
        except StoreError as error:
            if not self._draft_unsaved and self.session.services.started:
                self.app.notify(f"What you type is not being stored. {error}", severity="error")
            self._draft_unsaved = True
        else:
            self._draft_unsaved = False

    @on(Prompt.LeaveUp)
    def _leave_up(self, event: Prompt.LeaveUp) -> None:
        event.stop()
        if self.session.branch:
            self.transcript.focus()

    @on(Copied)
    def _copied(self, event: Copied) -> None:
        event.stop()
        self.app.copy_to_clipboard(event.text)
        self.app.notify(f"Copied the {event.what}.", timeout=2)

    @on(LinkActivated)
    def _link_activated(self, event: LinkActivated) -> None:
        # Not opened: over SSH there is no browser to open it in, and a model wrote the address.
        event.stop()
        self.app.copy_to_clipboard(event.url)
        self.app.notify(f"Copied the address {event.url}")

    @on(FindRequested)
    def _find_requested(self, event: FindRequested) -> None:
        event.stop()
        self.find_bar.open()

    @on(FindMoved)
    def _find_moved(self, event: FindMoved) -> None:
        event.stop()
        self.find_bar.show_match(event.ordinal, event.total)
