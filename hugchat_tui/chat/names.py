"""What things are called on the screen."""

from __future__ import annotations

from pathlib import Path

UNTITLED = "New conversation"


def display_name(reference: str) -> str:
    """The short name of a checkpoint for titles: the last part of a Hub id or a path. It has not been cleaned."""
    return Path(reference).name or reference
