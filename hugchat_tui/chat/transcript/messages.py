"""What a transcript tells the screen."""

from __future__ import annotations

from typing import Literal

from textual.message import Message


class CursorMoved(Message, namespace="transcript"):
    """Another entry has the cursor; None when none has."""

    def __init__(self, key: int | None) -> None:
        super().__init__()
        self.key = key


class Copied(Message, namespace="transcript"):
    """The person copied something; the screen puts it on the clipboard."""

    def __init__(self, text: str, what: Literal["selection", "message", "code block"]) -> None:
        super().__init__()
        self.text = text
        self.what = what


class LinkActivated(Message, namespace="transcript"):
    """The person clicked a link. url: printable ASCII, begins with http://, https:// or mailto:."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url


class FindRequested(Message, namespace="transcript"):
    """The person pressed the key for finding in the conversation."""


class FindMoved(Message, namespace="transcript"):
    """The current match changed. ordinal: from 1, 0 when there is none; total: matches known so far."""

    def __init__(self, ordinal: int, total: int) -> None:
        super().__init__()
        self.ordinal = ordinal
        self.total = total
