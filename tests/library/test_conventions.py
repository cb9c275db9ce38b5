"""What holds for every widget of the library: ids, keys, names, and what the first frame waits for."""

from __future__ import annotations

import subprocess
import sys

import pytest
from textual.binding import Binding
from textual.dom import DOMNode

from hugchat_tui.actions import ACTIONS
from hugchat_tui.library.details_page import DetailsPage
from hugchat_tui.library.downloads_view import DownloadsView
from hugchat_tui.library.filter_input import FilterInput
from hugchat_tui.library.hub_list import HubList
from hugchat_tui.library.hub_view import HubView
from hugchat_tui.library.machine_view import MachineView
from hugchat_tui.library.note_line import NoteLine
from hugchat_tui.library.screen import LibraryScreen
from hugchat_tui.library.strips import TransferStrip, ViewBar
from hugchat_tui.library.table import CheckpointTable, TableHead
from hugchat_tui.library.token_dialog import TokenDialog
from hugchat_tui.library.transfer_list import TransferList
from tests.chat import test_widget_conventions as conventions

LISTS: list[type[DOMNode]] = [CheckpointTable, HubList, TransferList, DetailsPage]
SCREENS: list[type[DOMNode]] = [LibraryScreen, MachineView, HubView, DownloadsView]
WIDGETS = [*LISTS, *SCREENS, FilterInput, NoteLine, TableHead, TokenDialog, TransferStrip, ViewBar]


@pytest.mark.parametrize("widget", WIDGETS)
def test_every_binding_has_an_id_and_no_trap_for_a_key(widget: type[DOMNode]) -> None:
    conventions.test_every_binding_has_an_id_and_no_trap_for_a_key(widget)


@pytest.mark.parametrize("widget", WIDGETS)
def test_no_attribute_hides_one_of_textuals(widget: type[DOMNode]) -> None:
    conventions.test_no_attribute_hides_one_of_textuals(widget)


@pytest.mark.parametrize("widget", [*LISTS, *SCREENS])
def test_keys_are_taken_at_once(widget: type[DOMNode]) -> None:
    """A "d" that came behind "j" would delete the row that the cursor leaves, or type into the dialog it opens late."""
    bindings = vars(widget).get("BINDINGS", [])
    assert bindings
    for binding in bindings:
        assert isinstance(binding, Binding) and binding.priority, binding


def test_every_action_of_the_library_is_named_so() -> None:
    scopes = {"library", "machine", "hub", "downloads"}
    assert all(action.id.startswith("library.") for action in ACTIONS if action.scope in scopes)


def test_the_first_frame_waits_for_nothing_of_the_library() -> None:
    script = "import sys, hugchat_tui.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert not [name for name in loaded if name.startswith(("hugchat_tui.library", "engine.checkpoints.library"))]


def test_the_library_loads_neither_the_heavy_libraries_nor_the_hubs_client() -> None:
    script = "import sys, hugchat_tui.library.screen\nfrom hugchat_tui.library import service\n"
    script += "service._import_modules()\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert {"torch", "transformers", "peft", "numpy", "huggingface_hub"}.isdisjoint(loaded)
