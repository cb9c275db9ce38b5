"""What holds for every widget of the chat mode: ids, keys, names and idle cost."""

from __future__ import annotations

import inspect
import re

import pytest
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.dom import DOMNode
from textual.widgets import Input, TextArea

from hugchat_tui.chat.checkpoint_list import CheckpointList
from hugchat_tui.chat.find_bar import FindBar
from hugchat_tui.chat.key_bar import KeyBar
from hugchat_tui.chat.model_picker import ModelPicker
from hugchat_tui.chat.panes import PaneArea
from hugchat_tui.chat.prompt import Prompt
from hugchat_tui.chat.prompt_box import CommandMenu, PromptBox
from hugchat_tui.chat.screen import ChatScreen
from hugchat_tui.chat.search_screen import HitList, SearchScreen
from hugchat_tui.chat.sidebar import Sidebar
from hugchat_tui.chat.status_line import StatusLine
from hugchat_tui.chat.tab_bar import TabBar
from hugchat_tui.chat.view import ConversationView
from hugchat_tui.chat.welcome import Welcome
from hugchat_tui.common.dialogs import ChoiceDialog, ConfirmDialog, TextDialog
from hugchat_tui.common.help import HelpScreen
from hugchat_tui.common.inputs import LineInput
from hugchat_tui.common.jump import JumpOverlay
from hugchat_tui.common.line_list import LineList
from hugchat_tui.common.plain_editor import PlainEditor

WIDGETS: list[type[DOMNode]] = [
    ChatScreen,
    CheckpointList,
    ChoiceDialog,
    CommandMenu,
    ConfirmDialog,
    ConversationView,
    FindBar,
    HelpScreen,
    HitList,
    JumpOverlay,
    KeyBar,
    LineInput,
    LineList,
    PlainEditor,
    ModelPicker,
    PaneArea,
    Prompt,
    PromptBox,
    SearchScreen,
    Sidebar,
    StatusLine,
    TabBar,
    TextDialog,
    Welcome,
]
# Bytes that a terminal also sends for another key, or that it or a multiplexer keeps for itself.
TRAPS = {"ctrl+m", "ctrl+i", "ctrl+h", "ctrl+left_square_bracket", "ctrl+[", "ctrl+s", "ctrl+b", "ctrl+backslash"}
TRAPS |= {"ctrl+space", "ctrl+at", "ctrl+tab", "f10", "f11", "f12"}


def _assigned(source: str) -> set[str]:
    return set(re.findall(r"self\.(\w+)(?:\s*:[^=\n]+)?\s*=[^=]", source))


@pytest.mark.parametrize("widget", WIDGETS)
def test_every_binding_has_an_id_and_no_trap_for_a_key(widget: type[DOMNode]) -> None:
    for binding in vars(widget).get("BINDINGS", []):
        assert isinstance(binding, Binding)
        assert binding.id, f"{widget.__name__} {binding.key} has no id"
        assert binding.description
        assert not TRAPS & set(binding.key.split(","))


def test_an_id_names_one_thing() -> None:
    seen: dict[str, str] = {}
    for widget in WIDGETS:
        for binding in vars(widget).get("BINDINGS", []):
            if not binding.id.startswith("dialog."):
                assert binding.id not in seen, f"{binding.id} in {widget.__name__} and {seen[binding.id]}"
                seen[binding.id] = widget.__name__


@pytest.mark.parametrize("widget", WIDGETS)
def test_no_attribute_hides_one_of_textuals(widget: type[DOMNode]) -> None:
    """An attribute named like a private one of the base class breaks it without a word."""
    if "__init__" not in vars(widget):
        return
    mine = _assigned(inspect.getsource(vars(widget)["__init__"]))
    for base in widget.__mro__[1:]:
        if base.__module__.startswith("textual"):
            theirs = set(vars(base))
            if "__init__" in vars(base):
                theirs |= _assigned(inspect.getsource(vars(base)["__init__"]))
            clashes = (mine & theirs) - {"cursor_blink", "_compositor"}  # replaced on purpose
            assert not clashes, f"{widget.__name__} hides {clashes} of {base.__name__}"


async def test_no_cursor_blinks() -> None:
    """A blinking cursor wakes an idle program twice a second."""

    class Writing(App[None]):
        def compose(self) -> ComposeResult:
            yield Prompt()
            yield LineInput()

    app = Writing()
    async with app.run_test(size=(80, 24)) as pilot:
        for widget in (app.query_one(Prompt), app.query_one(LineInput)):
            widget.focus()
            await pilot.press("x")
            assert isinstance(widget, TextArea | Input)
            assert not widget.cursor_blink
