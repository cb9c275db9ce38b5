"""Asks for a Hugging Face token, without showing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from textual.content import Content

from hugchat_tui.common.dialogs import TextDialog


class TokenDialog(TextDialog):
    """Ends with what was typed, or None. page: where tokens are made. attempt: as of a TextDialog; it asks the Hub."""

    SLOW = True
    help_title = "Hub token"

    def __init__(self, page: str, attempt: Callable[[str], Awaitable[str | None]]) -> None:
        body = Content(f"Make one that can read on\n{page}\n\nIt is stored where `hf auth login` stores it.")
        super().__init__("Hugging Face token", body=body, placeholder="hf_…", password=True, attempt=attempt)
