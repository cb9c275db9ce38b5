"""Every action a person can take, once: bindings, palette, help, footer and slash commands all come from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

Scope = Literal["app", "chat", "message"]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person can do.

    id: its name in the keymap file ("chat.new"). method: the `action_...` method on the scope's owner. keys: Textual
    key names separated by commas, empty for none. footer: shown in the footer when its part has the focus, by its short name
    if it has one.
    """

    id: str
    method: str
    title: str
    help: str
    keys: str = ""
    scope: Scope = "chat"
    footer: bool = False
    priority: bool = False
    short: str = ""

    @property
    def slash(self) -> str:
        """The word that runs it from the prompt: "/new" for "chat.new", "/tab-close" for "tab.close"."""
        group, _, verb = self.id.partition(".")
        return "/" + (verb if group in {"chat", "app", "message"} else f"{group}-{verb}").replace("_", "-")

    def binding(self) -> Binding:
        """The Textual binding; its id lets the person's keymap change the keys."""
        return Binding(
            self.keys,
            self.method,
            self.short or self.title,
            show=self.footer,
            id=self.id,
            tooltip=self.help,
            priority=self.priority,
        )


ACTIONS: tuple[Action, ...] = (
    # The application
    Action("app.palette", "command_palette", "Commands", "Find any action by name", "ctrl+p,f2", "app", True),
    Action("app.help", "help", "Help", "The keys of what has the focus", "f1", "app", True),
    Action("app.theme", "choose_theme", "Theme", "Choose the colours", "", "app"),
    Action("app.quit", "quit_safely", "Quit", "Leave; asks first while an answer is being written", "ctrl+q", "app", priority=True),
    Action("app.interrupt", "interrupt", "Copy or stop", "Copy the selection, else stop the answer, else clear the draft; twice quits", "ctrl+c", "app"),
    # The chat mode
    Action("chat.new", "new_conversation", "New conversation", "Start a new conversation", "ctrl+n", footer=True, short="New", priority=True),
    Action("chat.jump", "jump", "Jump", "Jump to a tab or a part of the screen by one key", "ctrl+o", priority=True),
    Action("chat.model", "choose_model", "Model", "Choose the checkpoint that answers here", "ctrl+t,f3", footer=True, priority=True),
    Action("chat.compare", "compare", "Compare", "Ask a second checkpoint the same, side by side", "f4", priority=True),
    Action("chat.find", "find", "Find", "Find in this conversation", "ctrl+f", priority=True),
    Action("chat.search", "search_history", "Search", "Search all conversations", "ctrl+r", priority=True),
    Action("chat.editor", "external_editor", "Editor", "Write the draft in your own editor", "ctrl+g"),
    Action("chat.stop", "stop", "Stop", "Stop the answer and keep what there is", "escape"),
    Action("chat.system", "edit_system_prompt", "System prompt", "Change this conversation's system prompt"),
    Action("chat.clear", "clear_dialog", "Clear", "Start over with an empty conversation"),
    Action("chat.rename", "rename_conversation", "Rename", "Give this conversation another title"),
    Action("chat.delete_conversation", "delete_conversation", "Delete conversation", "Delete this conversation; undo is offered"),
    Action("chat.undo_delete", "undo_delete", "Undo delete", "Bring back what was deleted last"),
    Action("chat.unload", "unload_model", "Unload model", "Give back the memory of this conversation's checkpoint"),
    # Tabs and panes
    Action("tab.next", "next_tab", "Next conversation", "Show the next open conversation", "f8"),
    Action("tab.previous", "previous_tab", "Previous conversation", "Show the previous open conversation", "f7"),
    Action("tab.close", "close_tab", "Close conversation", "Close this tab; the conversation is kept"),
    Action("pane.next", "next_pane", "Next pane", "Move to the other pane", "f6"),
    Action("pane.split_right", "split('right')", "Split right", "Open a second pane to the right"),
    Action("pane.split_down", "split('down')", "Split down", "Open a second pane below"),
    Action("pane.zoom", "zoom_pane", "Zoom pane", "Let this pane fill the screen, or put it back"),
    Action("pane.close", "close_pane", "Close pane", "Close this pane; its conversation stays open as a tab"),
    Action("chat.sidebar", "toggle_sidebar", "Sidebar", "Show or hide the list of conversations"),
    # A message that has the cursor
    Action("message.copy", "copy_message", "Copy", "Copy the message", "", "message"),
    Action("message.edit", "edit_message", "Edit", "Edit the question and ask again as a branch", "e", "message", True),
    Action("message.regenerate", "regenerate", "Regenerate", "Answer again, keeping this answer", "r", "message", True),
    Action("message.continue", "continue_reply", "Continue", "Go on where the answer stopped", "full_stop", "message", True),
    Action("message.previous", "sibling(-1)", "Previous version", "Show the previous sibling", "left_square_bracket", "message"),
    Action("message.next", "sibling(1)", "Next version", "Show the next sibling", "right_square_bracket", "message"),
    Action("message.ask_other", "ask_other", "Ask another model", "Let another checkpoint answer this as well", "m", "message", True, short="Other model"),
    Action("message.delete", "delete_message", "Delete message", "Delete the message and what follows; undo is offered", "d", "message"),
)  # fmt: skip

BY_ID: dict[str, Action] = {action.id: action for action in ACTIONS}


def bindings(scope: Scope) -> list[Binding]:
    """The bindings of one scope, in the order of the table. Actions without keys have none."""
    return [action.binding() for action in ACTIONS if action.scope == scope and action.keys]
