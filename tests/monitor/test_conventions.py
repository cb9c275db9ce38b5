"""What holds for every widget of the monitor: ids, keys, names, and what the first frame waits for."""

from __future__ import annotations

import subprocess
import sys

import pytest
from textual.binding import Binding
from textual.dom import DOMNode

from hugchat_tui.actions import ACTIONS
from hugchat_tui.monitor.events_pane import EventsPane
from hugchat_tui.monitor.log_pane import LogFindInput, LogLines, LogPane
from hugchat_tui.monitor.page import Page
from hugchat_tui.monitor.pane_bar import PaneBar
from hugchat_tui.monitor.recipe_pane import RecipePane
from hugchat_tui.monitor.run_header import RunHeader, RunLine
from hugchat_tui.monitor.run_table import RunTable, RunTableHead
from hugchat_tui.monitor.samples_pane import SamplesPane
from hugchat_tui.monitor.screen import MonitorScreen
from hugchat_tui.monitor.system_strip import SystemStrip
from tests.chat import test_widget_conventions as conventions

AT_ONCE: list[type[DOMNode]] = [MonitorScreen, RunTable, Page, SamplesPane]
WIDGETS = [
    *AT_ONCE,
    EventsPane,
    LogFindInput,
    LogLines,
    LogPane,
    PaneBar,
    RecipePane,
    RunHeader,
    RunLine,
    RunTableHead,
    SystemStrip,
]


@pytest.mark.parametrize("widget", WIDGETS)
def test_every_binding_has_an_id_and_no_trap_for_a_key(widget: type[DOMNode]) -> None:
    conventions.test_every_binding_has_an_id_and_no_trap_for_a_key(widget)


@pytest.mark.parametrize("widget", WIDGETS)
def test_no_attribute_hides_one_of_textuals(widget: type[DOMNode]) -> None:
    conventions.test_no_attribute_hides_one_of_textuals(widget)


@pytest.mark.parametrize("widget", AT_ONCE)
def test_keys_are_taken_at_once(widget: type[DOMNode]) -> None:
    """An "x" that came behind "j" would stop the run that the cursor leaves."""
    bindings = vars(widget).get("BINDINGS", [])
    assert bindings
    for binding in bindings:
        assert isinstance(binding, Binding) and binding.priority, binding


def test_every_action_of_the_monitor_is_named_so() -> None:
    prefixes = {"monitor": "monitor.", "runs": "run.", "charts": "charts.", "form": "form."}
    for action in ACTIONS:
        assert action.id.startswith(prefixes.get(action.scope, action.id))


def test_the_first_frame_waits_for_nothing_of_the_monitor() -> None:
    script = "import sys, hugchat_tui.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert not [name for name in loaded if name.startswith(("hugchat_tui.monitor", "sft", "numpy"))]


def test_the_monitor_loads_none_of_the_heavy_libraries() -> None:
    script = "import sys, hugchat_tui.monitor.screen, hugchat_tui.monitor.form\n"
    script += "from hugchat_tui.monitor import service\nservice._import_modules()\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert {"torch", "transformers", "peft", "deepspeed", "huggingface_hub"}.isdisjoint(loaded)
