"""Failures that the person is told of where they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from textual.dom import DOMNode

from engine.errors import EngineError
from hugchat_tui.settings.errors import SettingsError


@contextmanager
def telling(node: DOMNode) -> Iterator[None]:
    """End the block at an expected failure, and say on the screen what it was."""
    try:
        yield
    except (EngineError, SettingsError, OSError) as error:
        node.app.notify(str(error), severity="error", timeout=12)
