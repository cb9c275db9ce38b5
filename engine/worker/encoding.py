"""Rendered conversations to token ids, so that special tokens come from the template only."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from engine.protocol import ChatMessage


class PromptEncoder:
    """Encodes what a chat template renders.

    A special token that a person typed, or that a reply spelled out, must stay text: before rendering each is
    replaced by a sentinel that nobody can guess, and after it the text is encoded in parts, the template's
    special tokens by their ids and all between them as text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._special = {
            token.content: (token_id, token.lstrip, token.rstrip)
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token.special and token.content
        }
        longest_first = sorted(self._special, key=len, reverse=True)
        self._any_special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    @cached_property
    def opening_ids(self) -> list[int]:
        """What the tokenizer itself puts before a text: BOS for LLaMA and OPT, nothing for GPT-2."""
        bare = self._ids("x", split_special=False)
        whole: list[int] = self._tokenizer("x", add_special_tokens=True)["input_ids"]
        starts = (at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
        return whole[: next(starts, 0)]

    def disarm(self, messages: Sequence[ChatMessage]) -> tuple[list[ChatMessage], dict[str, str]]:
        """The messages with a sentinel for each special token spelled in them, and what each sentinel is for."""
        nonce = secrets.token_hex(8)
        sentinels: dict[str, str] = {}

        def sentinel(match: re.Match[str]) -> str:
            spelled = match.group()
            if spelled not in sentinels:
                sentinels[spelled] = f"\ue000{nonce}-{len(sentinels)}\ue001"
            return sentinels[spelled]

        disarmed = [ChatMessage(message.role, self._any_special.sub(sentinel, message.content)) for message in messages]
        return disarmed, {mark: spelled for spelled, mark in sentinels.items()}

    def encode(self, rendered: str, sentinels: Mapping[str, str]) -> list[int]:
        """Token ids of a rendered conversation. sentinels: from `disarm`; none typed, the tokenizer does it all."""
        if not sentinels:
            return self._ids(rendered, split_special=False)
        return self.encode_in_parts(rendered, sentinels)

    def encode_in_parts(self, rendered: str, sentinels: Mapping[str, str]) -> list[int]:
        """`encode`, special token by special token, as it must be when there are sentinels."""
        marks = "|".join(map(re.escape, sentinels)) or r"(?!)"
        text_of_mark = re.compile(marks)
        ids: list[int] = []
        start = 0
        strips_next = False
        for match in [*self._any_special.finditer(rendered), None]:
            end = match.start() if match else len(rendered)
            token_id, strips_before, strips_after = self._special[match.group()] if match else (None, False, False)
            text = text_of_mark.sub(lambda mark: sentinels[mark.group()], rendered[start:end])
            # A token may swallow the whitespace beside it; the tokenizer does so only when it finds the
            # token itself.
            text = text.lstrip() if strips_next else text
            text = text.rstrip() if strips_before else text
            if text:
                ids += self._inner_ids(text) if ids else self._ids(text, split_special=True)
            if match and token_id is not None:
                ids.append(token_id)
                start, strips_next = match.end(), strips_after
        return ids

    @cached_property
    def _inner_ids(self) -> Callable[[str], list[int]]:
        """How this tokenizer encodes a text that follows a special token.

        SentencePiece tokenizers put a space before the first word of a text; some do so after a special
        token too, some do not. Which it is shows when a probe is encoded both ways.
        """
        probe = "word word"
        for spelled, (token_id, _, strips_after) in self._special.items():
            truth = self._ids(spelled + probe, split_special=False)
            if truth[:1] == [token_id] and not strips_after:
                if truth[1:] == self._after_newline(probe) != self._as_text(probe):
                    return self._after_newline
                break
        return self._as_text

    def _as_text(self, text: str) -> list[int]:
        return self._ids(text, split_special=True)

    def _after_newline(self, text: str) -> list[int]:
        newline = self._as_text("\n")
        ids = self._as_text("\n" + text)
        return ids[len(newline) :] if ids[: len(newline)] == newline else self._as_text(text)

    def _ids(self, text: str, *, split_special: bool) -> list[int]:
        ids: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=split_special, verbose=False
        )["input_ids"]
        return ids
