"""Keys that terminals send and Textual 8.2.8 does not know."""

from __future__ import annotations

import sys

from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.keys import Keys

_ALT_ENTER = "\x1b\r"

# What Textual makes of xterm's modifyOtherKeys for enter: shift is CSI 27;2;13~, alt is CSI 27;3;13~.
UNREAD_ENTERS = {"shift+\r": "shift+enter", "\r": "alt+enter"}


def forget_option_digits() -> None:
    """Let ESC 2 be alt+2 where no WezTerm of macOS sent it: Textual would type a "™"."""
    if isinstance(ANSI_SEQUENCES_KEYS, dict) and sys.platform != "darwin":
        for character in "1234567890-=":
            ANSI_SEQUENCES_KEYS.pop(f"\x1b{character}", None)


def teach_alt_enter() -> None:
    """Let ESC CR, which most terminals send for alt+enter, be ^j: Textual takes it for a plain enter.

    A person who wants a new line would otherwise send half a message.
    """
    if isinstance(ANSI_SEQUENCES_KEYS, dict):
        ANSI_SEQUENCES_KEYS.setdefault(_ALT_ENTER, (Keys.ControlJ,))
