"""Every action a person can take, once: bindings, palette, help, footer and slash commands all come from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

# Who owns an action's method: the app, the chat screen, a conversation; the library's screen or one of its three views;
# the monitor's screen (monitor, and runs for what is done to a run), its charts, the form that starts a run.
Scope = Literal["app", "chat", "message", "library", "machine", "hub", "downloads", "monitor", "runs", "charts", "form"]

_AT_ONCE = frozenset({"library", "machine", "hub", "downloads", "monitor", "runs", "charts"})


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

        All keys of the library and the monitor are taken at once: what is typed right behind one of them is meant for what it opens,
        and letters that came late would delete the row that the cursor has reached meanwhile.
        """
        return Binding(
            self.keys,
            self.method,
            self.short or self.title,
            show=self.footer,
            id=self.id,
            tooltip=self.help,
            priority=self.priority or self.scope in _AT_ONCE,
        )


ACTIONS: tuple[Action, ...] = (
    # The application
    Action("app.palette", "command_palette", "Commands", "Find any action by name", "ctrl+p,f2", "app", True),
    Action("app.help", "help", "Help", "The keys of what has the focus", "f1,question_mark", "app", True),
    Action("app.library", "library", "Library", "Checkpoints: find, download, check, delete; again to go back to the chat", "f5", "app", priority=True),
    Action("app.monitor", "monitor", "Monitor", "Training runs: start, watch and steer them, chat with them; again to go back to the chat", "f9", "app", priority=True),
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
    Action("chat.export_marked", "export_marked", "Export marked replies", "Write the replies marked good, with the bad ones beside them, to a file to train on"),
    Action("chat.train_marked", "train_marked", "Train on marked replies", "Start a training run on the replies marked good, from this conversation's checkpoint"),
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
    Action("message.good", "mark('good')", "Good reply", "Mark the reply good, to train on it; again takes the mark away", "plus", "message", short="Good", wide=True),
    Action("message.bad", "mark('bad')", "Bad reply", "Mark the reply bad; again takes the mark away", "minus", "message", short="Bad", wide=True),
    Action("message.correct", "correct", "Correct reply", "Write the answer that it should have been; both are kept, yours is marked good", "w", "message", short="Correct", wide=True),
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
    # The monitor
    Action("monitor.charts", "show_pane('charts')", "Charts of the run", "Loss, learning rate, gradient norm, speed and memory", "1", "monitor"),
    Action("monitor.samples", "show_pane('samples')", "Samples of the run", "What it answers at each evaluation, and what changed", "2", "monitor"),
    Action("monitor.events", "show_pane('events')", "Events of the run", "Alerts first, then everything that it told", "3", "monitor"),
    Action("monitor.log", "show_pane('log')", "Log of the run", "What its processes printed", "4", "monitor"),
    Action("monitor.recipe", "show_pane('recipe')", "Recipe of the run", "What it was asked to do; with several runs, in what they differ", "5", "monitor"),
    Action("monitor.previous_pane", "step_pane(-1)", "Previous part of the run", "Show the part to the left", "less_than_sign", "monitor"),
    Action("monitor.next_pane", "step_pane(1)", "Next part of the run", "Show the part to the right", "greater_than_sign", "monitor"),
    Action("monitor.switch", "switch_side", "Runs or the run", "Go to the run, or back to the list of runs", "tab", "monitor", short="Switch", wide=True),
    Action("monitor.find", "find", "Find a run", "Filter the runs; in the log, find words", "slash", "monitor", short="Find", wide=True),
    Action("monitor.back", "back", "Back from the monitor", "Take away notices; then leave the run, the marks, the filter, and the monitor", "escape", "monitor", short="Back", wide=True),
    Action("monitor.jump", "jump", "Jump in the monitor", "Jump to a part of the monitor by one key", "ctrl+o", "monitor", short="Jump"),
    # A run
    Action("run.open", "open_run", "Open run", "Go to its charts", "enter", "runs", True, short="Open"),
    Action("run.chat", "chat_with_run", "Chat with run", "Chat with its newest whole checkpoint, also while it trains", "c", "runs", True, short="Chat"),
    Action("run.compare", "compare_run", "Compare run with its base", "Ask its newest whole checkpoint and its base the same, side by side", "C,shift+c", "runs", short="Compare", wide=True),
    Action("run.stop", "stop_run", "Stop run", "End it and keep what it has learned, or not; asks first", "x", "runs", True, short="Stop"),
    Action("run.save", "save_run", "Save checkpoint now", "Let it write a checkpoint after this step", "s", "runs", True, short="Save"),
    Action("run.pause", "pause_run", "Pause run", "Let it wait after this step, or go on", "p", "runs", True, short="Pause"),
    Action("run.learning_rate", "set_learning_rate", "Learning rate of run", "Change the peak of its learning rate while it trains", "l", "runs", short="Learning rate"),
    Action("run.cadence", "set_cadence", "Cadence of run", "Change how often it is evaluated and saved while it trains", "v", "runs", short="Cadence"),
    Action("run.resume", "resume_run", "Resume run", "Go on from its newest whole checkpoint", "r", "runs", True, short="Resume"),
    Action("run.new", "new_run", "New run", "Start a training run: base, data, method", "n", "runs", True, short="New"),
    Action("run.duplicate", "duplicate_run", "Duplicate run", "Start another run from its recipe, with changes", "y", "runs", short="Duplicate", wide=True),
    Action("run.restart", "restart_run", "Restart from a step", "Start another run from one of its checkpoints; this one stays as it is", "b", "runs", short="Branch"),
    Action("run.delete", "delete_run", "Delete run", "Delete it with its checkpoints, after a look at what that frees", "d,delete", "runs", short="Delete"),
    Action("run.overlay", "overlay_run", "Overlay run", "Draw its charts over those of the run under the cursor, or no longer", "space", "runs", short="Overlay", wide=True),
    Action("run.tag", "tag_run", "Tag run", "Give it a word of your own, to filter by", "t", "runs", short="Tag"),
    Action("run.note", "note_run", "Note on a run", "Write a note about it", "N,shift+n", "runs", short="Note"),
    Action("run.archive", "archive_run", "Archive run", "Take it off the list, or put it back; nothing is deleted", "a", "runs", short="Archive"),
    Action("run.archived", "show_archived", "Show archived runs", "Show runs that were archived, or hide them", "A,shift+a", "runs", short="Archived"),
    Action("run.sort", "sort_runs", "Sort runs", "Sort by the next column", "o", "runs", short="Sort", wide=True),
    Action("run.reverse", "reverse_runs", "Reverse the order of runs", "Sort the other way round", "O,shift+o", "runs", short="Reverse"),
    # The charts of a run
    Action("charts.left", "move_cursor(-1)", "Chart cursor left", "Read the values further to the left", "left", "charts", short="Values"),
    Action("charts.right", "move_cursor(1)", "Chart cursor right", "Read the values further to the right; behind the last one, follow the newest", "right", "charts"),
    Action("charts.pan_left", "pan(-1)", "Move charts left", "Show what lies to the left", "shift+left", "charts"),
    Action("charts.pan_right", "pan(1)", "Move charts right", "Show what lies to the right; at the end, follow the newest", "shift+right", "charts"),
    Action("charts.zoom_in", "zoom(1)", "Zoom into charts", "Show half as much, around the cursor or at the end", "plus,equals_sign", "charts", True, short="Zoom in"),
    Action("charts.zoom_out", "zoom(-1)", "Zoom out of charts", "Show twice as much", "minus", "charts"),
    Action("charts.everything", "show_everything", "Show all of the charts", "Take away zoom and cursor", "0", "charts", True, short="All"),
    Action("charts.previous", "step_chart(-1)", "Previous chart", "Go to the chart before", "up", "charts"),
    Action("charts.next", "step_chart(1)", "Next chart", "Go to the chart behind", "down", "charts", True, short="Next chart"),
    Action("charts.large", "toggle_large", "One chart large", "Let this chart fill the pane, or show all", "f", "charts", short="Large", wide=True),
    Action("charts.log", "toggle_log", "Logarithmic charts", "Draw this chart's values on a logarithmic axis, or no longer", "L,shift+l", "charts", short="Log", wide=True),
    Action("charts.axis", "next_axis", "Axis of charts", "Draw by steps, tokens or time", "X,shift+x", "charts", short="Axis", wide=True),
    Action("charts.rougher", "step_smoothing(-1)", "Smooth charts less", "Let the smoothed line follow the values more closely", "left_square_bracket", "charts"),
    Action("charts.smoother", "step_smoothing(1)", "Smooth charts more", "Let the smoothed line be calmer", "right_square_bracket", "charts", short="Smoother", wide=True),
    # The form that starts a run
    Action("form.start", "start", "Start the run", "Check what is filled in and start the run; it goes on without the app", "ctrl+r", "form", True, short="Start"),
    Action("form.editor", "edit_toml", "Edit the recipe", "The whole recipe as TOML in your own editor", "ctrl+g,ctrl+e", "form", True, short="Editor"),
    Action("form.preview", "toggle_preview", "Preview of the run", "Rows, lengths, steps, memory and the command; again to go back", "f6", "form", True, short="Preview"),
    Action("form.leave", "leave", "Leave the form", "Leave the preview, then the form; asks when something was filled in", "escape", "form", True, short="Back"),
    Action("form.base", "pick_base", "Choose the base", "Choose the checkpoint to start from", "ctrl+t,f3", "form", priority=True, short="Base"),
    Action("form.count", "count_rows", "Count the rows", "Count rows and tokens of large data before the start", "ctrl+l", "form", short="Count"),
)  # fmt: skip

BY_ID: dict[str, Action] = {action.id: action for action in ACTIONS}


def bindings(scope: Scope) -> list[Binding]:
    """The bindings of one scope, in the order of the table. Actions without keys have none."""
    return [action.binding() for action in ACTIONS if action.scope == scope and action.keys]
