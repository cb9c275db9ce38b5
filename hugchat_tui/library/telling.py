"""Failures that the person is told of where they are."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from textual.dom import DOMNode

from engine.errors import EngineError
from hugchat_tui.settings.errors import SettingsError

Severity = Literal["information", "warning", "error"]


class OnNotice(Protocol):
    """Hears in words of what ended while nobody may have looked."""

    def __call__(self, text: str, severity: Severity = "information") -> None: ...


@contextmanager
def telling(node: DOMNode) -> Iterator[None]:
    """End the block at an expected failure, and say on the screen what it was."""
    try:
        yield
    except (EngineError, SettingsError, OSError) as error:
        node.app.notify(str(error), severity="error", timeout=12)


async def refusal(work: Awaitable[object]) -> str | None:
    """Wait for it; in words why it was refused, None when it was not."""
    try:
        await work
    except (EngineError, SettingsError, OSError) as error:
        return str(error)
    return None
