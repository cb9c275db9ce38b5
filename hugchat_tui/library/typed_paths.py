"""Folders and files that a person typed the name of; for threads, as they look at the disk."""

from __future__ import annotations

import os
from pathlib import Path

from engine.checkpoints.paths import full_path


def taken(text: str, models: Path | None) -> str | None:
    """Why something cannot be made there, in words; None when it can. models: the folder of a name, not of a path."""
    path = full_path(Path(text)) if models is None else models / text
    if text and os.path.lexists(path):
        return f"There is something at {path} already. Choose another name."
    if models is None and text and not path.parent.is_dir():
        return f"There is no folder {path.parent}. Make it first, or choose another one."
    return None


def is_folder(text: str) -> bool:
    return full_path(Path(text)).is_dir()
