"""The transcript: a conversation on the screen, one widget however long it is."""

from hugchat_tui.chat.transcript.entries import Entry, EntryRole
from hugchat_tui.chat.transcript.lexers import warm_up
from hugchat_tui.chat.transcript.widget import Transcript

__all__ = ["Entry", "EntryRole", "Transcript", "warm_up"]
