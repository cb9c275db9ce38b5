"""Token ids to text, as they come: no character is ever split, and the cost does not grow with the reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_UNFINISHED = "\ufffd"  # what decoders put for bytes that are no character, or not yet
# A character has at most four bytes, so tokens without one for longer than this are garbage that stays
# garbage.
_LONGEST_WAIT = 16


class Decoder(Protocol):
    """The part of a transformers tokenizer that is used here."""

    all_special_ids: list[int]

    def decode(
        self, token_ids: Sequence[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool
    ) -> str: ...


class Detokenizer:
    """Turns one token at a time into the text it adds.

    The pieces of a reply, joined, are what the tokenizer decodes from all its ids (special tokens skipped,
    spaces not cleaned up), less an unfinished character at the very end. A window of tokens is decoded with
    every new one: those not yet emitted, and before them those emitted last, because a decoder treats the
    first word of a text and runs of byte tokens differently from the same tokens inside it.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._skipped = frozenset(decoder.all_special_ids)
        self._window: list[int] = []
        self._emitted_tokens = 0  # of the window
        self._emitted = ""  # their text

    def push(self, token_id: int) -> str:
        """The text that became certain with this token; empty when it only begins a character."""
        if token_id in self._skipped:
            return ""
        self._window.append(token_id)
        text = self._decode(self._window)
        if text.endswith(_UNFINISHED):
            if len(self._window) - self._emitted_tokens <= _LONGEST_WAIT:
                return ""
            return self._give_up(text)
        piece = text[len(self._emitted) :]
        self._advance(len(self._window))
        return piece

    def finish(self) -> str:
        """What is left when no more tokens come; bytes that never became a character are not text."""
        text = self._decode(self._window).rstrip(_UNFINISHED)
        return text[len(self._emitted) :]

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self._decoder.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _advance(self, tokens: int) -> None:
        """The window's first `tokens` are emitted; those emitted before them are no longer needed."""
        self._window = self._window[self._emitted_tokens :]
        self._emitted_tokens = tokens - self._emitted_tokens
        self._emitted = self._decode(self._window[: self._emitted_tokens])

    def _give_up(self, text: str) -> str:
        """Emit the garbage up to where the last tokens, decoded alone, still give the same text."""
        size = len(self._window)
        for split in range(size - 1, size - 5, -1):
            head = self._decode(self._window[:split])
            if head + self._decode(self._window[split:]) == text:
                piece = head[len(self._emitted) :]
                self._advance(split)
                return piece
        piece = text[len(self._emitted) :]
        self._advance(size)
        return piece
