"""The table of actions: what every other part relies on."""

from __future__ import annotations

from collections import Counter

import pytest

from hugchat_tui.actions import ACTIONS
from hugchat_tui.app import HugChatApp
from hugchat_tui.chat.screen import ChatScreen
from hugchat_tui.chat.view import ConversationView

# Terminals without the Kitty protocol send the same byte for these and for enter, tab, backspace, escape; the rest is
# taken by tmux, flow control, terminals or desktops.
FORBIDDEN = {"ctrl+m", "ctrl+i", "ctrl+h", "ctrl+left_square_bracket", "ctrl+s", "ctrl+b", "ctrl+backslash"}
FORBIDDEN |= {"ctrl+space", "ctrl+@", "ctrl+tab", "f10", "f11", "f12"}


def test_ids_and_slash_commands_are_unique() -> None:
    for names in ([action.id for action in ACTIONS], [action.slash for action in ACTIONS]):
        assert [name for name, count in Counter(names).items() if count > 1] == []


def test_no_key_means_two_things_and_none_is_taken_by_terminals() -> None:
    keys = [key for action in ACTIONS for key in action.keys.split(",") if key]
    assert [key for key, count in Counter(keys).items() if count > 1] == []
    assert FORBIDDEN.isdisjoint(keys)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_has_its_method_where_it_belongs(action) -> None:  # type: ignore[no-untyped-def]
    owner = {"app": HugChatApp, "chat": ChatScreen, "message": ConversationView}[action.scope]
    assert callable(getattr(owner, "action_" + action.method.partition("(")[0], None))
    assert action.title and action.help


def test_the_footer_never_shows_more_than_six_keys_at_once() -> None:
    shown = Counter(action.scope for action in ACTIONS if action.footer)
    assert shown["app"] + shown["chat"] <= 6
