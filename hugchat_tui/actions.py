"""Every action a person can take, once: bindings, palette, help, footer and slash commands all come from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

# Who owns an action's method: the app, the chat screen, a conversation; the library's screen or one of its three views.
Scope = Literal["app", "chat", "message", "library", "machine", "hub", "downloads"]

_LIBRARY = frozenset({"library", "machine", "hub", "downloads"})


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person can do.

    id: its name in the keymap file ("chat.new"). method: the `action_...` method on the scope's owner. keys: Textual
    key names separated by commas, empty for none. footer: shown in the footer when its part has the focus, by its short name
    if it has one. wide: shown there behind those where the screen is wide.
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
    wide: bool = False

    @property
    def slash(self) -> str:
        """The word that runs it from the prompt: "/new" for "chat.new", "/tab-close" for "tab.close"."""
        group, _, verb = self.id.partition(".")
        return "/" + (verb if group in {"chat", "app", "message"} else f"{group}-{verb}").replace("_", "-")

    def binding(self) -> Binding:
        """The Textual binding; its id lets the person's keymap change the keys.

        All keys of the library are taken at once: what is typed right behind one of them is meant for what it opens,
        and letters that came late would delete the row that the cursor has reached meanwhile.
        """
        return Binding(
            self.keys,
            self.method,
            self.short or self.title,
            show=self.footer,
            id=self.id,
            tooltip=self.help,
            priority=self.priority or self.scope in _LIBRARY,
        )


ACTIONS: tuple[Action, ...] = (
    # The application
    Action("app.palette", "command_palette", "Commands", "Find any action by name", "ctrl+p,f2", "app", True),
    Action("app.help", "help", "Help", "The keys of what has the focus", "f1,question_mark", "app", True),
    Action("app.library", "library", "Library", "Checkpoints: find, download, check, delete; again to go back to the chat", "f5", "app", priority=True),
    Action("app.theme", "choose_theme", "Theme", "Choose the colours", "", "app"),
    Action("app.quit", "quit_safely", "Quit", "Leave; asks first while something is being written or downloaded", "ctrl+q", "app", priority=True),
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
    # The library
    Action("library.machine", "show_view('machine')", "Checkpoints on this machine", "Show the checkpoints of this machine", "1", "library"),
    Action("library.hub", "show_view('hub')", "Hugging Face Hub", "Search the Hugging Face Hub", "2", "library"),
    Action("library.downloads", "show_view('downloads')", "Downloads and jobs", "Show what is being downloaded, checked or made", "3", "library"),
    Action("library.previous_view", "step_view(-1)", "Previous view of the library", "Show the view to the left", "left", "library"),
    Action("library.next_view", "step_view(1)", "Next view of the library", "Show the view to the right", "right", "library"),
    Action("library.back", "back", "Back to the chat", "Take away notices; then leave the details, the marks, the filter, and the library", "escape", "library", True, short="Back"),
    Action("library.find", "find", "Find a checkpoint", "Filter the checkpoints, or search the Hub", "slash", "library", True, short="Find"),
    Action("library.details", "details", "Details of a checkpoint", "Go to the details, or back to the list", "tab", "library", short="Details", wide=True),
    Action("library.jump", "jump", "Jump in the library", "Jump to a part of the library by one key", "ctrl+o", "library", short="Jump"),
    Action("library.token", "enter_token", "Hub token", "Enter a Hugging Face token; it is stored where `hf auth login` stores it", "", "library"),
    # A checkpoint on this machine
    Action("library.load", "load", "Load into the chat", "Let this checkpoint answer in the conversation", "enter", "machine", True, short="Chat"),
    Action("library.compare", "compare", "Compare this checkpoint", "Ask this checkpoint the same, beside the one that answers", "c", "machine", short="Compare", wide=True),
    Action("library.verify", "verify", "Verify checkpoint", "Compare its files with their checksums; needs no network", "v", "machine", short="Verify", wide=True),
    Action("library.delete", "delete", "Delete checkpoint", "Delete it, or all that are marked, after a look at what that frees and breaks", "d,delete", "machine", True, short="Delete"),
    Action("library.mark", "mark", "Mark checkpoint", "Mark it, to delete several at once", "space", "machine", short="Mark", wide=True),
    Action("library.undo", "undo", "Undo delete checkpoint", "Bring back what was deleted last", "u", "machine", short="Undo delete"),
    Action("library.empty_trash", "empty_trash", "Empty the trash", "Free the space of what was deleted now; undo ends", "", "machine"),
    Action("library.merge", "merge", "Merge adapter", "Merge an adapter into its base: a new model", "m", "machine", short="Merge"),
    Action("library.convert", "convert", "Convert checkpoint", "Convert a GGUF file or pickled weights to safetensors", "t", "machine", short="Convert"),
    Action("library.rename", "rename", "Rename checkpoint", "Give it a name of your own", "r", "machine", short="Rename"),
    Action("library.note", "note", "Note on a checkpoint", "Write a note about it", "n", "machine", short="Note"),
    Action("library.copy_path", "copy_path", "Copy path", "Copy where it lies", "y", "machine"),
    Action("library.export", "export", "Export checkpoint", "Copy it to a plain folder", "x", "machine", short="Export"),
    Action("library.add_folder", "add_folder", "Add a folder of checkpoints", "Look for checkpoints in one more folder", "a", "machine", short="Add folder"),
    Action("library.rescan", "rescan", "Look for checkpoints again", "Look for checkpoints again", "R,shift+r", "machine", short="Rescan"),
    Action("library.sort", "sort", "Sort checkpoints", "Sort by the next column", "s", "machine", short="Sort", wide=True),
    Action("library.reverse", "reverse", "Reverse the order", "Sort the other way round", "S,shift+s", "machine", short="Reverse"),
    Action("library.kind", "next_kind", "Kind of checkpoints", "Show one kind only: models, adapters, GGUF, unfinished, broken, other", "f", "machine", short="Kind", wide=True),
    # A repository of the Hub
    Action("library.pull", "pull", "Pull from the Hub", "Download it into the Hugging Face cache", "p", "hub", True, short="Pull"),
    Action("library.hub_kind", "next_kind", "Kind of Hub results", "Look for models, GGUF files, adapters, or everything", "f", "hub", short="Kind", wide=True),
    Action("library.order", "next_order", "Order of Hub results", "Order the results by downloads, likes or date", "s", "hub", short="Order", wide=True),
    Action("library.copy_page", "copy_page", "Copy address", "Copy the address of its page", "y", "hub"),
    # A download
    Action("library.open_download", "open_download", "Chat with a download", "Load what was downloaded into the chat", "enter", "downloads", True, short="Chat"),
    Action("library.pause", "pause", "Pause download", "Pause it; let it go on; try again what failed", "p", "downloads", True, short="Pause"),
    Action("library.cancel", "cancel", "Cancel download", "Cancel it and drop what came so far, or take it off the list", "x", "downloads", True, short="Cancel"),
    Action("library.detach", "detach", "Download after quitting", "Let it go on when the app closes", "D,shift+d", "downloads", short="After quitting", wide=True),
    Action("library.clear", "clear_ended", "Clear what ended", "Take everything off the list that is done, stopped or failed; what came of a download that failed stays with it", "C,shift+c", "downloads", short="Clear", wide=True),
)  # fmt: skip

BY_ID: dict[str, Action] = {action.id: action for action in ACTIONS}


def bindings(scope: Scope) -> list[Binding]:
    """The bindings of one scope, in the order of the table. Actions without keys have none."""
    return [action.binding() for action in ACTIONS if action.scope == scope and action.keys]
