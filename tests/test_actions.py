"""The table of actions: what every other part relies on."""

from __future__ import annotations

from collections import Counter

import pytest

from hugchat_tui.actions import ACTIONS, BY_ID, Scope
from hugchat_tui.app import HugChatApp
from hugchat_tui.chat.screen import ChatScreen
from hugchat_tui.chat.view import ConversationView
from hugchat_tui.library.downloads_view import DownloadsView
from hugchat_tui.library.hub_view import HubView
from hugchat_tui.library.machine_view import MachineView
from hugchat_tui.library.screen import LibraryScreen
from hugchat_tui.monitor.charts_pane import ChartsPane
from hugchat_tui.monitor.form import RunFormScreen
from hugchat_tui.monitor.screen import MonitorScreen

# Terminals without the Kitty protocol send the same byte for these and for enter, tab, backspace, escape; the rest is
# taken by tmux, flow control, terminals or desktops.
FORBIDDEN = {"ctrl+m", "ctrl+i", "ctrl+h", "ctrl+left_square_bracket", "ctrl+s", "ctrl+b", "ctrl+backslash"}
FORBIDDEN |= {"ctrl+space", "ctrl+@", "ctrl+tab", "f10", "f11", "f12"}
# Whose keys work at the same time.
TOGETHER: list[tuple[Scope, ...]] = [
    ("app", "chat", "message"),
    ("app", "library", "machine"),
    ("app", "library", "hub"),
    ("app", "library", "downloads"),
    ("app", "monitor", "runs", "charts"),
    ("app", "form"),
]


def test_ids_titles_and_slash_commands_are_unique() -> None:
    ids, titles = [action.id for action in ACTIONS], [action.title for action in ACTIONS]
    for names in (ids, titles, [action.slash for action in ACTIONS]):
        assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize("scopes", TOGETHER)
def test_no_key_means_two_things_and_none_is_taken_by_terminals(scopes: tuple[Scope, ...]) -> None:
    keys = [key for action in ACTIONS if action.scope in scopes for key in action.keys.split(",") if key]
    assert [key for key, count in Counter(keys).items() if count > 1] == []
    assert FORBIDDEN.isdisjoint(keys)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_has_its_method_where_it_belongs(action) -> None:  # type: ignore[no-untyped-def]
    owners = {
        "app": HugChatApp,
        "chat": ChatScreen,
        "message": ConversationView,
        "library": LibraryScreen,
        "machine": MachineView,
        "hub": HubView,
        "downloads": DownloadsView,
        "monitor": MonitorScreen,
        "runs": MonitorScreen,
        "charts": ChartsPane,
        "form": RunFormScreen,
    }
    owner = owners[action.scope]
    assert callable(getattr(owner, "action_" + action.method.partition("(")[0], None))
    assert action.title and action.help


def test_the_footer_never_shows_more_than_six_keys_at_once() -> None:
    shown = Counter(action.scope for action in ACTIONS if action.footer)
    assert shown["app"] + shown["chat"] <= 6
    assert shown["app"] + shown["library"] + max(shown["machine"], shown["hub"]) <= 6
    assert shown["app"] + shown["library"] - BY_ID["library.find"].footer + shown["downloads"] <= 6
