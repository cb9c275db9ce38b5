"""Asks for a Hugging Face token, without showing it."""

from __future__ import annotations

from textual.content import Content

from hugchat_tui.common.dialogs import TextDialog


class TokenDialog(TextDialog):
    """Ends with what was typed, or None. page: where tokens are made."""

    help_title = "Hub token"

    def __init__(self, page: str) -> None:
        body = Content(f"Make one that can read on\n{page}\n\nIt is stored where `hf auth login` stores it.")
        super().__init__("Hugging Face token", body=body, placeholder="hf_…", password=True)
