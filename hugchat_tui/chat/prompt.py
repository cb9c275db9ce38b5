"""The prompt: where a person writes.

It keeps the draft, the history and large pastes; it sends nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events, on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import Edit, EditResult, Location, Selection

from hugchat_tui.chat.commands import Command, CommandCompletion
from hugchat_tui.chat.pastes import PasteShelf, is_large
from hugchat_tui.common.alarm import Alarm
from hugchat_tui.common.plain_editor import PlainEditor, normalise

DRAFT_DELAY_S = 0.3
_DOCUMENT_CHARACTERS = 20_000  # above it a paste becomes a chip whatever its size


class Prompt(PlainEditor):
    """Multi-line input: enter sends, ^j starts a new line, up on the first line goes back in the history.

    A paste past CHIP_CHARACTERS or CHIP_LINES is shown as a chip and sent in full. `owner` is whatever the
    screen says the draft belongs to (a conversation's id); messages carry it, so that a late one is never
    saved in a wrong place.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", id="prompt.send"),
        Binding("ctrl+j,shift+enter,alt+enter", "newline", "New line", id="prompt.newline", key_display="^j"),
        Binding("tab", "complete", "Complete the command", show=False, id="prompt.complete"),
        Binding("escape", "close_commands", "Close the commands", show=False, id="prompt.close_commands"),
        Binding("up", "line_up", "Line up, then what you sent before", show=False, id="prompt.up"),
        Binding("down", "line_down", "Line down, then what you sent after", show=False, id="prompt.down"),
    ]

    COMPONENT_CLASSES: ClassVar[set[str]] = {"prompt--chip"}

    DEFAULT_CSS = """
    Prompt {
        height: auto;
        min-height: 3;
        max-height: 12;
        border: round $foreground 20%;
        background: transparent;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        &:focus { border: round $primary; }
        & .text-area--placeholder { color: $foreground 66%; }
        & .prompt--chip { color: $accent; text-style: bold; }
    }
    """

    jump_label = "p"
    help_title = "Prompt"

    class Sent(Message):
        """text: what to send, every chip expanded.

        draft: hand it to `restore` when the text cannot be taken.
        """

        def __init__(self, prompt: Prompt, text: str, draft: str) -> None:
            super().__init__()
            self.prompt, self.owner, self.text, self.draft = prompt, prompt.owner, text, draft

        @property
        def control(self) -> Prompt:
            return self.prompt

    class DraftChanged(Message):
        """The draft of `owner` to keep; at most DRAFT_DELAY_S old."""

        def __init__(self, prompt: Prompt, owner: int | None, text: str) -> None:
            super().__init__()
            self.prompt, self.owner, self.text = prompt, owner, text

        @property
        def control(self) -> Prompt:
            return self.prompt

    @dataclass
    class CompletionChanged(Message):
        """Which commands match what is being typed; none when no command is."""

        prompt: Prompt
        matches: tuple[Command, ...]
        highlighted: int

        @property
        def control(self) -> Prompt:
            return self.prompt

    class LeaveUp(Message):
        """Up was pressed above the oldest entry of the history."""

        def __init__(self, prompt: Prompt) -> None:
            super().__init__()
            self.prompt = prompt

        @property
        def control(self) -> Prompt:
            return self.prompt

    def __init__(self, *, placeholder: Content | None = None, id: str | None = None) -> None:
        self._shelf = PasteShelf()  # TextArea moves its cursor, which asks where the chips are, while it is made
        super().__init__(placeholder=placeholder or Content("Ask anything · / for commands"), id=id)
        self.owner: int | None = None
        self._completion = CommandCompletion()
        self._announced: tuple[tuple[Command, ...], int] = ((), 0)
        self._sent_before: list[str] = []
        self._place = 0  # in the history; len(_sent_before) is the draft itself
        self._left_at: dict[int, str] = {}  # what stood at each place of the history when it was left
        self._draft_alarm = Alarm(self, self._announce_draft)
        self._kept = ""  # the draft as it was last announced or restored

    # The draft.

    @property
    def draft(self) -> str:
        """What to store and later give to `restore`: the draft with its pastes, as one string."""
        shown = self._shelf.pack(self.text)
        browsing = self._place < len(self._sent_before)
        if browsing and self.full_text == self._sent_before[self._place]:
            return self._left_at.get(len(self._sent_before), "")
        return shown

    @property
    def full_text(self) -> str:
        """What is shown, every chip expanded: what would be sent, or opened in an external editor."""
        return self._shelf.expand(self.text)

    def restore(self, draft: str) -> None:
        """Show a stored draft, or any text, with the cursor at its end."""
        self._place = len(self._sent_before)
        self._left_at.clear()
        self._show(draft)

    def switch(self, owner: int | None, draft: str) -> None:
        """Go on with another conversation's draft. The present one's is announced first, under its owner."""
        self.flush_draft()
        self.owner = owner
        self.restore(draft)
        self._kept = self.draft

    def clear_draft(self) -> None:
        """Empty the prompt; undo brings the text back."""
        self.history.checkpoint()
        self.clear()
        self.history.checkpoint()

    def take(self) -> str:
        """Empty the prompt and return its full text, as sending does."""
        text = self.full_text
        self.restore("")
        return text

    def flush_draft(self) -> None:
        """Announce the draft now if a change is still waiting."""
        if self._draft_alarm.is_set:
            self._announce_draft()

    def set_history(self, texts: Sequence[str]) -> None:
        """What was sent before, oldest first."""
        self._sent_before = list(texts)
        self._place = len(self._sent_before)
        self._left_at.clear()

    def remember(self, text: str) -> None:
        """Something was sent, here or in another prompt: up finds it first."""
        end = len(self._sent_before)
        if end and self._sent_before[-1] == text:
            return
        self._sent_before.append(text)
        if self._place == end:
            self._place += 1
        if (draft := self._left_at.pop(end, None)) is not None:
            self._left_at[end + 1] = draft

    def set_commands(self, commands: Sequence[Command]) -> None:
        """What may follow a slash."""
        self._completion.set_commands(commands)

    def insert_paste(self, text: str) -> None:
        """Insert text as pasting it does: cleaned, and as a chip when it is large."""
        text = normalise(text)
        if is_large(text) or len(text) + sum(map(len, self.document.lines)) > _DOCUMENT_CHARACTERS:
            text = self._shelf.add(text)
        if result := self._replace_via_keyboard(text, *self.selection):
            self.move_cursor(result.end_location)

    def _show(self, draft: str) -> None:
        self.load_text(self._shelf.unpack(draft))
        self.move_cursor(self.document.end)

    @on(TextArea.Changed)
    def _text_changed(self) -> None:
        self._draft_alarm.set(DRAFT_DELAY_S)
        self._match_commands()
        self._announce_completion()

    def _match_commands(self) -> None:
        document = self.document
        self._completion.update(document[0] if document.line_count == 1 else "")

    def _announce_draft(self) -> None:
        self._draft_alarm.cancel()
        if (draft := self.draft) != self._kept:
            self._kept = draft
            self.post_message(self.DraftChanged(self, self.owner, draft))

    def _on_blur(self, event: events.Blur) -> None:
        self.flush_draft()

    # Sending.

    def action_send(self) -> None:
        self._match_commands()  # keys that came fast are taken before the change that they made is heard of
        if command := self._completion.chosen:
            self._accept(command)
            if command.argument:
                return
        draft = self._shelf.pack(self.text)
        if draft.strip():
            self.post_message(self.Sent(self, self.take(), draft))

    # Commands.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in {"complete", "close_commands"}:  # else the screen has the keys, and help says so
            self._match_commands()
            return bool(self._completion.matches)
        return super().check_action(action, parameters)

    def action_complete(self) -> None:
        if (command := self._completion.chosen) is not None:
            self._accept(command)

    def action_close_commands(self) -> None:
        self._completion.close()
        self._announce_completion()

    def _accept(self, command: Command) -> None:
        self.replace(command.name + (" " if command.argument else ""), (0, 0), self.document.end)
        self.move_cursor(self.document.end)
        self._completion.close()
        self._announce_completion()

    def _announce_completion(self) -> None:
        state = (self._completion.matches, self._completion.highlighted)
        if state != self._announced:
            self._announced = state
            self.post_message(self.CompletionChanged(self, *state))

    # History.

    def action_line_up(self) -> None:
        if self._completion.matches:
            self._completion.move(-1)
            self._announce_completion()
        elif not self.navigator.is_first_wrapped_line(self.cursor_location):
            self.action_cursor_up()
        elif self._place > 0:
            self._go_to(self._place - 1)
        else:
            self._go_to(len(self._sent_before))
            self.post_message(self.LeaveUp(self))

    def action_line_down(self) -> None:
        if self._completion.matches:
            self._completion.move(1)
            self._announce_completion()
        elif self.navigator.is_last_wrapped_line(self.cursor_location) and self._place < len(self._sent_before):
            self._go_to(self._place + 1)
        else:
            self.action_cursor_down()

    def _go_to(self, place: int) -> None:
        """Show another place of the history.

        What stood at this one stays there, edits included, until sending.
        """
        if place == self._place:
            return
        self._left_at[self._place] = self._shelf.pack(self.text)
        self._place = place
        unchanged = self._sent_before[place] if place < len(self._sent_before) else ""
        self._show(self._left_at.get(place, unchanged))

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._shelf.expand(self.selected_text))

    # A chip is one thing: the cursor never stands inside it, and no edit takes a part of it.

    def validate_selection(self, selection: Selection) -> Selection:
        if not self._shelf:
            return selection
        forward = selection.end >= self.selection.end
        return Selection(self._outside(selection.start, forward), self._outside(selection.end, forward))

    def edit(self, edit: Edit) -> EditResult:
        if self._shelf:
            start, end = self._outside(edit.top, edit.top == edit.bottom), self._outside(edit.bottom, True)
            edit.from_location, edit.to_location = start, end
        return super().edit(edit)

    def _outside(self, location: Location, forward: bool) -> Location:
        row, column = location
        if row < self.document.line_count:
            for start, end in self._shelf.spans(self.document[row]):
                if start < column < end:
                    return (row, end if forward else start)
        return location

    def get_line(self, line_index: int) -> Text:
        line = super().get_line(line_index)
        for start, end in self._shelf.spans(line.plain):
            line.stylize(self.get_component_rich_style("prompt--chip", partial=True), start, end)
        return line
