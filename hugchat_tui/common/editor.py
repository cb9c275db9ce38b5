"""The draft in the person's own editor."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.app import App


class EditorError(Exception):
    """The editor could not be started, failed, or left what is no text."""


async def edit_text(app: App[None], text: str, name: str = "draft.md") -> str:
    """Suspend the app, run $VISUAL or $EDITOR on the text, and return what it saved.

    name: of the file that the editor sees; its ending may choose the colours. Raises EditorError; the text given is
    never lost, because the caller still has it.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not command:
        raise EditorError("No editor is named. Set VISUAL or EDITOR and start hugchat again.")
    with tempfile.TemporaryDirectory(prefix="hugchat-") as folder:
        path = Path(folder) / name
        await asyncio.to_thread(path.write_text, text, encoding="utf-8")
        with app.suspend():
            try:
                # The terminal belongs to the editor meanwhile, so the loop may stand still.
                result = subprocess.run([*shlex.split(command), str(path)], check=False)  # noqa: ASYNC221
            except (OSError, ValueError) as error:
                raise EditorError(f"The editor {command!r} could not be started: {error}.") from error
        if result.returncode:
            raise EditorError(f"The editor {command!r} ended with {result.returncode}; the draft is as it was.")
        try:
            return (await asyncio.to_thread(path.read_text, encoding="utf-8")).rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise EditorError(f"What the editor saved cannot be read: {error}. The draft is as it was.") from error
